from importlib.metadata import EntryPoint, EntryPoints

import click
import pytest
from click.testing import CliRunner

from common import command
from common.errors import OperatorError

HERE = "tests.common.test_command"


@click.command(short_help="Say hello.")
def greet():
    click.echo("hello")


@pytest.fixture
def brought(monkeypatch):
    """The group with one subcommand that works and one whose package is not installed."""
    points = [
        EntryPoint("greet", f"{HERE}:greet", command.GROUP),
        EntryPoint("train", "learner.nowhere:train", command.GROUP),
    ]

    monkeypatch.setattr(command, "entry_points", lambda group: EntryPoints(points))
    return command.rookery


def test_subcommands_that_packages_bring_are_listed_and_run(brought):
    assert CliRunner().invoke(brought, ["greet"]).output == "hello\n"
    assert "Say hello." in CliRunner().invoke(brought, ["--help"]).output


def test_one_whose_extra_is_missing_does_not_keep_the_others_from_the_list(brought):
    shown = CliRunner().invoke(brought, ["--help"])
    assert shown.exit_code == 0
    assert "rookery[learner]" in shown.output


@pytest.mark.parametrize("arguments", [[], ["--help"], ["a", "--flag", "3"]])
def test_one_whose_extra_is_missing_says_which_to_install(brought, arguments):
    error = CliRunner().invoke(brought, ["train", *arguments]).exception
    assert isinstance(error, OperatorError)
    assert str(error) == "`rookery train` needs learner.nowhere: pip install 'rookery[learner]'"


def test_an_unknown_subcommand_is_a_usage_error(brought):
    assert CliRunner().invoke(brought, ["fly"]).exit_code == 2

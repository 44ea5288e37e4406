import re
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints, version

import click
import pytest
from click.testing import CliRunner

from common import command
from common.command_groups import SERVICES
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
    done = CliRunner().invoke(brought, ["fly"])
    assert done.exit_code == 2
    assert "no command is called 'fly'" in done.output


@pytest.mark.parametrize(("typed", "meant"), [("gret", "greet"), ("trian", "train")])
def test_an_unknown_subcommand_is_told_with_the_nearest(brought, typed, meant):
    assert f"no command is called {typed!r}; did you mean {meant}?" in CliRunner().invoke(brought, [typed]).output


def test_what_a_newcomer_may_type_is_told_with_what_it_is_called():
    assert "did you mean up?" in CliRunner().invoke(command.rookery, ["train"]).output


def test_the_help_groups_the_commands_and_tells_where_to_begin():
    shown = CliRunner().invoke(command.rookery, ["--help"]).output
    assert "Begin with:\n  rookery doctor " in shown
    assert re.search(r"^Train:\n  up +train agents", shown, re.MULTILINE)
    assert re.search(r"^Exit codes:\n  0 ", shown, re.MULTILINE)
    assert all(f"\n  {service} " in shown for service in SERVICES)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_help_names_the_extra_that_a_command_lacks(monkeypatch):
    monkeypatch.setattr(command, "_installed", lambda name: name != "torch")
    shown = CliRunner().invoke(command.rookery, ["--help"]).output
    assert "rookery[arena]" in shown
    assert "rookery[broker]" not in shown


def test_the_version_is_told():
    assert CliRunner().invoke(command.rookery, ["--version"]).output == f"rookery, version {version('rookery')}\n"


def test_the_help_loads_no_subcommand():
    code = (
        "import sys; sys.argv = ['rookery', '--help']\n"
        "from common.command import main\n"
        "try: main()\n"
        "finally: print(*{'deploy', 'learner', 'numpy', 'torch', 'zmq'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Begin with" in done.stdout
    assert done.stdout.splitlines()[-1] == ""

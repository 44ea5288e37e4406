import io
import logging

import click
import pytest
from click.testing import CliRunner

from common import wire
from common.colour import coloured
from common.logs import Logging, Spool, set_level
from common.messages import LogRecord
from common.verbosity import Verbosity, verbosity_options


@click.command()
@verbosity_options
def command(verbosity: Verbosity) -> None:
    """Say how much is said."""
    click.echo(verbosity)


@pytest.mark.parametrize(
    ("flags", "verbosity"),
    [
        ((), "normal"),
        (("--quiet",), "quiet"),
        (("-q",), "quiet"),
        (("--verbose",), "verbose"),
        (("-v",), "verbose"),
    ],
)
def test_the_flags_say_how_much_is_said(flags, verbosity):
    assert CliRunner().invoke(command, flags).output == f"{verbosity}\n"


def test_both_at_once_are_refused():
    result = CliRunner().invoke(command, ["--quiet", "--verbose"])
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_the_help_names_both():
    shown = CliRunner().invoke(command, ["--help"]).output
    assert "--quiet" in shown
    assert "--verbose" in shown


@pytest.mark.parametrize(
    ("verbosity", "normal", "level"),
    [
        (Verbosity.QUIET, "info", "warning"),
        (Verbosity.QUIET, "error", "error"),
        (Verbosity.NORMAL, "info", "info"),
        (Verbosity.VERBOSE, "error", "debug"),
    ],
)
def test_it_is_the_least_level_on_the_console(verbosity, normal, level):
    assert verbosity.level(normal) == level


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (Verbosity.QUIET, ["failed"]),
        (Verbosity.NORMAL, ["started", "failed"]),
        (Verbosity.VERBOSE, ["asked", "started", "failed"]),
    ],
)
def test_the_console_alone_is_quiet_or_verbose(verbosity, shown, tmp_path, transport, capsys):
    spool = tmp_path / "spool"
    with Logging(service="a", session="1", level="info", transport=transport, spool=spool, verbosity=verbosity):
        logging.getLogger("actor").debug("asked")
        logging.getLogger("actor").info("started")
        logging.getLogger("actor").error("failed")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == shown
    assert [wire.decode(frame, LogRecord).event for frame in Spool(spool).take()] == ["started", "failed"]


@pytest.mark.parametrize("verbosity", list(Verbosity))
def test_a_reload_changes_what_is_shipped_at_once(verbosity, tmp_path, transport):
    spool = tmp_path / "spool"
    with Logging(service="a", session="1", level="info", transport=transport, spool=spool, verbosity=verbosity):
        for level in ("debug", "error", "info"):
            set_level(level)
            logging.getLogger("actor").debug("debug at %s", level)
            logging.getLogger("actor").info("info at %s", level)
    shipped = [wire.decode(frame, LogRecord).event for frame in Spool(spool).take()]
    assert shipped == ["debug at debug", "info at debug", "info at info"]


# Colours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "answer"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals_unless_they_are_not_wanted(stream, environment, answer):
    assert coloured(stream, environment) is answer

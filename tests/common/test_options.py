import sys

import click
import pytest
from click.shell_completion import ShellComplete

from common.errors import MessageError, OperatorError, RookeryError
from common.options import run, settings_from, settings_options
from common.settings import EvaluationSource, Settings
from learner.registry import NETWORKS


@click.command()
@settings_options
def show(**flags):
    click.echo(settings_from(flags).nodes)


def outcome(monkeypatch, command: click.Command, *arguments: str) -> int:
    """Exit code of a command, 0 if it returned."""
    monkeypatch.setattr("sys.argv", ["program", *arguments])
    try:
        run(command, "program")
    except SystemExit as exit_:
        return exit_.code
    return 0


def raising(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return click.Command("fail", callback=fail)


def test_every_setting_but_games_and_agents_has_a_flag():
    flags = {option.name for option in show.params}
    assert flags == {*Settings.__struct_fields__, "settings_file"} - {"games", "agents"}


def test_flags_become_settings(monkeypatch, capsys):
    monkeypatch.setenv("ROOKERY_NODES", "7")
    assert outcome(monkeypatch, show) == 0
    assert outcome(monkeypatch, show, "--nodes", "9") == 0
    assert capsys.readouterr().out == "7\n9\n"


def test_a_flag_can_be_switched_off_again(monkeypatch):
    seen = []

    @click.command()
    @settings_options
    def command(**flags):
        seen.append(settings_from(flags).log_files)

    monkeypatch.setenv("ROOKERY_LOG_FILES", "true")
    for arguments in ((), ("--no-log-files",), ("--log-files",)):
        assert outcome(monkeypatch, command, *arguments) == 0
    assert seen == [True, False, True]


def test_help_shows_what_a_flag_takes():
    shown = {option.name: option.metavar for option in show.params}
    assert (shown["nodes"], shown["limit_games"], shown["discount"]) == ("N", "N", "X")
    assert (shown["evaluations"], shown["engine"], shown["run"]) == ("FILE", "PROGRAM", "DIR")
    assert shown["evals"] == "|".join(EvaluationSource)
    assert shown["log_level"] == "debug|info|warning|error"
    assert shown["network"] == "|".join(NETWORKS)


def test_a_known_error_is_one_line_and_its_exit_code(monkeypatch, capsys):
    assert outcome(monkeypatch, raising(OperatorError("do this"))) == 2
    assert outcome(monkeypatch, raising(MessageError("broken"))) == 1
    assert outcome(monkeypatch, raising(RookeryError("hm"))) == 1
    assert capsys.readouterr().err == "program: do this\nprogram: broken\nprogram: hm\n"


def test_the_line_of_an_error_tells_the_journal_that_it_is_one(monkeypatch, capsys):
    monkeypatch.setattr("common.options.is_journal", lambda stream: stream is sys.stderr)
    assert outcome(monkeypatch, raising(OperatorError("do this"))) == 2
    assert capsys.readouterr().err == "<3>program: do this\n"


def test_a_bad_setting_is_one_line_that_names_the_flag(monkeypatch, capsys):
    assert outcome(monkeypatch, show, "--nodes", "many") == 2
    assert capsys.readouterr().err == "program: --nodes: expected a whole number, got 'many'\n"


def test_an_unknown_flag_exits_with_2_and_says_where_to_read_on(monkeypatch, capsys):
    assert outcome(monkeypatch, show, "--nods", "3") == 2
    told = capsys.readouterr().err
    assert "--nods" in told
    assert told.endswith(" See `program --help`.\n")


@pytest.mark.parametrize(
    ("arguments", "begun", "completed"),
    [
        (["--evals"], "", ["engine", "pgn", "auto"]),
        (["--device"], "cu", ["cuda"]),
        (["--run"], "ru", ["ru"]),
        (["--nodes"], "", []),
    ],
)
def test_the_tab_key_completes_values(arguments, begun, completed):
    found = ShellComplete(show, {}, "program", "_PROGRAM_COMPLETE").get_completions(arguments, begun)
    assert [item.value for item in found] == completed
    assert {item.type for item in found} <= {"dir" if arguments == ["--run"] else "plain"}


def test_help_exits_with_0(monkeypatch, capsys):
    assert outcome(monkeypatch, show, "--help") == 0
    assert "--nodes N" in capsys.readouterr().out


def test_an_interrupt_exits_with_130(monkeypatch):
    assert outcome(monkeypatch, raising(KeyboardInterrupt())) == 130


def test_a_reader_that_has_gone_is_no_error_of_ours(monkeypatch):
    monkeypatch.setattr("sys.stdout", sys.stdout)  # click puts others in their place
    monkeypatch.setattr("sys.stderr", sys.stderr)
    assert outcome(monkeypatch, raising(BrokenPipeError(32, "Broken pipe"))) == 1


def test_a_bug_of_ours_is_one_line_with_its_place(monkeypatch, capsys):
    assert outcome(monkeypatch, raising(ZeroDivisionError("oh"))) == 70
    told = capsys.readouterr().err
    assert told.startswith("program: internal error: ZeroDivisionError: oh (at test_options.py:")
    assert told.count("\n") == 1


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_may_choose_its_exit_code(monkeypatch, code):
    assert outcome(monkeypatch, raising(SystemExit(code))) == code

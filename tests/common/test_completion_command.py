import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.command import rookery
from common.completion_command import PROGRAMS, SHELLS, completion
from tests.common.shells import Terminal, is_there


def script(shell: str) -> str:
    done = CliRunner().invoke(completion, [shell])
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_values_and_files(shell: str, tmp_path: Path) -> None:
    if not is_there(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "sample.toml").touch()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with Terminal(shell, script(shell), tmp_path, path) as terminal:
        assert terminal.completed("rookery stat") == "rookery status"
        assert terminal.completed("rookery pause --games-per") == "rookery pause --games-per-unit"
        assert terminal.completed("rookery pause --evals p") == "rookery pause --evals pgn"
        assert terminal.completed("rookery pause --settings sam") == "rookery pause --settings sample.toml"
        assert terminal.completed("rookery-logs --console warn") == "rookery-logs --console warning"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_for_all_commands(shell: str) -> None:
    text = script(shell)
    for program in PROGRAMS:
        assert f"_{program.replace('-', '_').upper()}_COMPLETE" in text


def test_an_unknown_shell_is_refused_with_those_that_are_known() -> None:
    done = CliRunner().invoke(completion, ["tcsh"])
    assert done.exit_code == 2
    assert all(shell in done.output for shell in SHELLS)


def test_completing_a_command_imports_none() -> None:
    before = set(sys.modules)
    with rookery.make_context("rookery", [], resilient_parsing=True) as context:
        found = rookery.shell_complete(context, "e")
    assert {"evaluate", "export", "export-weights"} <= {item.value for item in found}
    assert not {name for name in set(sys.modules) - before if name.startswith(("arena", "learner"))}

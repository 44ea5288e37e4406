import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

import arena.match_command
from arena.match_command import match

COMMAND = "from arena.match_command import match; from common.options import run; run(match, 'rookery match')"


class NeverStopped:
    def __bool__(self) -> bool:
        return False


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """The command in this process, which keeps its signals."""
    monkeypatch.setattr(arena.match_command, "StopSignal", NeverStopped)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(match, [*arguments])

    return run


def test_it_says_who_is_the_stronger_and_keeps_the_games(command, tmp_path: Path) -> None:
    pgn, report = tmp_path / "games.pgn", tmp_path / "result.json"
    ran = command("material", "random", "--games", "40", "--pgn", str(pgn), "--json", str(report))
    assert ran.exit_code == 0, ran.output
    result = json.loads(report.read_text())
    counts = f"+{result['wins']} ={result['draws']} -{result['losses']} of 40"
    assert ran.stdout.startswith(
        f"material - random: {counts}, {result['wins'] / 40 + result['draws'] / 80:.1%}, +"
    )
    assert "likelihood of superiority" in ran.output
    assert pgn.read_text().count("[Result ") == 40


def test_players_of_one_name_are_told_apart(command) -> None:
    ran = command("random", "random", "--games", "2")
    assert ran.stdout.startswith("random - random (2): ")


def test_a_seed_repeats_a_match(command) -> None:
    def head(seed: str) -> str:
        return command("random", "material", "--games", "20", "--seed", seed).stdout.rpartition("\n0:")[0]

    assert head("1") == head("1")
    assert head("1") != head("2")


def test_a_test_ends_it_early(command) -> None:
    ran = command("material", "random", "--games", "2000", "--sprt", "elo0=-100,elo1=0", "--concurrency", "8")
    assert "H1 accepted" in ran.output
    assert "of 2,000" not in ran.output


def test_openings_that_are_used_again_are_named(command, tmp_path: Path) -> None:
    openings = tmp_path / "one.epd"
    openings.write_text("6k1/5ppp/8/8/8/8/8/R3K3 w - - \n")
    ran = command("random", "material", "--games", "4", "--openings", str(openings))
    assert "1 openings were used more than once" in ran.output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["random", "radnom"],
         "radnom: no such file or directory, and no player of that name; did you mean random?"),
        (["random", "material", "--sprt", "elo=1"], "--sprt: no option 'elo'; did you mean elo1?"),
        (["random", "material", "--openings", "no.pgn"], "no.pgn: can't be read: No such file or directory"),
        (["random", "material", "--pgn", "/no/x.pgn"], "/no/x.pgn: can't be written: No such file or directory"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_exit_code_2(arguments: list[str], line: str, capsys, monkeypatch) -> None:
    from common.options import run

    monkeypatch.setattr(arena.match_command, "StopSignal", NeverStopped)
    monkeypatch.setattr(sys, "argv", ["rookery match", *arguments])
    with pytest.raises(SystemExit) as ended:
        run(match, "rookery match")
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"rookery match: {line}\n"


def test_ctrl_c_keeps_what_is_done_and_leaves_no_engine(stockfish: str, tmp_path: Path) -> None:
    pgn = tmp_path / "games.pgn"
    arguments = ["stockfish:nodes=1", "random", "--games", "100000", "--concurrency", "4", "--pgn", str(pgn)]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watched = psutil.Process(process.pid)
    while process.poll() is None and not (pgn.exists() and "[Result " in pgn.read_text()):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    engines = watched.children()
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert f"of {pgn.read_text().count('[Result ')}," in out
    assert engines
    assert not any(engine.is_running() for engine in engines)

"""`rookery evaluate`, as a person calls it: cards, baselines, bad input, Ctrl-C."""

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import arena.evaluate_command
from agent.player import Player
from arena.evaluate_command import evaluate
from arena.report_card import read_card
from arena.work import CHUNK
from common.errors import RookeryError
from tests.arena.players import small_player

LINE = "r6k/pp2r2p/4Rp1Q/3p4/8/1N1P2R1/PqP2bPP/7K b - - 0 24,f2g3 e6e7 b2b1 b3c1 b1c1 h6c1,1828"


@pytest.fixture
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose agents are small networks of random weights."""

    def load(path: Path, tau: float | None) -> Player:
        return small_player()

    monkeypatch.setattr(arena.evaluate_command, "_load", load)
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "run"
    (directory / "baselines" / "cloning").mkdir(parents=True)
    (directory / "settings.toml").touch()
    (directory / "p.csv").write_text(f"FEN,Moves,Rating\n{LINE}\nnonsense,a1a1 a1a1,1\n")
    (directory / "t.epd").write_text('4k3/8/8/3p4/4P3/8/8/4K3 w - - bm exd5; id "1";\n')
    return directory


def called(*arguments: str | Path) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments], catch_exceptions=True)


def test_a_run_gets_a_card_in_its_directory(run_directory: Path) -> None:
    result = called(
        run_directory, "--puzzles", run_directory / "p.csv", "--epd", run_directory / "t.epd", "--nodes", 2
    )
    assert result.exit_code == 0, result.output
    card = read_card(run_directory / "evaluation.json")
    assert card.complete
    assert [contestant.name for contestant in card.contestants] == ["run", "cloning"]
    assert card.puzzles[0].results[0].solved.count == 1
    assert [one.right.mean for one in card.epd[0].results if one.entry.player == "material"] == [1.0]
    assert (run_directory / "evaluation.html").exists()
    assert f"left out 1 bad row, the first {run_directory / 'p.csv'}:3: no FEN" in result.output
    assert "no value baseline: there is no" in result.output
    assert "search, 2 nodes" in result.output


def test_games_are_played_and_kept(run_directory: Path) -> None:
    result = called(run_directory, "--games", 2, "--against", "material", "--way", "policy")
    assert result.exit_code == 0, result.output
    card = read_card(run_directory / "evaluation.json")
    assert [(match.opponent, match.games) for match in card.matches] == [("material", 2), ("cloning (prior)", 2)]
    assert (run_directory / "evaluation.pgn").read_text().count("[Event ") == 4


def test_held_out_games_are_measured_by_stockfish(run_directory: Path, shared_data: Path, stockfish: str) -> None:
    result = called(
        run_directory, "--positions", shared_data / "games" / "online-clk.pgn.zst", "--sample", 24, "--engine",
        stockfish, "--engine-positions", 5, "--engine-nodes", 3000, "--way", "policy",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    [positions] = read_card(run_directory / "evaluation.json").positions
    assert positions.reference is not None
    assert (positions.reference.positions, positions.reference.nodes) == (5, 3000)
    assert "3,000 nodes over all legal moves" in result.output


def test_several_checkpoints_stand_side_by_side_and_write_nothing_unasked(
    run_directory: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    result = called(
        run_directory, other, "--epd", run_directory / "t.epd", "--nodes", 0, "--json", tmp_path / "c.json"
    )
    assert result.exit_code == 0, result.output
    assert not (run_directory / "evaluation.json").exists()
    assert [one.name for one in read_card(tmp_path / "c.json").contestants] == ["run", "other", "cloning"]
    assert "other: one-ply" in result.output


def test_ctrl_c_keeps_what_is_done(run_directory: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arena import evaluation

    solved = evaluation.solved

    raised: list[int] = []

    def interrupted(*arguments):
        if not raised:
            raised.append(1)
            signal.raise_signal(signal.SIGINT)
        return solved(*arguments)

    monkeypatch.setattr(evaluation, "solved", interrupted)
    puzzles = shared_data / "puzzles" / "lichess-full.csv.zst"
    before = signal.getsignal(signal.SIGINT)
    result = called(run_directory, "--puzzles", puzzles, "--way", "policy", "--epd", run_directory / "t.epd")
    assert result.exit_code == 130
    card = read_card(run_directory / "evaluation.json")
    assert not card.complete
    assert {one.solved.count for one in card.puzzles[0].results} == {CHUNK}
    assert card.epd == []
    assert "note: interrupted" in result.output
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "nothing to evaluate by"),
        (("--puzzles", "none.csv"), "none.csv: can't be read"),
        (("--puzzles", "run/t.epd"), "t.epd:1: not a puzzle file"),
        (("--epd", "run/p.csv"), "p.csv:1: no EPD"),
        (("--positions", "run/p.csv"), "p.csv:1: can't be read"),
        (("--epd", "run/t.epd", "--baseline", "cloning"), "takes NAME=PATH"),
        (("--epd", "run/t.epd", "--baseline", "random=x"), "there is a baseline random already"),
        (("--against", "random"), "say how many with --games"),
        (("--games", "2", "--sprt", "elo=1"), "no option 'elo'"),
        (("--epd", "run/t.epd", "--games", "2", "--against", "nobody"), "nobody: no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run_directory: Path, arguments: tuple[str, ...], told: str) -> None:
    result = called(run_directory, *arguments)
    assert isinstance(result.exception, RookeryError), result.output
    assert result.exception.exit_code == 2
    assert told in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_missing_engine_is_told_before_anything_is_done(run_directory: Path, shared_data: Path) -> None:
    games = shared_data / "games" / "online-clk.pgn.zst"
    result = called(run_directory, "--positions", games, "--sample", 3, "--engine", "no-such-engine")
    assert "no such engine" in str(result.exception)

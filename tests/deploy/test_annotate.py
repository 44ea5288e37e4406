import json
import signal
from pathlib import Path

import chess
import numpy as np
import pandas as pd
import pytest

from common.scores import expected_score
from tests.deploy.conftest import FLAWED
from tests.deploy.expected import games_of
from tests.deploy.runs import SAMPLE, Ended, Started, wait_until

LIMIT_GAMES = 7
FLAGS = ("--nodes", "20", "--limit-games", str(LIMIT_GAMES))


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """Three games, of which the first and the last can't be used."""
    path = tmp_path / "flawed.pgn"
    path.write_text(FLAWED)
    return path


def annotate(*arguments: str | Path, stdin: bytes | None = None, folder: Path | None = None) -> Ended:
    with Started(("rookery", "annotate", *map(str, arguments)), stdin=stdin, folder=folder) as command:
        return command.end()


def test_every_position_of_the_games_that_can_be_used_has_a_row(
    tmp_path: Path, flawed: Path, stockfish: str
) -> None:
    to = tmp_path / "values.parquet"
    ended = annotate(flawed, SAMPLE, "--to", to, "--engine", stockfish, *FLAGS)
    assert ended.code == 0, ended.err
    table = pd.read_parquet(to)

    wanted = []
    for number, game in enumerate(games_of([flawed, SAMPLE], LIMIT_GAMES)):
        if number in (0, 2):
            continue
        moves = [move.uci() for move in game.mainline_moves()]
        board = game.board()
        for ply, move in enumerate([*moves, None]):
            wanted.append((number, ply, board.fen(), move, "white" if board.turn else "black"))
            if move is not None:
                board.push_uci(move)
    found = table[["game", "ply", "fen", "move", "side"]].replace({np.nan: None})
    assert list(found.itertuples(index=False, name=None)) == wanted
    assert (table["score_cp"].isna() ^ table["mate"].isna()).all()
    plain = table[table["score_cp"].notna()]
    turned = plain["score_cp"].where(plain["side"] == "white", -plain["score_cp"]).to_numpy(np.int16)
    np.testing.assert_array_equal(plain["expected_score"].to_numpy(), expected_score(turned))
    final = table["fen"][table["move"].isna()]
    over = sum(chess.Board(fen).is_checkmate() or chess.Board(fen).is_stalemate() for fen in final)
    assert over
    assert table["source"].value_counts().to_dict() == {"engine": len(table) - over, "rules": over}

    assert ended.out.startswith(f"{len(table):,} rows of {LIMIT_GAMES - 2} games (5 by the engine) in {to} (")
    rejected = [json.loads(line) for line in (tmp_path / "values.parquet.rejected.jsonl").read_text().splitlines()]
    assert [(each["number"], each["line"], each["reason"]) for each in rejected] == [
        (0, 1, "illegal-move"), (2, 15, "no-moves"),
    ]  # fmt: skip
    lines = ended.err.splitlines()
    assert lines[0].startswith(f"rejected: game 0 at {flawed}:1: illegal-move (")
    assert lines[-1] == (
        f"rejected 2 of 7 games (1 illegal-move, 1 no-moves), see {tmp_path / 'values.parquet.rejected.jsonl'}"
    )


def test_the_second_time_nothing_is_evaluated_and_the_file_is_the_same(tmp_path: Path, stockfish: str) -> None:
    flags = (*FLAGS, "--engine", stockfish)
    first = annotate(SAMPLE, "--to", tmp_path / "first.csv", *flags)
    stale = tmp_path / "second.csv.rejected.jsonl"
    stale.write_text("of an earlier run\n")
    second = annotate(SAMPLE, "--to", tmp_path / "second.csv", *flags)
    assert "(7 by the engine)" in first.out
    assert "(7 from the store)" in second.out
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()
    assert {child.name for child in tmp_path.iterdir()} == {"first.csv", "second.csv", "evaluations.db"}


def test_the_store_can_be_another_and_games_come_from_standard_input(tmp_path: Path, stockfish: str) -> None:
    store = tmp_path / "run" / "evaluations.db"
    flags = ("--to", tmp_path / "a.jsonl", "--evaluations", store, "--engine", stockfish, "--nodes", "20")
    ended = annotate("-", *flags, stdin=b"1. e4 e5 *\n\n1. d4 *\n")
    assert ended.out.startswith("5 rows of 2 games (2 by the engine)"), ended.err
    assert store.exists()
    assert {child.name for child in tmp_path.iterdir()} == {"a.jsonl", "run"}
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["move"] for row in rows] == ["e2e4", "e7e5", None, "d2d4", None]


def test_comments_alone_need_no_engine_and_no_store(tmp_path: Path) -> None:
    games = tmp_path / "games.pgn"
    games.write_text("1. e4 { [%eval 0.3] } e5 { [%eval #4] } *\n\n1. d4 d5 { [%eval 0.1] } *\n")
    ended = annotate(games, "--to", "t.jsonl", "--evals", "pgn", "--engine", "/no/engine", folder=tmp_path)
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [(row["score_cp"], row["mate"], row["source"]) for row in rows] == [
        (20, None, "assumed"), (-30, None, "comment"), (None, 4, "comment"),
    ]  # fmt: skip
    assert "no-evaluation" in ended.err
    assert not (tmp_path / "evaluations.db").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_the_old_file_and_nothing_running(
    tmp_path: Path, stockfish: str, number: signal.Signals
) -> None:
    to = tmp_path / "values.csv"
    to.write_text("old")
    command = ("rookery", "annotate", str(SAMPLE), "--to", str(to), "--engine", stockfish, "--nodes", "2000")
    with Started(command) as running:
        wait_until(lambda: (tmp_path / "evaluations.db").exists(), "the store is there")
        wait_until(lambda: len(running.processes()) == 2, "the engine runs")
        running.process.send_signal(number)
        ended = running.end()
        assert running.processes() == []
    assert ended.code == 130
    assert ended.line == f"interrupted: {to} is not written; the same command goes on where it stopped"
    assert to.read_text() == "old"
    names = {child.name for child in tmp_path.iterdir()}
    assert names - {"evaluations.db-wal", "evaluations.db-shm"} == {"values.csv", "evaluations.db"}


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, flawed: Path, stockfish: str) -> None:
    def line(*arguments: str | Path) -> str:
        ended = annotate(*arguments, "--nodes", "20", folder=tmp_path)
        assert ended.code == 2
        return ended.line

    assert line("--to", "a.csv").startswith("rookery: no games: name PGN files")
    assert line("flaved.pgn", "--to", "a.csv") == "rookery: flaved.pgn: no such file; did you mean flawed.pgn?"
    assert line(flawed, "--to", "a.xlsx").endswith("a.xlsx: the suffix must be one of .parquet, .csv, .jsonl")
    assert line(flawed, "--to", "no/a.csv") == "rookery: no/a.csv: can't be written: No such file or directory"
    assert line(flawed, "--to", "a.csv", "--engine", "/bin/true").startswith(
        "rookery: /bin/true: is not a UCI engine"
    )
    assert line(flawed, "--to", "a.csv", "--evals", "gut").endswith("got 'gut'; it is one of engine, pgn, auto")
    assert [child.name for child in tmp_path.iterdir()] == ["flawed.pgn"]

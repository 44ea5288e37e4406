"""EPD files: best moves, moves to avoid, points."""

from pathlib import Path

import chess
import numpy as np
import pytest

from arena.epd import read_epd, score
from arena.rankings import RandomRanker, Ranking
from common.errors import SourceError

BEST = '1k1r4/pp1b1R2/3q2pp/4p3/2B5/4Q3/PPP2B2/2K5 b - - bm Qd1+; id "BK.01";'
AVOID = "4k3/8/8/3p4/4P3/8/8/4K3 w - - am exd5;"


def ranking(board: chess.Board, uci: str) -> Ranking:
    moves = tuple(board.legal_moves)
    return Ranking(moves=moves, scores=np.array([move.uci() == uci for move in moves], float))


def read_one(tmp_path: Path, line: str):
    (tmp_path / "t.epd").write_text(line + "\n")
    [position], bad = read_epd(tmp_path / "t.epd")
    assert bad.count == 0
    return position


def test_the_best_move_is_right_and_no_other(tmp_path: Path) -> None:
    position = read_one(tmp_path, BEST)
    assert score(position, ranking(position.board, "d6d1")).chance == 1.0
    assert score(position, ranking(position.board, "d6a3")).chance == 0.0
    assert score(position, ranking(position.board, "d6d1")).points is None


def test_any_move_but_the_one_to_avoid_is_right(tmp_path: Path) -> None:
    position = read_one(tmp_path, AVOID)
    assert score(position, ranking(position.board, "e4d5")).chance == 0.0
    assert score(position, ranking(position.board, "e4e5")).chance == 1.0
    legal = position.board.legal_moves.count()
    assert score(position, RandomRanker().rank([position.board])[0]).chance == pytest.approx(1 - 1 / legal)


@pytest.mark.parametrize(
    "points",
    [
        'c8 "100 46"; c9 "f4f5 d4f2";',
        'c7 "f5 Bf2"; c8 "100 46";',
        'c0 "f5=100, Bf2=46";',
        'c0 "f5=100, Bf2=46"; c8 "100 46"; c9 "f4f5 nonsense";',
    ],
)
def test_points_are_read_in_all_their_ways(tmp_path: Path, points: str) -> None:
    position = read_one(tmp_path, f"1kr5/3n4/q3p2p/p2n2p1/PppB1P2/5BP1/1P2Q2P/3R2K1 w - - bm f5; {points}")
    assert score(position, ranking(position.board, "f4f5")).points == 100
    assert score(position, ranking(position.board, "d4f2")).points == 46
    assert score(position, ranking(position.board, "d4e3")).points == 0


def test_the_shared_files_read_whole(shared_data: Path) -> None:
    counts = {path.name: len(read_epd(path)[0]) for path in (shared_data / "puzzles").glob("*.epd")}
    assert counts == {
        "bratko_kopec_test.epd": 24, "iq4.epd": 183, "pet.epd": 48, "sts-half.epd": 609, "wacnew.epd": 300,
    }  # fmt: skip
    positions, _ = read_epd(shared_data / "puzzles" / "sts-half.epd")
    assert all(position.points and max(position.points.values()) == 100 for position in positions)


def test_bad_lines_are_counted_and_a_file_of_them_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.epd"
    path.write_text(f"# a comment\n{BEST}\nnonsense\n8/8/8/8/8/8/8/8 w - - bm e4;\n{BEST.split(' bm')[0]}\n")
    positions, bad = read_epd(path)
    assert (len(positions), bad.count) == (1, 3)
    assert str(bad).startswith(f"left out 3 bad rows, the first {path}:3: ")
    path.write_text("nonsense\n")
    with pytest.raises(SourceError, match="t.epd:1: "):
        read_epd(path)

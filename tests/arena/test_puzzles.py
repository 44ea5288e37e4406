"""Puzzles: files as they come, and who solves what."""

from collections.abc import Sequence
from pathlib import Path

import chess
import numpy as np
import pytest
import zstandard

from arena.puzzles import band_of, read_puzzles, solved
from arena.rankings import MaterialRanker, RandomRanker, Ranking
from common.errors import SourceError

# Two solver's moves; then a mate in one that has an alternative.
LINE = "r6k/pp2r2p/4Rp1Q/3p4/8/1N1P2R1/PqP2bPP/7K b - - 0 24,f2g3 e6e7 b2b1 b3c1 b1c1 h6c1,1828"
TWO_MATES = "k7/7p/1K6/8/8/8/8/4QR2 b - - 0 1,h7h6 f1f8,600"


class Scripted:
    """Ranks the moves that it is told of first, in their order."""

    def __init__(self, moves: Sequence[str]) -> None:
        self.moves = [chess.Move.from_uci(uci) for uci in moves]
        self.batches: list[int] = []

    def rank(self, boards: Sequence[chess.Board]) -> list[Ranking]:
        self.batches.append(len(boards))
        return [
            Ranking(
                moves=tuple(board.legal_moves),
                scores=np.array([self.score(move) for move in board.legal_moves], float),
            )
            for board in boards
        ]

    def score(self, move: chess.Move) -> int:
        return -self.moves.index(move) if move in self.moves else -len(self.moves)


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_lichess_columns_and_short_ones_read_alike(tmp_path: Path) -> None:
    short = written(tmp_path / "short.csv", "FEN,Moves,Rating", LINE)
    full = written(
        tmp_path / "full.csv",
        "PuzzleId,FEN,Moves,Rating,RatingDeviation,Popularity,NbPlays,Themes,GameUrl,OpeningTags",
        f"00008,{LINE},75,95,9090,crushing long,https://lichess.org/787zsVup/black#48,",
    )
    bare = written(tmp_path / "bare.csv", f"00008,{LINE},75,95,9090,crushing long,https://lichess.org/x,")
    packed = tmp_path / "packed.csv.zst"
    packed.write_bytes(zstandard.compress(short.read_bytes()))
    for path in (short, full, bare, packed):
        [puzzle], bad = read_puzzles(path)
        assert bad.count == 0
        assert puzzle.rating == 1828
        assert [task.expected.uci() for task in puzzle.tasks] == ["e6e7", "b3c1", "h6c1"]
        assert puzzle.tasks[0].board.turn == chess.WHITE


def test_every_row_of_the_shared_files_is_a_puzzle(shared_data: Path) -> None:
    puzzles, bad = read_puzzles(shared_data / "puzzles" / "lichess-full.csv.zst")
    assert (len(puzzles), bad.count) == (750, 0)


def test_a_sample_is_drawn_by_its_seed(shared_data: Path) -> None:
    path = shared_data / "puzzles" / "lichess-fen-moves-rating.csv.zst"
    drawn = [
        [puzzle.tasks[0].board.fen() for puzzle in read_puzzles(path, limit=50, seed=seed)[0]] for seed in (3, 3, 4)
    ]
    assert len(drawn[0]) == 50
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_bad_rows_are_counted_and_the_first_is_told(tmp_path: Path) -> None:
    bad_rows = (
        LINE.replace("f2g3", "f2a8"),
        LINE.replace("1828", "high"),
        "8/8/8/8/8/8/8/8 w - - 0 1,e2e4 e7e5,100",
        LINE.replace("e6e7 b2b1 b3c1 b1c1 h6c1", ""),
    )
    path = written(tmp_path / "p.csv", "FEN,Moves,Rating", LINE, *bad_rows, "")
    puzzles, bad = read_puzzles(path)
    assert (len(puzzles), bad.count) == (1, 4)
    assert str(bad) == f"left out 4 bad rows, the first {path}:3: no legal move: 'f2a8'"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "there is nothing in it"),
        (b'[Event "x"]\n\n1. e4 e5\n', "p.csv:1: not a puzzle file: no columns FEN and Moves, but"),
        (b"\x00\x01\x02\xff" * 100, "p.csv:1: not a puzzle file"),
        (b"FEN,Moves,Rating\nnonsense,e2e4 e7e5,1\n", "p.csv:2: no FEN: "),
        (b"\x28\xb5\x2f\xfd" + b"junk" * 10, "can't be decompressed"),
    ],
)
def test_a_file_without_puzzles_is_refused_in_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        read_puzzles(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="can't be read: No such file"):
        read_puzzles(tmp_path / "none.csv")
    with pytest.raises(SourceError, match="is a directory"):
        read_puzzles(tmp_path)


def test_all_moves_of_the_solver_have_to_be_right(tmp_path: Path) -> None:
    puzzles, _ = read_puzzles(written(tmp_path / "p.csv", "FEN,Moves,Rating", LINE))
    assert solved(puzzles, Scripted(["e6e7", "b3c1", "h6c1"])) == [1.0]
    assert solved(puzzles, Scripted(["e6e7", "h6c1", "b3c1"])) == [0.0]


def test_a_puzzle_that_was_missed_is_not_gone_on_with(tmp_path: Path) -> None:
    puzzles, _ = read_puzzles(written(tmp_path / "p.csv", "FEN,Moves,Rating", LINE, TWO_MATES))
    ranker = Scripted(["a2a4", "f1f8"])
    solved(puzzles, ranker)
    assert sum(ranker.batches) == 2


def test_any_mate_counts_as_the_mate(tmp_path: Path) -> None:
    puzzles, _ = read_puzzles(written(tmp_path / "p.csv", "FEN,Moves,Rating", TWO_MATES))
    assert solved(puzzles, Scripted(["f1f8"])) == [1.0]
    assert solved(puzzles, Scripted(["e1e8"])) == [1.0]  # mates too
    assert solved(puzzles, Scripted(["e1a5"])) == [0.0]  # a check, no more


def test_the_random_movers_chance_is_exact(tmp_path: Path) -> None:
    puzzles, _ = read_puzzles(written(tmp_path / "p.csv", "FEN,Moves,Rating", LINE))
    [chance] = solved(puzzles, RandomRanker())
    expected = 1.0
    for task in puzzles[0].tasks:
        legal = list(task.board.legal_moves)
        right = [move for move in legal if move == task.expected]
        expected *= len(right) / len(legal)
    # Other mates on the way could only add to it.
    assert expected <= chance <= expected + 0.1


def test_material_solves_what_is_hanging(tmp_path: Path) -> None:
    hanging = "4k3/8/8/5p2/4P2q/8/8/6KR b - - 0 1,f5f4 h1h4,700"
    puzzles, _ = read_puzzles(written(tmp_path / "p.csv", "FEN,Moves,Rating", hanging))
    assert solved(puzzles, MaterialRanker()) == [1.0]


def test_ratings_fall_into_bands() -> None:
    assert [band_of(rating) for rating in (599, 600, 799, 800, None)] == [400, 600, 600, 800, None]

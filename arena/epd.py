"""Test positions: EPD files with best moves (bm) or moves to avoid (am), and points for moves where they have them.

    1k1r4/pp1b1R2/3q2pp/4p3/2B5/4Q3/PPP2B2/2K5 b - - bm Qd1+; id "BK.01";

The Strategic Test Suite (STS) gives points, 100 at most, in c8 "100 46 …" for the moves in c9 "f4f5 d4f2 …"
(UCI), in c7 (SAN), or both in c0 "f5=100, Bf2=46, …". A file may be compressed with zstd (.zst).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import chess

from arena.rankings import Ranking
from arena.text_files import BadRow, BadRows, open_text
from common.errors import SourceError

POINTS_MAX = 100
"""Points that a position with points gives at most."""

_POINTS = re.compile(r"\s*(\S+?)\s*=\s*(\d+)\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class TestPosition:
    """A position and what is right in it; it has a best move, or a move to avoid."""

    __test__ = False  # no test case, whatever pytest makes of the name

    board: chess.Board
    best: frozenset[chess.Move]
    avoid: frozenset[chess.Move]
    points: dict[chess.Move, int] | None
    """Points of the moves that give any; None where the file gives none."""

    def right(self, moves: Sequence[chess.Move]) -> frozenset[chess.Move]:
        """Return which of `moves` are right: the best ones, or where none is named those not to be avoided."""
        return frozenset(move for move in moves if move not in self.avoid and (not self.best or move in self.best))


@dataclass(frozen=True, kw_only=True, slots=True)
class TestScore:
    """What a ranker makes of one test position."""

    __test__ = False

    chance: float
    """That its move is right: 0 or 1 unless moves are level."""
    points: float | None
    """Points that it gets, or is to expect if moves are level; None where there are none to get."""


def read_epd(path: Path) -> tuple[list[TestPosition], BadRows]:
    """Return the positions of an EPD file with best moves or moves to avoid, and the lines that are none.

    Raises SourceError, naming the line, if the file can't be read, or no line of it is such a position.
    """
    bad = BadRows(path)
    positions = []
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                positions.append(_position(line.strip()))
            except BadRow as error:
                bad.add(number, str(error))
    if not positions:
        raise SourceError(bad.none_good())
    return positions, bad


def score(position: TestPosition, ranking: Ranking) -> TestScore:
    """Return what a ranking of the moves of `position` is worth."""
    first = ranking.first
    points = None
    if position.points is not None:
        points = math.fsum(position.points.get(move, 0) for move in first) / len(first)
    return TestScore(chance=ranking.chance_of(position.right(first)), points=points)


def _position(line: str) -> TestPosition:
    """Return the position of a line; raise BadRow."""
    board = chess.Board()
    try:
        operations = board.set_epd(line)
    except (ValueError, IndexError, AssertionError) as error:
        raise BadRow(f"no EPD: {_printable(str(error))}") from error
    if not board.is_valid():
        raise BadRow("no position that can be")
    if not any(board.generate_legal_moves()):
        raise BadRow("a position without a legal move")
    best, avoid = _moves(operations.get("bm")), _moves(operations.get("am"))
    if not best and not avoid:
        raise BadRow("neither bm nor am says what is right")
    return TestPosition(board=board, best=best, avoid=avoid, points=_points(board, operations))


def _moves(operand: object) -> frozenset[chess.Move]:
    return frozenset(move for move in operand if move) if isinstance(operand, list) else frozenset()


def _points(board: chess.Board, operations: Mapping[str, object]) -> dict[chess.Move, int] | None:
    """Return the points that a line gives, in whichever of the three ways that can be read."""
    counts = [int(word) for word in _words(operations, "c8") if word.isdigit()]
    for names, read in ((_words(operations, "c9"), board.parse_uci), (_words(operations, "c7"), board.parse_san)):
        if counts and len(names) == len(counts):
            try:
                return {read(name): count for name, count in zip(names, counts, strict=True)}
            except ValueError:
                continue
    pairs = [_POINTS.fullmatch(part) for part in str(operations.get("c0", "")).split(",")]
    try:
        return {board.parse_san(pair[1]): int(pair[2]) for pair in pairs if pair} or None
    except ValueError:
        return None


def _words(operations: Mapping[str, object], opcode: str) -> list[str]:
    operand = operations.get(opcode)
    return operand.split() if isinstance(operand, str) else []


def _printable(text: str, characters: int = 100) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:characters]

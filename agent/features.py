"""Features: what a network is told of a position and of its moves beyond where the pieces stand.

Which squares either side attacks, and with what at the least, makes hanging pieces, safe squares and checks
visible to a small network, at the cost of a few operations on bitboards for all positions at once. Pure numpy;
called by networks for training and play alike. Squares are those of the turned board (see common.positions).

Attacks are of pieces as they stand: x-rays, pins and whose turn it is count for nothing.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.bitboards import Bitboards, bitboards_of, squares_of
from common.moves import MOVES, decode, pseudo_legal_mask
from common.positions import PIECE_CODES, SQUARES, Positions

PIECES = 6
PAWN, KNIGHT, BISHOP, ROOK, QUEEN, KING = range(1, PIECES + 1)

STATES = 5
"""States of a piece: safe and defended, safe and not, attacked by less, hanging, defended against no less."""

_FILE_A, _FILE_H = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
# Steps of a king as (shift of the square, files it must not leave from).
_STEPS = {
    8: _FULL, -8: _FULL, 1: ~_FILE_H, -1: ~_FILE_A, 9: ~_FILE_H, 7: ~_FILE_A, -7: ~_FILE_H, -9: ~_FILE_A,
}  # fmt: skip
_STRAIGHT, _DIAGONAL = (8, -8, 1, -1), (9, 7, -7, -9)

_CASTLING_CODES = 16
_FILES = 8
_HALFMOVE_STEP, _HALFMOVE_BUCKETS = 4, 26  # 0-3, 4-7, … 100 and more
_REPETITION_BUCKETS = 3  # new, once before, twice or more often before
_LEAST = PIECES + 1


class _Layout(NamedTuple):
    """Where each family of position features begins."""

    pieces: int
    states: int
    relations: int
    empty: int
    king: int
    castling: int
    en_passant: int
    halfmove: int
    repetitions: int
    total: int


def _layout() -> _Layout:
    sizes = (
        PIECE_CODES * SQUARES,  # a piece on a square
        PIECE_CODES * SQUARES * STATES,  # a piece on a square in a state
        PIECE_CODES * _LEAST * _LEAST,  # a piece, its least defender and its least attacker
        SQUARES * _LEAST * _LEAST,  # an empty square and the least attackers of both sides
        2 * PIECE_CODES * SQUARES * KING_ZONES,  # a piece on a square, and the zone of either king
        _CASTLING_CODES,
        _FILES + 1,
        _HALFMOVE_BUCKETS,
        _REPETITION_BUCKETS,
    )
    starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    return _Layout(*starts)


KING_ZONES = 6
"""Zones of a king: wing (queen's, centre, king's) by home rank or beyond."""

LAYOUT = _layout()

TOKENS = PIECE_CODES * _LEAST * _LEAST
"""What can stand on a square, with the least pieces of either side that attack it."""

SITUATIONS = LAYOUT.total - LAYOUT.castling
"""Castling rights, en-passant files, and steps of the halfmove clock and of repetitions, together."""

POSITION_FEATURES = LAYOUT.total
"""Number of position features."""

ACTIVE = 5 * SQUARES // 2 + 32
"""About how many of them a position has at most, for the scale of initial weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Attacks:
    """Who attacks what in n positions."""

    own_least: npt.NDArray[np.uint8]
    """[n, 64] least valuable piece (1-6) of the side to move that attacks or defends each square; 0 for none."""
    other_least: npt.NDArray[np.uint8]
    """[n, 64] the same of the opponent."""
    own_second: npt.NDArray[np.uint8]
    """[n, 64] the next kind of piece of the side to move that does; 0 for none."""
    checks: npt.NDArray[np.bool_]
    """[n, 6, 64] squares from which a piece 1-6 of the side to move would attack the opponent's king."""


def attacks(boards: npt.NDArray[np.uint8]) -> Attacks:
    """Return who attacks what on boards [n, 64]."""
    pieces = np.stack([bitboards_of(boards == code) for code in range(1, PIECE_CODES)])  # [12, n]
    occupied = np.bitwise_or.reduce(pieces, axis=0)
    own = [_attacked(kind, pieces[kind - 1], occupied, up=True) for kind in range(1, PIECES + 1)]
    other = [_attacked(kind, pieces[kind + 5], occupied, up=False) for kind in range(1, PIECES + 1)]
    king = pieces[11]
    checks = [_attacked(kind, king, occupied, up=False) for kind in range(1, PIECES + 1)]
    own_sets = np.stack([squares_of(board) for board in own])  # [6, n, 64]
    own_least, own_second = _two_least(own_sets)
    other_least, _ = _two_least(np.stack([squares_of(board) for board in other]))
    return Attacks(own_least, other_least, own_second, np.stack([squares_of(board) for board in checks], axis=1))


def position_features(
    positions: Positions, attacked: Attacks
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the numbers of the features of each position, int64 [m], and where each position's begin, [n]."""
    boards = positions.boards
    count = len(boards)
    squares = np.arange(SQUARES)
    occupied = boards > 0
    codes = boards.astype(np.int64)
    mine = boards <= KING
    defender = np.where(mine, attacked.own_least, attacked.other_least).astype(np.int64)
    attacker = np.where(mine, attacked.other_least, attacked.own_least).astype(np.int64)
    on_square = codes * SQUARES + squares
    families = np.full((count, 5, SQUARES), -1, np.int64)
    families[:, 0] = np.where(occupied, LAYOUT.pieces + on_square, -1)
    families[:, 1] = np.where(
        occupied, LAYOUT.states + on_square * STATES + _states(boards, defender, attacker), -1
    )
    relation = (codes * _LEAST + defender) * _LEAST + attacker
    empty = (squares * _LEAST + attacked.own_least) * _LEAST + attacked.other_least
    seen = (attacked.own_least > 0) | (attacked.other_least > 0)
    families[:, 2] = np.where(occupied, LAYOUT.relations + relation, np.where(seen, LAYOUT.empty + empty, -1))
    for family, zone in ((3, _zone(boards == KING)), (4, KING_ZONES + _zone(boards[:, _MIRROR] == KING + PIECES))):
        families[:, family] = np.where(
            occupied, LAYOUT.king + zone[:, None] * PIECE_CODES * SQUARES + on_square, -1
        )
    features = np.empty((count, 5 * SQUARES + 4), np.int64)
    features[:, :-4] = families.reshape(count, -1)
    features[:, -4:] = LAYOUT.castling + situations(positions)
    there = features >= 0
    offsets = np.zeros(count, np.int64)
    np.cumsum(there.sum(axis=1)[:-1], out=offsets[1:])
    return features[there], offsets


def situations(positions: Positions) -> npt.NDArray[np.int64]:
    """Return castling rights, en-passant file, halfmove clock and repetitions as numbers, int64 [n, 4]."""
    start = LAYOUT.castling
    columns = (
        positions.castling.astype(np.int64),
        LAYOUT.en_passant - start + 1 + positions.en_passant,
        LAYOUT.halfmove - start + np.minimum(positions.halfmove_clock // _HALFMOVE_STEP, _HALFMOVE_BUCKETS - 1),
        LAYOUT.repetitions - start + np.minimum(positions.repetitions, _REPETITION_BUCKETS - 1).astype(np.int64),
    )
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def tokens(boards: npt.NDArray[np.uint8], attacked: Attacks) -> npt.NDArray[np.int64]:
    """Return what stands on each square and which are the least pieces that attack it, int64 [n, 64]."""
    return (boards.astype(np.int64) * _LEAST + attacked.own_least) * _LEAST + attacked.other_least


MOVE_FAMILIES = 6
_MOVE_SIZES = (
    MOVES,  # the move itself
    PIECES * SQUARES,  # a piece comes to a square
    PIECES * SQUARES,  # a piece leaves a square
    PIECES * _LEAST * _LEAST * 3,  # a piece takes another on a square with that least defender, and is backed by
    PIECES * _LEAST * 2 * _LEAST,  # a piece leaves a square, attacked and defended so, for one attacked so
    PIECES * 2 * _LEAST * _LEAST,  # a piece gives check or not, taking what, attacked by what
)
MOVE_FEATURES = sum(_MOVE_SIZES)
_MOVE_STARTS = np.concatenate([[0], np.cumsum(_MOVE_SIZES)])[:-1].tolist()


def move_features(
    positions: Positions, attacked: Attacks, rows: npt.NDArray[np.int64], actions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the numbers of the six features of each of k moves, int64 [k, 6].

    `rows` [k] says which position a move is made in, `actions` [k] which move it is.
    """
    starts, ends, promotions = (part.astype(np.int64) for part in decode(actions.astype(np.uint16)))
    boards = positions.boards
    piece = boards[rows, starts].astype(np.int64)
    piece = np.where((piece < PAWN) | (piece > KING), PAWN, piece)  # what a damaged row may hold
    taken = boards[rows, ends].astype(np.int64)
    taken = np.where(taken > KING, taken - PIECES, 0)
    passing = (piece == PAWN) & (taken == 0) & (starts % 8 != ends % 8)
    taken[passing] = PAWN
    guard = attacked.other_least[rows, ends].astype(np.int64)
    threat = attacked.other_least[rows, starts].astype(np.int64)
    least, second = attacked.own_least[rows, ends], attacked.own_second[rows, ends]
    # The mover itself, if it attacks the square it goes to, is not its own backing.
    backing = np.where(least == piece, second, least)
    backed = np.where(backing == 0, np.where(least == 0, 0, 1), 2).astype(np.int64)
    held = (attacked.own_least[rows, starts] > 0).astype(np.int64)
    becomes = np.where(promotions > 0, promotions, piece)
    check = attacked.checks[rows, becomes - 1, ends].astype(np.int64)
    kind = piece - 1
    families = (
        actions,
        (becomes - 1) * SQUARES + ends,
        kind * SQUARES + starts,
        ((kind * _LEAST + taken) * _LEAST + guard) * 3 + backed,
        ((kind * _LEAST + threat) * 2 + held) * _LEAST + guard,
        ((kind * 2 + check) * _LEAST + taken) * _LEAST + guard,
    )
    return np.stack([start + family for start, family in zip(_MOVE_STARTS, families, strict=True)], axis=1)


def pseudo_legal_moves(
    positions: Positions, played: npt.NDArray[np.int64] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (row of its position, action) of every pseudo-legal move, each int64 [k], rows and actions rising.

    `played` [m] are moves made in the first m positions: they are among the moves whatever the board says.
    """
    mask = pseudo_legal_mask(positions)
    if played is not None:
        mask[np.arange(len(played)), played] = True
    # Faster than np.nonzero of the table: most of it is empty, and a word of eight is looked at at once.
    flat = np.flatnonzero(mask.reshape(-1).view(np.uint64))
    cells = (flat[:, None] * 8 + np.arange(8))[mask.reshape(-1, 8)[flat]]
    return cells // MOVES, cells % MOVES


def places_of(
    played: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], actions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return where the moves `played` [m] are among those that `pseudo_legal_moves` gave with them, int64 [m]."""
    return np.searchsorted(rows * MOVES + actions, np.arange(len(played)) * MOVES + played)


_MIRROR = np.arange(SQUARES) ^ 56


def _states(
    boards: npt.NDArray[np.uint8], defender: npt.NDArray[np.int64], attacker: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the state of the piece on each square, [n, 64]; of no meaning for empty ones."""
    kind = np.where(boards > KING, boards - PIECES, boards).astype(np.int64)
    worth = _worth()
    safe = np.where(defender > 0, 0, 1)
    attacked = np.where(defender == 0, 3, np.where(worth[attacker] < worth[kind], 2, 4))
    return np.where(attacker == 0, safe, attacked)


@cache
def _worth() -> npt.NDArray[np.int64]:
    return np.array([0, 1, 3, 3, 5, 9, 100])


def _zone(king: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the zone of the one king on each board, bool [n, 64]; 0 where there is none."""
    square = king.argmax(axis=1)
    wings = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    zones: npt.NDArray[np.int64] = wings[square % 8] + 3 * (square >= 16)
    return zones


def _two_least(sets: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the least and the next kind of piece whose set [6, n, 64] has each square; 0 for none."""
    least = np.zeros(sets.shape[1:], np.uint8)
    second = np.zeros_like(least)
    for kind in range(PIECES, 0, -1):
        there = sets[kind - 1]
        np.copyto(second, least, where=there)
        np.copyto(least, np.uint8(kind), where=there)
    return least, second


def _attacked(kind: int, pieces: Bitboards, occupied: Bitboards, *, up: bool) -> Bitboards:
    """Return the squares that pieces of one kind attack; `up` is the way that pawns go."""
    if kind == PAWN:
        steps = (7, 9) if up else (-7, -9)
        return _step(pieces, steps[0]) | _step(pieces, steps[1])
    if kind == KNIGHT:
        one = _step(pieces, 1) | _step(pieces, -1)
        two = _step(_step(pieces, 1), 1) | _step(_step(pieces, -1), -1)
        return _step(_step(one, 8), 8) | _step(_step(one, -8), -8) | _step(two, 8) | _step(two, -8)
    if kind == KING:
        return _union([_step(pieces, step) for step in _STEPS])
    directions = {BISHOP: _DIAGONAL, ROOK: _STRAIGHT, QUEEN: _DIAGONAL + _STRAIGHT}[kind]
    empty = ~occupied
    found = []
    for direction in directions:
        reached = pieces
        for _ in range(6):
            reached = reached | (_step(reached, direction) & empty)
        found.append(_step(reached, direction))
    return _union(found)


def _union(boards: list[Bitboards]) -> Bitboards:
    union: Bitboards = np.bitwise_or.reduce(np.stack(boards), axis=0)
    return union


def _step(board: Bitboards, step: int) -> Bitboards:
    kept = board & _STEPS[step]
    return kept << np.uint64(step) if step > 0 else kept >> np.uint64(-step)

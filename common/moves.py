"""Moves: the 1880 moves that the side moving up can make, numbered in a fixed order.

    0 … 1791       every (from, to) that a queen or a knight could move on an empty board, by from, then to
    1792 … 1879    promotions: every (from, to) of a pawn from rank 7 to rank 8, by from, then to, and
                   for each of them N, B, R, Q

Squares are those of the turned board (see common.positions): a1=0 … h8=63, the mover at the bottom.
Castling is the king's move of two squares (e1g1, e1c1). Called by actors, learners and exports; never by
the broker. Knows how pieces move, not what a check is.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.bitboards import bitboards_of
from common.positions import OWN_KING_SIDE, OWN_QUEEN_SIDE, SQUARES, Positions
from common.settings import Side

MOVES = 1880
"""Number of moves."""

PLAIN_MOVES = 1792
"""Number of moves that are no promotions; the promotions' indices begin here."""

NO_MOVE = 65_535
"""What `encode` gives for squares that no piece can move between."""

NO_PROMOTION, KNIGHT, BISHOP, ROOK, QUEEN = 0, 2, 3, 4, 5
"""Codes of the piece that a pawn becomes, as in python-chess."""

_STRAIGHT = ((0, 1), (0, -1), (1, 0), (-1, 0))
_DIAGONAL = ((1, 1), (1, -1), (-1, 1), (-1, -1))
_JUMPS = ((1, 2), (2, 1), (2, -1), (1, -2), (-1, -2), (-2, -1), (-2, 1), (-1, 2))
_PROMOTIONS = (KNIGHT, BISHOP, ROOK, QUEEN)
_SECOND_RANK, _SEVENTH_RANK = 1, 6
_E1, _EAST, _WEST = 4, 0x60, 0x0E  # the king's square, and what must be empty beside it: f1 g1, b1 c1 d1
_PAWN, _KING = 1, 6  # codes of a position's board, as are KNIGHT … QUEEN for the side to move


def encode(
    from_squares: npt.NDArray[np.uint8], to_squares: npt.NDArray[np.uint8], promotions: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint16]:
    """Return the index of each move, uint16 [n]; NO_MOVE where there is none.

    Squares are those of the turned board; `promotions` [n] holds NO_PROMOTION, KNIGHT, BISHOP, ROOK or QUEEN.
    """
    indices: npt.NDArray[np.uint16] = _tables().index_of[promotions, from_squares, to_squares]
    return indices


def decode(
    actions: npt.NDArray[np.uint16],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return from squares, to squares (turned board) and promotions of moves, each uint8 [n]."""
    tables = _tables()
    return tables.from_squares[actions], tables.to_squares[actions], tables.promotions[actions]


def to_uci(action: int, side: Side) -> str:
    """Return the move `action` of `side` in UCI's notation, such as `e2e4` or `a7a8q`."""
    return uci_table(side)[action]


@cache
def uci_table(side: Side) -> tuple[str, ...]:
    """Return the UCI notation of all 1880 moves of `side`, by index."""
    turned = 0 if side is Side.WHITE else 56
    tables = _tables()
    moves = zip(tables.from_squares.tolist(), tables.to_squares.tolist(), tables.promotions.tolist(), strict=True)
    return tuple(
        _square_name(start ^ turned) + _square_name(end ^ turned) + "??nbrq"[promotion].replace("?", "")
        for start, end, promotion in moves
    )


@cache
def indices_by_uci(side: Side) -> dict[str, int]:
    """Return the index of each of the 1880 moves of `side` by its UCI notation."""
    return {uci: index for index, uci in enumerate(uci_table(side))}


def pseudo_legal_mask(positions: Positions) -> npt.NDArray[np.bool_]:
    """Return which moves the pieces can make in each of n positions, bool [n, 1880].

    They obey each piece's way of moving, blockers, own pieces, castling rights with an empty path, and
    en passant; whether the king is, passes or ends in check is not looked at. Every legal move is among
    them.
    """
    boards = positions.boards
    mask = np.zeros((len(boards), MOVES), np.bool_)
    if len(boards) == 0:
        return mask
    table = _candidates()
    own, other = bitboards_of((boards > 0) & (boards <= _KING)), bitboards_of(boards > _KING)
    occupied = own | other
    rows, squares = np.nonzero((boards > 0) & (boards <= _KING))
    pieces = boards[rows, squares]
    first, counts = table.first[pieces, squares], table.counts[pieces, squares]
    # Every candidate of every own piece, one after another: its row in the table, and its position's row.
    ends = np.cumsum(counts)
    candidates = np.repeat(first - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
    rows = np.repeat(rows, counts)
    file = positions.en_passant
    sixth_rank = np.left_shift(np.uint64(1), (40 + np.maximum(file, 0)).astype(np.uint64))
    prey = other | np.where(file >= 0, sixth_rank, np.uint64(0))
    blocked = (occupied[rows] & table.must_be_empty[candidates]) | (own[rows] & table.must_not_be_own[candidates])
    possible = (blocked | (table.must_be_prey[candidates] & ~prey[rows])) == 0
    mask[rows[possible], table.actions[candidates[possible]]] = True
    king = boards[:, _E1] == _KING
    for right, path, action in (
        (OWN_KING_SIDE, _EAST, table.castle_king_side),
        (OWN_QUEEN_SIDE, _WEST, table.castle_queen_side),
    ):
        mask[:, action] |= king & (positions.castling & right > 0) & (occupied & np.uint64(path) == 0)
    return mask


class _Tables(NamedTuple):
    from_squares: npt.NDArray[np.uint8]  # [1880]
    to_squares: npt.NDArray[np.uint8]  # [1880]
    promotions: npt.NDArray[np.uint8]  # [1880]
    index_of: npt.NDArray[np.uint16]  # [promotion 0-5, from, to]


class _Candidates(NamedTuple):
    """Moves of each own piece from each square, those of one piece on one square together."""

    first: npt.NDArray[np.int64]  # [piece 0-6, square]: row of the first candidate
    counts: npt.NDArray[np.int64]  # [piece 0-6, square]: number of candidates
    actions: npt.NDArray[np.uint16]  # [candidates]
    must_be_empty: npt.NDArray[np.uint64]  # [candidates], squares as bits
    must_not_be_own: npt.NDArray[np.uint64]
    must_be_prey: npt.NDArray[np.uint64]  # an opponent's piece, or the square of an en-passant capture
    castle_king_side: int
    castle_queen_side: int


@cache
def _tables() -> _Tables:
    plain = [
        (start, end, NO_PROMOTION)
        for start in range(SQUARES)
        for end in sorted({*_rays_ends(start), *_steps(start, _JUMPS)})
    ]
    promotions = [
        (start, end, promotion)
        for start in range(48, 56)
        for end in range(start + 7, start + 10)
        if 56 <= end < SQUARES and abs(end % 8 - start % 8) <= 1
        for promotion in _PROMOTIONS
    ]
    moves = np.array(plain + promotions, np.uint8)
    index_of = np.full((QUEEN + 1, SQUARES, SQUARES), NO_MOVE, np.uint16)
    index_of[moves[:, 2], moves[:, 0], moves[:, 1]] = np.arange(len(moves))
    return _Tables(moves[:, 0].copy(), moves[:, 1].copy(), moves[:, 2].copy(), index_of)


@cache
def _candidates() -> _Candidates:
    first, counts = np.zeros((7, SQUARES), np.int64), np.zeros((7, SQUARES), np.int64)
    rows: list[tuple[int, int, int, int]] = []
    for piece in range(_PAWN, _KING + 1):
        for square in range(SQUARES):
            moves = list(_pawn_candidates(square) if piece == _PAWN else _piece_candidates(piece, square))
            first[piece, square], counts[piece, square] = len(rows), len(moves)
            rows += moves
    actions, must_be_empty, must_not_be_own, must_be_prey = zip(*rows, strict=True)
    index_of = _tables().index_of[NO_PROMOTION, _E1]
    return _Candidates(
        first=first,
        counts=counts,
        actions=np.array(actions, np.uint16),
        must_be_empty=np.array(must_be_empty, np.uint64),
        must_not_be_own=np.array(must_not_be_own, np.uint64),
        must_be_prey=np.array(must_be_prey, np.uint64),
        castle_king_side=int(index_of[6]),
        castle_queen_side=int(index_of[2]),
    )


def _piece_candidates(piece: int, square: int) -> Iterator[tuple[int, int, int, int]]:
    index_of = _tables().index_of[NO_PROMOTION, square]
    if piece in (KNIGHT, _KING):
        for end in _steps(square, _JUMPS if piece == KNIGHT else _STRAIGHT + _DIAGONAL):
            yield int(index_of[end]), 0, 1 << end, 0
        return
    directions = {BISHOP: _DIAGONAL, ROOK: _STRAIGHT, QUEEN: _STRAIGHT + _DIAGONAL}[piece]
    for direction in directions:
        between = 0
        for end in _ray(square, direction):
            yield int(index_of[end]), between, 1 << end, 0
            between |= 1 << end


def _pawn_candidates(square: int) -> Iterator[tuple[int, int, int, int]]:
    rank = square // 8
    if not _SECOND_RANK <= rank <= _SEVENTH_RANK:
        return
    pieces = _PROMOTIONS if rank == _SEVENTH_RANK else (NO_PROMOTION,)
    for piece in pieces:
        index_of = _tables().index_of[piece, square]
        yield int(index_of[square + 8]), 1 << square + 8, 0, 0
        for end in _steps(square, ((-1, 1), (1, 1))):
            yield int(index_of[end]), 0, 0, 1 << end
    if rank == _SECOND_RANK:
        index_of = _tables().index_of[NO_PROMOTION, square]
        yield int(index_of[square + 16]), 1 << square + 8 | 1 << square + 16, 0, 0


def _rays_ends(square: int) -> Iterator[int]:
    for direction in _STRAIGHT + _DIAGONAL:
        yield from _ray(square, direction)


def _ray(square: int, direction: tuple[int, int]) -> Iterator[int]:
    while ends := list(_steps(square, (direction,))):
        square = ends[0]
        yield square


def _steps(square: int, steps: tuple[tuple[int, int], ...]) -> Iterator[int]:
    for files, ranks in steps:
        file, rank = square % 8 + files, square // 8 + ranks
        if 0 <= file < 8 and 0 <= rank < 8:
            yield rank * 8 + file


def _square_name(square: int) -> str:
    return "abcdefgh"[square % 8] + str(square // 8 + 1)

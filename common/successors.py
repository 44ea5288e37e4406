"""Successors: the boards after moves, seen from the side that is then to move.

Called by common.batch, so that the positions after a probe's moves need no bytes of their own. Knows how
pieces go (castling's rook, the pawn taken en passant, promotions), not whether a move is legal.
"""

import numpy as np
import numpy.typing as npt

from common.moves import decode
from common.positions import EMPTY, SQUARES

_PAWN, _KING = 1, 6
_FIFTH = 4  # index of the rank from which a pawn takes en passant
_TURNED = np.array([0, *range(7, 13), *range(1, 7)], np.uint8)


def boards_after(boards: npt.NDArray[np.uint8], actions: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Return the boards [n, 64] after the move `actions` [n] in each of `boards` [n, 64], turned.

    A move from an empty square leaves it so, and its end too: nothing is checked, and no code comes in that
    was not there, but for promotions.
    """
    rows = np.arange(len(boards))
    start, end, promotion = (part.astype(np.intp) for part in decode(actions))
    mover, taken = boards[rows, start], boards[rows, end]
    after = boards.copy()
    after[rows, start] = EMPTY
    after[rows, end] = np.where(promotion > 0, promotion, mover)
    passing = (mover == _PAWN) & (taken == EMPTY) & (start // 8 == _FIFTH) & np.isin(end - start, (7, 9))
    passing = np.flatnonzero(passing)
    after[passing, end[passing] - 8] = EMPTY
    for way, rook_from, rook_to in ((2, 3, 1), (-2, -4, -1)):  # files from the king's: its way, the rook's
        castled = np.flatnonzero((mover == _KING) & (end - start == way) & (start == 4))
        after[castled, start[castled] + rook_to] = after[castled, start[castled] + rook_from]
        after[castled, start[castled] + rook_from] = EMPTY
    return turned(after)


def turned(boards: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return `boards` [n, 64] as the other side sees them."""
    flipped = boards.reshape(-1, 8, 8)[:, ::-1].reshape(-1, SQUARES)
    return _TURNED[flipped]

"""Changes: boards of consecutive decision points, each told as what differs from the one before.

Between two decision points of a game lie the move played, which is known, and the reply. So a board is the
one before it with the move made, and a few more squares changed: two for most replies. That takes half the
bytes of compressed boards, and both ways need no loop: every step is an exclusive or, and they accumulate.

Called by common.batch only. Any boards can be told so, whether or not they follow each other in chess.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common import moves
from common.errors import MessageError
from common.positions import PIECE_CODES, SQUARES


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Changes:
    """What tells n boards, with c changed squares in all; a game's first board differs from an empty one."""

    movers: npt.NDArray[np.uint8]
    """[n] code on the square that the move played leaves."""
    captured: npt.NDArray[np.uint8]
    """[n] code on the square that it goes to."""
    counts: npt.NDArray[np.uint8]
    """[n] squares changed beside the previous row's move."""
    squares: npt.NDArray[np.uint8]
    """[c] the squares changed, rising in each row."""
    differences: npt.NDArray[np.uint8]
    """[c] exclusive or of the square's codes before and after; never 0."""


def changes_of(
    boards: npt.NDArray[np.uint8], actions: npt.NDArray[np.uint16], game_rows: npt.NDArray[np.uint32]
) -> Changes:
    """Return what tells `boards` [n, 64], given the move played in each [n] and the rows of each game."""
    rows = np.arange(len(boards))
    start, end, _ = moves.decode(actions)
    movers, captured = boards[rows, start], boards[rows, end]
    steps = boards.copy()
    steps[1:] ^= boards[:-1]
    firsts = _first_rows(game_rows)
    steps[firsts] = boards[firsts]
    _apply_moves(steps, actions, movers, captured, firsts)
    changed_rows, squares = np.nonzero(steps)
    return Changes(
        movers=movers,
        captured=captured,
        counts=np.bincount(changed_rows, minlength=len(boards)).astype(np.uint8),
        squares=squares.astype(np.uint8),
        differences=steps[changed_rows, squares],
    )


def boards_of(
    changes: Changes, actions: npt.NDArray[np.uint16], game_rows: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint8]:
    """Return the boards [n, 64] that `changes` tells: what `changes_of` was given.

    The caller has checked that the columns' lengths fit together. Raises MessageError for changes that
    `changes_of` never makes.
    """
    rows = np.arange(len(actions))
    cells = np.repeat(rows, changes.counts) * SQUARES + changes.squares
    if (changes.squares >= SQUARES).any() or (cells[1:] <= cells[:-1]).any() or not changes.differences.all():
        raise MessageError("batch has changes of boards out of order")
    steps = np.zeros((len(actions), SQUARES), np.uint8)
    steps.reshape(-1)[cells] = changes.differences
    firsts = _first_rows(game_rows)
    _apply_moves(steps, actions, changes.movers, changes.captured, firsts)
    words = np.bitwise_xor.accumulate(steps.view(np.uint64), axis=0)
    # Each game begins with an empty board: take out again what the games before it left.
    left = np.zeros((len(firsts), SQUARES // 8), np.uint64)
    left[1:] = words[firsts[1:] - 1]
    words ^= np.repeat(left, game_rows[game_rows > 0], axis=0)
    boards = words.view(np.uint8)
    start, end, _ = moves.decode(actions)
    if boards.size and boards.max() >= PIECE_CODES:
        raise MessageError("batch has boards with unknown pieces")
    if (boards[rows, start] != changes.movers).any() or (boards[rows, end] != changes.captured).any():
        raise MessageError("batch has moves that don't fit their boards")
    return boards


def _first_rows(game_rows: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return the first row of each game that has rows."""
    counts = game_rows[game_rows > 0].astype(np.int64)
    return np.cumsum(counts) - counts


def _apply_moves(
    steps: npt.NDArray[np.uint8],
    actions: npt.NDArray[np.uint16],
    movers: npt.NDArray[np.uint8],
    captured: npt.NDArray[np.uint8],
    firsts: npt.NDArray[np.int64],
) -> None:
    """Put each move into, or take it out of, the step to the next row of its game."""
    follows = np.ones(len(actions), np.bool_)
    follows[firsts] = False
    after = np.flatnonzero(follows)
    before = after - 1
    start, end, promotion = moves.decode(actions[before])
    mover = movers[before]
    steps[after, start] ^= mover
    steps[after, end] ^= captured[before] ^ np.where(promotion > 0, promotion, mover)

"""Positions: columns of chess positions, each seen from its side to move.

Called by actors, which make them, by batches, which carry them, and by learners, which train on them.
Never checks that a position can occur in chess.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from common.settings import Side

SQUARES = 64
"""Squares of a board: a1=0, b1=1 … h8=63, after turning the board for black."""

EMPTY = 0
"""Code of an empty square; 1-6 are PNBRQK of the side to move, 7-12 those of the opponent."""

PIECE_CODES = 13
"""Number of codes that a square can have."""

NO_FILE = -1
"""En-passant file of a position without a legal en-passant capture."""

OWN_KING_SIDE, OWN_QUEEN_SIDE, OTHER_KING_SIDE, OTHER_QUEEN_SIDE = 1, 2, 4, 8
"""Bits of the castling column."""

_WHITE_MOVES, _BLACK_MOVES = ".PNBRQKpnbrqk", ".pnbrqkPNBRQK"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Positions:
    """Columns of n positions, each seen from the side to move.

    Nothing here says which colour is to move: who needs it keeps it beside the positions.
    """

    boards: npt.NDArray[np.uint8]
    """[n, 64]: a1=0 … h8=63, turned (square ^ 56) when black is to move, so that the side to move moves up;
    0 empty, 1-6 PNBRQK of the side to move, 7-12 PNBRQK of the opponent."""
    castling: npt.NDArray[np.uint8]
    """[n]: castling rights; bit 0 own king side, bit 1 own queen side, bits 2 and 3 the opponent's."""
    en_passant: npt.NDArray[np.int8]
    """[n]: file 0-7 on which an en-passant capture is legal, else -1."""
    halfmove_clock: npt.NDArray[np.uint16]
    """[n]: plies since the last capture or pawn move."""
    repetitions: npt.NDArray[np.uint8]
    """[n]: earlier occurrences in the game of the same board, side to move, castling rights and legal
    en-passant capture; 0 when new, 255 for 255 or more."""

    def __len__(self) -> int:
        return len(self.boards)

    def take(self, indices: slice | npt.NDArray[Any]) -> Self:
        """Return the positions at `indices`: a slice (views), row numbers, or a mask of n bools."""
        return type(self)(
            boards=self.boards[indices],
            castling=self.castling[indices],
            en_passant=self.en_passant[indices],
            halfmove_clock=self.halfmove_clock[indices],
            repetitions=self.repetitions[indices],
        )

    def to_fen(self, row: int, side: Side, fullmove_number: int) -> str:
        """Return the FEN of the position in `row`, `side` being the side to move.

        The en-passant square is given only where the capture is legal, as python-chess's `Board.fen` does.
        """
        white = side is Side.WHITE
        board = self.boards[row].reshape(8, 8)
        ranks = board[::-1] if white else board
        letters = _WHITE_MOVES if white else _BLACK_MOVES
        placement = "/".join("".join(letters[code] for code in rank) for rank in ranks.tolist())
        for run in range(8, 0, -1):
            placement = placement.replace("." * run, str(run))
        rights = int(self.castling[row])
        if not white:
            rights = rights >> 2 | (rights & 3) << 2
        castling = "".join(letter for bit, letter in enumerate("KQkq") if rights >> bit & 1) or "-"
        file = int(self.en_passant[row])
        en_passant = "-" if file == NO_FILE else f"{'abcdefgh'[file]}{6 if white else 3}"
        turn = "w" if white else "b"
        return f"{placement} {turn} {castling} {en_passant} {int(self.halfmove_clock[row])} {fullmove_number}"


def concatenate(parts: Sequence[Positions]) -> Positions:
    """Return the positions of all `parts`, one after another; none for no parts."""
    if not parts:
        return empty(0)
    return Positions(
        boards=np.concatenate([part.boards for part in parts]),
        castling=np.concatenate([part.castling for part in parts]),
        en_passant=np.concatenate([part.en_passant for part in parts]),
        halfmove_clock=np.concatenate([part.halfmove_clock for part in parts]),
        repetitions=np.concatenate([part.repetitions for part in parts]),
    )


def empty(count: int) -> Positions:
    """Return `count` positions with nothing on the board, their columns fit to be written to."""
    return Positions(
        boards=np.zeros((count, SQUARES), np.uint8),
        castling=np.zeros(count, np.uint8),
        en_passant=np.full(count, NO_FILE, np.int8),
        halfmove_clock=np.zeros(count, np.uint16),
        repetitions=np.zeros(count, np.uint8),
    )

"""Boards: from python-chess's boards and moves to the rows and indices that networks read.

Called wherever somebody plays. The actor's columns (actor.columns) make the same rows of whole games, faster.
"""

from collections.abc import Sequence

import chess
import numpy as np
import numpy.typing as npt

from common.moves import indices_by_uci
from common.positions import (
    NO_FILE,
    OTHER_KING_SIDE,
    OTHER_QUEEN_SIDE,
    OWN_KING_SIDE,
    OWN_QUEEN_SIDE,
    PIECE_CODES,
    Positions,
    empty,
)
from common.settings import Side

_KINDS = PIECE_CODES // 2
_REPETITIONS_MAX = 255


def side_of(board: chess.Board) -> Side:
    """Return the side to move."""
    return Side.WHITE if board.turn else Side.BLACK


def positions_of(boards: Sequence[chess.Board]) -> Positions:
    """Return the positions on n boards, each seen from its side to move; repetitions by the board's own moves."""
    rows = empty(len(boards))
    for row, board in enumerate(boards):
        own, turned = board.turn, 0 if board.turn else 56
        squares = rows.boards[row]
        for colour, offset in ((own, 0), (not own, _KINDS)):
            for kind in chess.PIECE_TYPES:
                for square in chess.scan_forward(board.pieces_mask(kind, colour)):
                    squares[square ^ turned] = kind + offset
        rights = board.clean_castling_rights()
        home, away = (0, 56) if own else (56, 0)
        rows.castling[row] = (
            OWN_KING_SIDE * (rights >> (chess.H1 + home) & 1)
            + OWN_QUEEN_SIDE * (rights >> (chess.A1 + home) & 1)
            + OTHER_KING_SIDE * (rights >> (chess.H1 + away) & 1)
            + OTHER_QUEEN_SIDE * (rights >> (chess.A1 + away) & 1)
        )
        rows.en_passant[row] = (
            chess.square_file(board.ep_square)
            if board.ep_square is not None and board.has_legal_en_passant()
            else NO_FILE
        )
        rows.halfmove_clock[row] = min(board.halfmove_clock, np.iinfo(np.uint16).max)
        rows.repetitions[row] = repetitions_of(board)
    return rows


def repetitions_of(board: chess.Board) -> int:
    """Return how often the position on `board` occurred before, as far as its move stack tells; at most 255."""
    # Nothing before the last irreversible move can occur again, and nothing within four plies has.
    reversible = min(board.halfmove_clock, len(board.move_stack))
    if reversible < 4:
        return 0
    now, earlier = chess._BoardState(board), 0
    for back in range(4, reversible + 1, 2):
        then = board._stack[-back]
        if _stand_alike(then, now):
            earlier += then.ep_square is None or _is_repeated(board, back)
    return min(earlier, _REPETITIONS_MAX)


def with_history(board: chess.Board) -> chess.Board:
    """Return a copy of `board` that remembers its moves as far as they count for repetitions."""
    twin = board.copy(stack=False)
    reversible = min(board.halfmove_clock, len(board.move_stack))
    if reversible:
        twin.move_stack = board.move_stack[-reversible:]
        twin._stack = board._stack[-reversible:]
    return twin


def _stand_alike(one: chess._BoardState, other: chess._BoardState) -> bool:
    return (
        one.occupied_w == other.occupied_w
        and one.occupied_b == other.occupied_b
        and one.kings == other.kings
        and one.queens == other.queens
        and one.rooks == other.rooks
        and one.bishops == other.bishops
        and one.knights == other.knights
        and one.castling_rights == other.castling_rights
    )


def _is_repeated(board: chess.Board, back: int) -> bool:
    """Tell for sure whether the position `back` plies ago is the one on `board`."""
    earlier = board.copy(stack=back)
    for _ in range(back):
        earlier.pop()
    return earlier._transposition_key() == board._transposition_key()


def actions_of(moves: Sequence[chess.Move], side: Side) -> npt.NDArray[np.int64]:
    """Return the index of each of k moves of `side`, int64 [k]."""
    indices = indices_by_uci(side)
    return np.array([indices[move.uci()] for move in moves], np.int64)

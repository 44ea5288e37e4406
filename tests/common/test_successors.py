import random

import chess
import numpy as np
import pytest

from common import moves
from common.positions import concatenate
from common.settings import Side
from common.successors import boards_after, turned
from tests.common.boards import all_boards, positions_of

BOARDS = all_boards()


def test_boards_after_moves_are_those_of_python_chess():
    rng = random.Random(5)
    pairs = [(board, move) for board in BOARDS for move in chosen(rng, board)]
    rows = concatenate([positions_of(board) for board, _ in pairs])
    actions = np.array([index_of(board, move) for board, move in pairs], np.uint16)
    after = concatenate([positions_of(made(board, move)) for board, move in pairs])
    np.testing.assert_array_equal(boards_after(rows.boards, actions), after.boards)
    for special in (chess.Board.is_en_passant, chess.Board.is_castling, is_promotion):
        assert sum(special(board, move) for board, move in pairs) > 5


def chosen(rng: random.Random, board: chess.Board) -> list[chess.Move]:
    """All moves that are out of the ordinary, and two others."""
    legal = list(board.legal_moves)
    special = [m for m in legal if m.promotion or board.is_castling(m) or board.is_en_passant(m)]
    return special + rng.sample(legal, min(2, len(legal)))


def is_promotion(_board: chess.Board, move: chess.Move) -> bool:
    return move.promotion is not None


def index_of(board: chess.Board, move: chess.Move) -> int:
    return moves.indices_by_uci(Side.WHITE if board.turn else Side.BLACK)[move.uci()]


def made(board: chess.Board, move: chess.Move) -> chess.Board:
    after = board.copy(stack=False)
    after.push(move)
    return after


def test_turning_twice_is_not_turning():
    boards = concatenate([positions_of(board) for board in BOARDS[:50]]).boards
    np.testing.assert_array_equal(turned(turned(boards)), boards)


@pytest.mark.parametrize("seed", range(3))
def test_any_move_on_any_board_gives_a_board(seed):
    rng = np.random.default_rng(seed)
    boards = rng.integers(0, 13, (1880, 64)).astype(np.uint8)
    assert boards_after(boards, np.arange(1880, dtype=np.uint16)).max() < 13
    assert boards_after(boards[:0], np.zeros(0, np.uint16)).shape == (0, 64)

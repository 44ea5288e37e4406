import numpy as np

from common.positions import concatenate, empty
from common.settings import Side
from tests.common.boards import all_positions


def test_fen_equals_that_of_python_chess():
    boards, positions = all_positions()
    for row, board in enumerate(boards):
        side = Side.WHITE if board.turn else Side.BLACK
        assert positions.to_fen(row, side, board.fullmove_number) == board.fen()


def test_positions_can_be_taken_by_slice_numbers_and_mask():
    _, positions = all_positions()
    mask = np.zeros(len(positions), np.bool_)
    mask[[1, 3]] = True
    for taken in (positions.take(slice(1, 4, 2)), positions.take(np.array([1, 3])), positions.take(mask)):
        assert len(taken) == 2
        np.testing.assert_array_equal(taken.boards, positions.boards[[1, 3]])
        np.testing.assert_array_equal(taken.en_passant, positions.en_passant[[1, 3]])


def test_concatenation_keeps_order_and_dtypes():
    _, positions = all_positions()
    joined = concatenate([positions.take(slice(0, 5)), empty(0), positions.take(slice(5, None))])
    for name in ("boards", "castling", "en_passant", "halfmove_clock", "repetitions"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(positions, name))
        assert getattr(joined, name).dtype == getattr(positions, name).dtype


def test_concatenation_of_nothing_is_no_positions():
    assert len(concatenate([])) == 0
    assert concatenate([]).boards.shape == (0, 64)

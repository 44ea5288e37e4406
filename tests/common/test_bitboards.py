import numpy as np

from common.bitboards import bitboards_of, squares_of


def test_squares_come_back_from_bitboards_and_a1_is_the_lowest_bit() -> None:
    squares = np.random.default_rng(0).random((50, 64)) < 0.3
    bitboards = bitboards_of(squares)
    assert [int(bitboard) for bitboard in bitboards] == [
        sum(1 << square for square in range(64) if row[square]) for row in squares
    ]
    np.testing.assert_array_equal(squares_of(bitboards), squares)


def test_no_boards_are_no_bitboards() -> None:
    assert bitboards_of(np.zeros((0, 64), np.bool_)).shape == (0,)
    assert squares_of(np.zeros(0, np.uint64)).shape == (0, 64)

import chess
import numpy as np
import pytest

from common import moves
from common.positions import empty
from common.settings import Side
from tests.common.boards import all_positions, positions_of


def test_there_are_1792_plain_moves_and_88_promotions_without_repeats():
    table = moves.uci_table(Side.WHITE)
    assert len(table) == len(set(table)) == moves.MOVES == 1880
    assert sum(len(uci) == 4 for uci in table) == moves.PLAIN_MOVES == 1792
    assert all(len(uci) == 5 for uci in table[1792:])


def test_plain_moves_are_what_a_queen_or_knight_could_do_in_order_of_squares():
    expected = [
        chess.square_name(start) + chess.square_name(end)
        for start in chess.SQUARES
        for end in _attacks(chess.QUEEN, start) | _attacks(chess.KNIGHT, start)
    ]
    assert list(moves.uci_table(Side.WHITE)[:1792]) == expected


def _attacks(piece_type: int, square: int) -> chess.SquareSet:
    board = chess.Board(None)
    board.set_piece_at(square, chess.Piece(piece_type, chess.WHITE))
    return board.attacks(square)


def test_promotions_follow_by_squares_and_then_knight_bishop_rook_queen():
    table = moves.uci_table(Side.WHITE)
    assert table[1792:1800] == ("a7a8n", "a7a8b", "a7a8r", "a7a8q", "a7b8n", "a7b8b", "a7b8r", "a7b8q")
    assert table[-1] == "h7h8q"


def test_blacks_moves_are_whites_turned_upside_down():
    white, black = moves.uci_table(Side.WHITE), moves.uci_table(Side.BLACK)
    flip = str.maketrans("12345678", "87654321")
    assert [uci.translate(flip) for uci in white] == list(black)
    assert moves.to_uci(moves.indices_by_uci(Side.BLACK)["e8g8"], Side.BLACK) == "e8g8"


def test_encoding_undoes_decoding():
    every = np.arange(1880, dtype=np.uint16)
    np.testing.assert_array_equal(moves.encode(*moves.decode(every)), every)


def test_squares_that_no_piece_moves_between_have_no_index():
    squares = np.array([0, 0, 8], np.uint8), np.array([0, 12, 16], np.uint8), np.array([0, 0, 5], np.uint8)
    assert moves.encode(*squares).tolist() == [moves.NO_MOVE] * 3


def test_mask_holds_python_chess_pseudo_legal_moves():
    boards, positions = all_positions()
    mask = moves.pseudo_legal_mask(positions)
    castling = {"e1g1", "e1c1", "e8g8", "e8c8"}
    for row, board in enumerate(boards):
        table = moves.uci_table(Side.WHITE if board.turn else Side.BLACK)
        ours = {table[index] for index in np.flatnonzero(mask[row])}
        # Ours leaves an en-passant capture out that is not legal, and lets the king castle through check.
        theirs = {m.uci() for m in board.pseudo_legal_moves if not board.is_en_passant(m) or board.is_legal(m)}
        assert ours - castling == theirs - castling, board.fen()
        assert theirs <= ours
        assert {m.uci() for m in board.legal_moves} <= ours


@pytest.mark.parametrize("fen", ["r3k2r/8/8/8/8/8/8/R3K2R w - - 0 1", "rn2k1nr/8/8/8/8/8/8/RN2K1NR w KQkq - 0 1"])
def test_castling_needs_the_right_and_an_empty_path(fen):
    mask = moves.pseudo_legal_mask(positions_of(chess.Board(fen)))[0]
    index = moves.indices_by_uci(Side.WHITE)
    assert not mask[index["e1g1"]]
    assert not mask[index["e1c1"]]


def test_mask_of_no_positions_and_of_empty_boards_is_empty():
    assert moves.pseudo_legal_mask(empty(0)).shape == (0, 1880)
    assert not moves.pseudo_legal_mask(empty(3)).any()


def test_mask_takes_any_board_even_impossible_ones():
    positions = empty(20)
    positions.boards[:] = np.random.default_rng(1).integers(0, 13, positions.boards.shape)
    positions.castling[:] = 15
    assert moves.pseudo_legal_mask(positions).shape == (20, 1880)

import numpy as np

from common.hashes import position_hashes
from common.positions import Positions, empty
from tests.common.boards import all_positions
from tests.learner.units import random_positions


def one_piece(squares: list[int]) -> Positions:
    positions = empty(len(squares))
    positions.boards[np.arange(len(squares)), squares] = 1
    return positions


def test_positions_differ_by_board_castling_and_en_passant_alone() -> None:
    one = random_positions(np.random.default_rng(1), 1)
    same = random_positions(np.random.default_rng(1), 1)
    same.halfmove_clock[0] += 1
    same.repetitions[0] += 1
    assert position_hashes(one) == position_hashes(same)
    for change in ("boards", "castling", "en_passant"):
        other = random_positions(np.random.default_rng(1), 1)
        column = getattr(other, change)
        column.flat[0] = (int(column.flat[0]) + 1) % 8
        assert position_hashes(other) != position_hashes(one)


def test_the_hash_is_the_same_on_every_machine() -> None:
    assert position_hashes(one_piece([0, 63])).tolist() == [784_984_290_928_246_573, 6_231_392_638_012_876_250]


def test_different_positions_of_random_games_have_different_hashes() -> None:
    boards, positions = all_positions()
    kinds = {board.mirror().epd() if not board.turn else board.epd() for board in boards}
    assert len(np.unique(position_hashes(positions))) == len(kinds)


def test_a_hash_does_not_depend_on_the_company() -> None:
    positions = random_positions(np.random.default_rng(0), 9)
    together = position_hashes(positions)
    assert [int(position_hashes(positions.take(slice(row, row + 1)))[0]) for row in range(9)] == together.tolist()
    assert len(position_hashes(empty(0))) == 0

import dataclasses
import math

import numpy as np
import pytest

from common.scores import expected_score, expected_score_exact
from common.settings import Reward, Side
from common.transitions import END, transitions
from tests.common.batches import noise, played


def worth(score: int) -> float:
    return float(expected_score_exact(np.array([score], np.int16))[0])


def batch_of_three_games():
    """Rows 0-2 a game won, rows 3-4 one without a result, none of a third, row 5 a fourth, drawn."""
    batch = played(1, games=4, plies=6)
    kept = np.array([0, 1, 2, 3, 4, 6])
    return dataclasses.replace(
        batch,
        positions=batch.positions.take(kept),
        actions=batch.actions[kept],
        scores=np.array([10, 50, 31995, -20, -30, 0], np.int16),
        game_numbers=np.array([5, 6, 7, 9], np.uint64),
        game_rows=np.array([3, 2, 0, 1], np.uint32),
        first_plies=np.array([0, 1, 0, 1], np.uint32),
        start_fullmoves=np.array([1, 30, 1, 7], np.uint32),
        results=np.array([2, 255, 0, 1], np.uint8),
        final_scores=np.array([32000, -100, 5, 0], np.int16),
    )


def test_shaped_rewards_are_steps_of_the_expected_score_and_end_with_the_result():
    rows = transitions(batch_of_three_games(), Reward.SHAPED)
    expected = [
        worth(50) - worth(10),
        worth(31995) - worth(50),
        1.0 - worth(31995),
        worth(-30) - worth(-20),
        worth(-100) - worth(-30),
        0.5 - worth(0),
    ]
    assert rows.rewards.dtype == np.float32
    assert rows.rewards.tolist() == [float(np.float32(value)) for value in expected]


def test_outcome_rewards_are_paid_at_the_end_alone():
    rows = transitions(batch_of_three_games(), Reward.OUTCOME)
    assert rows.rewards.tolist() == [0, 0, 1, 0, float(np.float32(worth(-100))), 0.5]


def test_a_game_without_a_result_is_truncated_and_any_other_terminated():
    rows = transitions(batch_of_three_games(), Reward.SHAPED)
    assert rows.terminated.tolist() == [False, False, True, False, False, True]
    assert rows.truncated.tolist() == [False, False, False, False, True, False]
    assert rows.outcomes[:3].tolist() == [1, 1, 1]
    assert all(math.isnan(value) for value in rows.outcomes[3:5])
    assert rows.outcomes[5] == 0.5


def test_the_next_row_is_the_next_decision_point_of_the_same_game():
    rows = transitions(batch_of_three_games(), Reward.SHAPED)
    assert rows.next_rows.tolist() == [1, 2, END, 4, END, END]
    assert rows.next_rows.dtype == np.int64


def test_rows_know_their_game_ply_and_fullmove_number():
    rows = transitions(batch_of_three_games(), Reward.SHAPED)
    assert rows.game_numbers.tolist() == [5, 5, 5, 6, 6, 9]
    assert rows.plies.tolist() == [0, 2, 4, 1, 3, 1]
    assert rows.fullmoves.tolist() == [1, 2, 3, 30, 31, 7]
    assert rows.game_numbers.dtype == np.uint64
    assert rows.plies.dtype == rows.fullmoves.dtype == np.uint32


def test_expected_scores_are_those_of_the_positions():
    batch = batch_of_three_games()
    np.testing.assert_array_equal(
        transitions(batch, Reward.SHAPED).expected_scores, expected_score(batch.scores), strict=True
    )


@pytest.mark.parametrize("side", list(Side))
def test_shaped_rewards_of_a_game_add_up_to_the_result_less_the_first_expected_score(side):
    batch = played(11, games=8, side=side)
    rows = transitions(batch, Reward.SHAPED)
    for index, number in enumerate(batch.game_numbers):
        of_game = np.flatnonzero(rows.game_numbers == number)
        result = batch.results[index]
        end = worth(batch.final_scores[index]) if result == 255 else result / 2
        total = rows.rewards[of_game].astype(np.float64).sum()
        assert total == pytest.approx(end - worth(batch.scores[of_game[0]]), abs=1e-6)


def test_batches_without_rows_have_no_transitions():
    for game_rows in ([], [0, 0]):
        assert len(transitions(noise(1, game_rows), Reward.SHAPED)) == 0

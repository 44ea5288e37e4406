import dataclasses
import math

import numpy as np
import pytest

from common.batch import decode, encode
from common.probes import NO_REPLY, Probes
from common.scores import expected_score, expected_score_exact
from common.settings import Reward, Side
from common.transitions import END, probe_transitions, transitions
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
        game_sides=np.zeros(4, np.uint8),
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
def test_shaped_rewards_of_a_run_add_up_to_the_result_less_the_first_expected_score(side):
    batch = played(11, games=8, side=side)
    rows = transitions(batch, Reward.SHAPED)
    for index, (number, colour) in enumerate(zip(batch.game_numbers, batch.game_sides, strict=True)):
        of_run = np.flatnonzero((rows.game_numbers == number) & (rows.sides == colour))
        result = batch.results[index]
        end = worth(batch.final_scores[index]) if result == 255 else result / 2
        total = rows.rewards[of_run].astype(np.float64).sum()
        assert total == pytest.approx(end - worth(batch.scores[of_run[0]]), abs=1e-6)
        assert rows.next_rows[of_run].tolist() == [*of_run[1:].tolist(), END]
        assert (rows.plies[of_run] % 2 == colour).all()


def batch_with_three_probes():
    """Probes of rows 0, 2 and 3: one that goes on, one that mates, one whose reply mates."""
    batch = played(1, games=2, plies=12, probe_rate=1.0)
    kept = np.array([0, 2, 3])
    probes = batch.probes
    last = dict.fromkeys(("rows", "actions", "versions"), kept)
    columns = {name: getattr(probes, name)[index] for name, index in last.items()}
    replies = probes.replies[kept]
    replies[1] = NO_REPLY
    after = probes.after_positions.take(kept)
    following = probes.next_positions.take(kept)
    for name in ("boards", "castling", "halfmove_clock", "repetitions"):
        getattr(following, name)[1] = 0
    following.en_passant[1] = -1
    return dataclasses.replace(
        batch,
        scores=np.arange(0, 10 * len(batch), 10).astype(np.int16),
        probes=Probes(
            **columns,
            after_scores=np.array([44, 32000, -31999], np.int16),
            replies=replies,
            scores=np.array([33, 32000, -32000], np.int16),
            ended=np.array([False, True, True]),
            after_positions=after,
            next_positions=following,
        ),
    )


def test_a_probe_is_paid_by_what_stands_after_the_reply_or_after_the_last_move():
    rows = probe_transitions(decode(encode(batch_with_three_probes())), Reward.SHAPED)
    assert rows.rows.tolist() == [0, 2, 3]
    expected = [worth(33) - worth(0), 1.0 - worth(20), 0.0 - worth(30)]
    assert rows.rewards.tolist() == [float(np.float32(value)) for value in expected]
    assert rows.has_next.tolist() == [True, False, True]
    assert rows.ended.tolist() == [False, True, True]
    assert rows.expected_scores.tolist() == expected_score(np.array([0, 20, 30], np.int16)).tolist()
    assert rows.after_expected_scores.tolist() == expected_score(np.array([-44, -32000, 31999], np.int16)).tolist()
    assert rows.next_expected_scores.tolist() == expected_score(np.array([33, 32000, -32000], np.int16)).tolist()
    assert rows.versions.tolist() == [3, 3, 3]


def test_an_outcome_of_a_probe_is_the_worth_of_its_last_position():
    rows = probe_transitions(batch_with_three_probes(), Reward.OUTCOME)
    assert rows.rewards.tolist() == [float(np.float32(worth(33))), 1.0, 0.0]


@pytest.mark.parametrize("side", list(Side))
def test_positions_of_probes_are_those_of_their_rows(side):
    batch = played(7, games=4, side=side, probe_rate=0.3)
    rows = probe_transitions(batch, Reward.SHAPED)
    assert len(rows) == len(batch.probes) > 10
    of_rows = transitions(batch, Reward.SHAPED).positions.take(rows.rows)
    np.testing.assert_array_equal(rows.positions.boards, of_rows.boards)


def test_batches_without_probes_have_no_probe_transitions():
    assert len(probe_transitions(played(1), Reward.SHAPED)) == 0


def test_batches_without_rows_have_no_transitions():
    for game_rows in ([], [0, 0]):
        assert len(transitions(noise(1, game_rows), Reward.SHAPED)) == 0

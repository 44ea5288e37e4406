from dataclasses import replace

import numpy as np
import pytest

from common.moves import pseudo_legal_mask
from common.positions import Positions
from common.settings import Reward
from common.transitions import END, transitions
from learner.evaluation import held_out, spearman, validate
from learner.models import Estimates, Losses
from learner.ranks import values_and_ranks
from learner.replay import ReplayBuffer, Sample
from tests.learner.units import random_batch


class FixedModel:
    """Estimates that are functions of the position and the move alone."""

    def estimate(self, positions: Positions, rows: np.ndarray, actions: np.ndarray) -> Estimates:
        values = positions.boards.sum(axis=1)[rows] / 1000.0 + actions / 10_000.0
        return Estimates(
            values=np.full(len(positions), 0.5, np.float32),
            action_values=values.astype(np.float32),
            prior_logits=np.sin(positions.boards[rows, 0] + actions).astype(np.float32),
        )

    def judge(self, sample: Sample) -> tuple[float, Losses, np.ndarray]:
        return float(len(sample)), LOSSES, values_and_ranks(self, sample.positions, sample.actions)[1]


LOSSES = Losses(q=1.0, value=2.0, prior=3.0, gradient_norm=0.0, steps=1)


def estimates_of(positions: Positions, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q of the moves played [n], and the logits of every move [n, 1880]."""
    everything = np.divmod(np.arange(len(positions) * 1880), 1880)
    every = FixedModel().estimate(positions, *everything)
    own = FixedModel().estimate(positions, np.arange(len(positions)), actions.astype(np.int64))
    return own.action_values, every.prior_logits.reshape(-1, 1880)


def ranks_of(positions: Positions, actions: np.ndarray) -> np.ndarray:
    """How many pseudo-legal moves the prior ranks above the one played."""
    _, logits = estimates_of(positions, actions)
    mask = pseudo_legal_mask(positions)
    rows = zip(logits, mask, actions.tolist(), strict=True)
    return np.array([sum(row[possible] > row[action]) for row, possible, action in rows])


def legal_batch(games: int = 60):  # type: ignore[no-untyped-def]
    """Random positions in which the move played is one that the pieces can make."""
    batch = random_batch(1, games)
    mask = pseudo_legal_mask(batch.positions)
    actions = [np.flatnonzero(row)[index % 7] for index, row in enumerate(mask)]
    return replace(batch, actions=np.array(actions, np.uint16))


def test_figures_are_those_computed_row_by_row() -> None:
    rows = transitions(legal_batch(), Reward.SHAPED)
    assert len(rows) > 512  # more than are looked at together
    figures = held_out(FixedModel(), rows, Reward.SHAPED, discount=0.9)  # type: ignore[arg-type]
    q, _ = estimates_of(rows.positions, rows.actions)
    following = np.where(rows.next_rows == END, 0.0, 0.9 * q[rows.next_rows])
    errors, ranks = np.abs(rows.rewards + following - q), ranks_of(rows.positions, rows.actions)
    assert figures.transitions == len(rows)
    assert figures.td_error == pytest.approx(np.mean(errors), rel=1e-5)
    assert figures.match_top1 == pytest.approx(np.mean(ranks < 1))
    assert figures.match_top3 == pytest.approx(np.mean(ranks < 3))
    known = ~np.isnan(rows.outcomes)
    assert figures.outcomes == known.sum() < len(rows)
    estimate = (q + rows.expected_scores)[known]
    assert figures.rank_correlation == pytest.approx(spearman(estimate, rows.outcomes[known]))


def test_where_outcomes_are_the_rewards_q_alone_is_the_estimate() -> None:
    rows = transitions(legal_batch(), Reward.OUTCOME)
    figures = held_out(FixedModel(), rows, Reward.OUTCOME, discount=1.0)  # type: ignore[arg-type]
    known = ~np.isnan(rows.outcomes)
    values, _ = estimates_of(rows.positions, rows.actions)
    assert figures.rank_correlation == pytest.approx(spearman(values[known], rows.outcomes[known]))


def test_ties_do_not_count_as_matches() -> None:
    class Indifferent(FixedModel):
        def estimate(self, positions: Positions, rows: np.ndarray, actions: np.ndarray) -> Estimates:
            none = np.zeros(len(actions), np.float32)
            return Estimates(values=np.zeros(len(positions), np.float32), action_values=none, prior_logits=none)

    figures = held_out(Indifferent(), transitions(legal_batch(), Reward.SHAPED), Reward.SHAPED, 1.0)  # type: ignore[arg-type]
    assert figures.match_top1 == figures.match_top3 == 0.0


def test_validation_figures_are_those_computed_row_by_row() -> None:
    rows = transitions(legal_batch(), Reward.SHAPED)
    buffer = ReplayBuffer(10_000)
    buffer.append(rows)
    sample = buffer.take(np.arange(len(rows)))
    figures = validate(FixedModel(), sample)  # type: ignore[arg-type]
    assert (figures.transitions, figures.loss, figures.losses) == (len(rows), len(rows), LOSSES)
    ranks = ranks_of(rows.positions, rows.actions)
    assert figures.match_top1 == pytest.approx(np.mean(ranks < 1))
    assert figures.match_top3 == pytest.approx(np.mean(ranks < 3))
    assert 0.0 < figures.match_top1 < figures.match_top3 < 1.0


def test_a_unit_without_rows_has_no_figures() -> None:
    figures = held_out(FixedModel(), transitions(random_batch(0, 0), Reward.SHAPED), Reward.SHAPED, 1.0)  # type: ignore[arg-type]
    assert (figures.transitions, figures.td_error, figures.rank_correlation) == (0, None, None)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [10, 20, 21], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 1, 2, 2], 0.894427191),
        ([1, 1, 2, 5], [0, 1, 1, 0], -0.2357022604),
        ([1, 1, 1], [1, 2, 3], None),
        ([], [], None),
    ],
)
def test_spearman_shares_ranks_among_equals(first: list, second: list, expected: float | None) -> None:
    found = spearman(np.array(first, float), np.array(second, float))
    assert found == (None if expected is None else pytest.approx(expected))

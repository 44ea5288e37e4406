from dataclasses import replace

import numpy as np
import pytest

from common.moves import pseudo_legal_mask
from common.positions import Positions
from common.settings import Reward
from common.transitions import END, transitions
from learner.evaluation import held_out, spearman
from learner.models import Estimates
from tests.learner.units import random_batch


class FixedModel:
    """Estimates that are functions of the position and the move alone."""

    def estimate(self, positions: Positions, actions: np.ndarray, moves: np.ndarray | None = None) -> Estimates:
        values = positions.boards.sum(axis=1) / 1000.0 + actions / 10_000.0
        asked = np.arange(1880) if moves is None else moves
        logits = np.sin(positions.boards[:, :1] + asked[None]).astype(np.float32)
        return Estimates(values=values.astype(np.float32), prior_logits=logits)


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
    estimates = FixedModel().estimate(rows.positions, rows.actions)
    errors, ranks = [], []
    mask = pseudo_legal_mask(rows.positions)
    for row, following in enumerate(rows.next_rows):
        target = rows.rewards[row] + (0 if following == END else 0.9 * estimates.values[following])
        errors.append(abs(target - estimates.values[row]))
        played = estimates.prior_logits[row, rows.actions[row]]
        ranks.append(sum(estimates.prior_logits[row][mask[row]] > played))
    assert figures.transitions == len(rows)
    assert figures.td_error == pytest.approx(np.mean(errors), rel=1e-5)
    assert figures.match_top1 == pytest.approx(np.mean(np.array(ranks) < 1))
    assert figures.match_top3 == pytest.approx(np.mean(np.array(ranks) < 3))
    known = ~np.isnan(rows.outcomes)
    assert figures.outcomes == known.sum() < len(rows)
    estimate = (estimates.values + rows.expected_scores)[known]
    assert figures.rank_correlation == pytest.approx(spearman(estimate, rows.outcomes[known]))


def test_where_outcomes_are_the_rewards_q_alone_is_the_estimate() -> None:
    rows = transitions(legal_batch(), Reward.OUTCOME)
    figures = held_out(FixedModel(), rows, Reward.OUTCOME, discount=1.0)  # type: ignore[arg-type]
    known = ~np.isnan(rows.outcomes)
    values = FixedModel().estimate(rows.positions, rows.actions).values
    assert figures.rank_correlation == pytest.approx(spearman(values[known], rows.outcomes[known]))


def test_ties_do_not_count_as_matches() -> None:
    class Indifferent(FixedModel):
        def estimate(self, positions: Positions, actions: np.ndarray, moves: np.ndarray | None = None) -> Estimates:
            return Estimates(
                values=np.zeros(len(actions), np.float32),
                prior_logits=np.zeros((len(actions), 1880 if moves is None else len(moves)), np.float32),
            )

    figures = held_out(Indifferent(), transitions(legal_batch(), Reward.SHAPED), Reward.SHAPED, 1.0)  # type: ignore[arg-type]
    assert figures.match_top1 == figures.match_top3 == 0.0


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

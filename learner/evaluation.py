"""Held-out figures: how well a model does on what it has not been trained on.

Called by the trainer on each unit before it trains on it, and by the validator, now and then, on the games that are
kept out of training for good.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.settings import Reward
from common.transitions import END, Transitions
from learner.models import Losses, Model
from learner.ranks import values_and_ranks
from learner.replay import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Figures of one unit; None where there is nothing to take them from."""

    transitions: int
    """Rows that the figures but the last are over."""
    td_error: float | None
    """Mean of |r + γ Q(s′, a′) - Q(s, a)|, in points of expected score."""
    match_top1: float | None
    """Share of the moves played that the prior ranks first among the pseudo-legal ones; ties don't count."""
    match_top3: float | None
    """Share that it ranks among the first three."""
    rank_correlation: float | None
    """Spearman's ρ of the estimate of the outcome, which is w(s) + Q(s, a) where rewards are shaped, and
    Q(s, a) where they are outcomes, with the outcome z."""
    outcomes: int
    """Rows of games with a result, which ρ is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Figures on transitions of games that are kept out of training."""

    transitions: int
    """Rows that they are over."""
    loss: float
    """What training brings down, were it done on them: the weighted sum of the losses."""
    losses: Losses
    """Its parts."""
    match_top1: float
    """Share of the moves played that the prior ranks first among the pseudo-legal ones; ties don't count."""
    match_top3: float
    """Share that it ranks among the first three."""


def validate(model: Model[Any], sample: Sample) -> Validation:
    """Return the model's figures on `sample`, which is not empty; changes nothing."""
    loss, losses, ranks = model.judge(sample)
    return Validation(
        transitions=len(sample), loss=loss, losses=losses,
        match_top1=float(np.mean(ranks < 1)), match_top3=float(np.mean(ranks < 3)),
    )  # fmt: skip


def held_out(model: Model[Any], transitions: Transitions, reward: Reward, discount: float) -> HeldOut:
    """Return the model's figures on `transitions`; changes nothing."""
    count = len(transitions)
    if count == 0:
        return HeldOut(
            transitions=0, td_error=None, match_top1=None, match_top3=None, rank_correlation=None, outcomes=0
        )
    values, ranks = values_and_ranks(model, transitions.positions, transitions.actions.astype(np.int64))
    following = np.where(transitions.next_rows == END, 0.0, values[transitions.next_rows])
    td_errors = np.abs(transitions.rewards + discount * following - values)
    known = ~np.isnan(transitions.outcomes)
    estimates = values + transitions.expected_scores if reward is Reward.SHAPED else values
    return HeldOut(
        transitions=count,
        td_error=float(np.mean(td_errors, dtype=np.float64)),
        match_top1=float(np.mean(ranks < 1)),
        match_top3=float(np.mean(ranks < 3)),
        rank_correlation=spearman(estimates[known], transitions.outcomes[known]),
        outcomes=int(known.sum()),
    )


def spearman(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float | None:
    """Return Spearman's rank correlation, equal values sharing their mean rank; None if one is constant."""
    a, b = _ranks(first), _ranks(second)
    a, b = a - a.mean() if len(a) else a, b - b.mean() if len(b) else b
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 0.0 else None


def _ranks(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2.0)[places]
    return ranks

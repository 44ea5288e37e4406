"""How high a prior ranks the moves that were played, among all that the pieces can make."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from agent.features import places_of, pseudo_legal_moves
from common.positions import Positions
from learner.models import Estimates

_ROWS = 256  # looked at together


class Estimator(Protocol):
    """As much of a model as is asked here."""

    def estimate(
        self, positions: Positions, rows: npt.NDArray[np.int64], actions: npt.NDArray[np.int64]
    ) -> Estimates:
        """Return values of n positions, and Q and logits of k moves, each of the position in its row, rising."""


def values_and_ranks(
    model: Estimator, positions: Positions, actions: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return Q of the moves played, and how many other pseudo-legal moves the prior ranks no lower, each [n]."""
    values, ranks = np.empty(len(actions), np.float32), np.empty(len(actions), np.int64)
    for start in range(0, len(actions), _ROWS):
        part = slice(start, start + _ROWS)
        here, played = positions.take(part), actions[part]
        rows, moves = pseudo_legal_moves(here, played)
        estimates = model.estimate(here, rows, moves)
        own = places_of(played, rows, moves)
        values[part] = estimates.action_values[own]
        ranks[part] = ranks_of(estimates.prior_logits, own, rows)
    return values, ranks


def ranks_of(
    logits: npt.NDArray[np.float32], own: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return how many other moves of its row have no lower logit [k] than the move at `own` [n], int64 [n]."""
    ranks: npt.NDArray[np.int64] = np.bincount(rows[logits >= logits[own][rows]], minlength=len(own)) - 1
    return ranks

"""The one face of everything that can be trained: what a trainer asks of a model.

Models by name are registered in learner.registry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from common.positions import Positions
from common.transitions import Transitions
from learner.replay import Sample

Arrays = Mapping[str, npt.NDArray[Any]]
"""Named arrays, in a fixed order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """Means over gradient steps; NaN over none."""

    q: float
    """Of Q: Huber loss of a network, half the squared TD error of a table."""
    prior: float
    """Of the prior: cross-entropy with the moves played, in nats; 0 for a table, whose prior is counted."""
    gradient_norm: float
    """L2 norm of the gradient before clipping; 0 for a table."""
    steps: int
    """Gradient steps that the means are over."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Estimates:
    """What a model makes of n positions and the moves played in them."""

    values: npt.NDArray[np.float32]
    """[n] Q of the move played."""
    prior_logits: npt.NDArray[np.float32]
    """[n, k] logits of the prior, of the k moves that were asked for."""


class Model(Protocol):
    """A learner of Q and of the prior by SARSA.

    Same calls in the same order give the same bits, on one kind of CPU.
    """

    def observe(self, transitions: Transitions) -> None:
        """Take notice of transitions before any of them is sampled; called once for each unit."""

    def step(self, sample: Sample) -> None:
        """Take one step towards r + γ Q(s′, a′), and of the prior towards the moves played."""

    def update_target(self) -> None:
        """Let the targets be computed from Q as it is now."""

    def take_losses(self) -> Losses:
        """Return the mean losses of the steps since the last call, and begin anew."""

    def estimate(
        self, positions: Positions, actions: npt.NDArray[np.uint16], moves: npt.NDArray[np.int64] | None = None
    ) -> Estimates:
        """Return Q of the moves played, and the prior's logits of `moves` (None: of all 1880); changes nothing."""

    def action_values(self, positions: Positions) -> npt.NDArray[np.float32]:
        """Return Q of every move, float32 [n, 1880]; changes nothing."""

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the arrays that Q and the prior are computed from: what is published."""

    def state(self) -> dict[str, Arrays]:
        """Return copies of all arrays that training goes on from, in groups; `network` is the weights."""

    def restore(self, state: Mapping[str, Arrays]) -> None:
        """Go on from `state`; raise StoreError when its arrays are not those of this model."""

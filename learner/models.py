"""The one face of everything that can be trained: what a trainer asks of a model.

Models by name are registered in learner.registry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from agent.weights import Arrays
from common.positions import Positions
from learner.replay import Sample

Prepared = TypeVar("Prepared")
"""A sample in the form that a model takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """Means over gradient steps; NaN over none."""

    q: float
    """Of Q: cross-entropy with the histogram of its target, in nats; half the squared TD error of a table."""
    value: float
    """Of the value: cross-entropy with the histogram of Stockfish's expected score, in nats; 0 for a table."""
    prior: float
    """Of the prior: cross-entropy with the moves played, in nats; 0 for a table, whose prior is counted."""
    gradient_norm: float
    """L2 norm of the gradient before clipping; 0 for a table."""
    steps: int
    """Gradient steps that the means are over."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Estimates:
    """What a model makes of n positions and k moves in them."""

    values: npt.NDArray[np.float32]
    """[n] expected score for the side to move."""
    action_values: npt.NDArray[np.float32]
    """[k] Q of each move."""
    prior_logits: npt.NDArray[np.float32]
    """[k] logit of the prior of each move."""


class Model(Protocol[Prepared]):
    """A learner of Q and of the prior by SARSA.

    Same calls in the same order give the same bits, on one kind of CPU.
    """

    def observe(self, positions: Positions, actions: npt.NDArray[np.uint16]) -> None:
        """Take notice of n moves played, before any of them is sampled; called once for each unit."""

    def prepare(self, sample: Sample) -> Prepared:
        """Return `sample` in the form that `step` takes; a thread may call it beside `step`."""

    def step(self, sample: Prepared, rate: float) -> None:
        """Take one step on `sample`, `rate` times as long as the learning rate says."""

    def take_losses(self) -> Losses:
        """Return the mean losses of the steps since the last call, and begin anew."""

    def estimate(
        self, positions: Positions, rows: npt.NDArray[np.int64], actions: npt.NDArray[np.int64]
    ) -> Estimates:
        """Return values of n positions, and Q and logits of k moves, each of the position in its row, rising."""

    def judge(self, sample: Sample) -> tuple[float, Losses, npt.NDArray[np.int64]]:
        """Return the loss that training brings down on `sample`, its parts, and the ranks of the moves played.

        A rank is how many other pseudo-legal moves the prior ranks no lower, int64 [n]. Changes nothing.
        """

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the arrays that values, Q and the prior are computed from: what is published."""

    def state(self) -> dict[str, Arrays]:
        """Return copies of all arrays that training goes on from, in groups; `network` is the weights."""

    def restore(self, state: Mapping[str, Arrays]) -> None:
        """Go on from `state`; raise StoreError when its arrays are not those of this model."""

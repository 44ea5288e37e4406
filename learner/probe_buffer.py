"""The probes that a learner trains on: the last ones, in memory, to be sampled from.

Owned by the trainer.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.positions import Positions, empty
from common.transitions import ProbeTransitions
from learner.position_columns import POSITION_COLUMNS, columns_of, positions_in

_FIRST_ALLOCATION = 4096
_SLOT = np.dtype(
    [
        ("positions", POSITION_COLUMNS),
        ("after", POSITION_COLUMNS),
        ("next", POSITION_COLUMNS),
        ("actions", np.uint16),
        ("rewards", np.float32),
        ("expected_scores", np.float32),
        ("after_expected_scores", np.float32),
        ("next_expected_scores", np.float32),
        ("has_next", np.bool_),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProbeSample:
    """k probes drawn from the buffer, each with one of the two positions that came of it."""

    positions: Positions
    """[k] decision points."""
    actions: npt.NDArray[np.int64]
    """[k] index of the agent's move."""
    rewards: npt.NDArray[np.float32]
    """[k]"""
    expected_scores: npt.NDArray[np.float32]
    """[k] w of the decision point, from its side to move."""
    later_positions: Positions
    """[k] the position after the move or the one after the reply, seen from its side to move."""
    later_expected_scores: npt.NDArray[np.float32]
    """[k] w of that position, from its side to move."""

    def __len__(self) -> int:
        return len(self.actions)


def _none() -> ProbeSample:
    numbers = np.zeros(0, np.float32)
    return ProbeSample(
        positions=empty(0), actions=np.zeros(0, np.int64), rewards=numbers, expected_scores=numbers,
        later_positions=empty(0), later_expected_scores=numbers,
    )  # fmt: skip


NO_PROBES = _none()
"""A sample of no probes."""


class ProbeBuffer:
    """The probes of the last `window` transitions; memory is taken as it fills, by doubling.

    What it holds, and in which order, follows from the last `window` transitions alone, so that a buffer rebuilt
    from the store draws the same probes.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._numbers = np.zeros(0, np.int64)
        """[held] number of the transition of each probe, rising."""
        self._slots = np.zeros(0, _SLOT)
        self._begin = self._end = 0

    def __len__(self) -> int:
        return self._end - self._begin

    def append(self, probes: ProbeTransitions, kept: npt.NDArray[np.bool_], first: int, total: int) -> None:
        """Add those of a unit's probes that are `kept` [p], and drop those that have left the window.

        `first` is the number of the unit's first transition, `total` the number after its last.
        """
        self.forget(total)
        numbers = first + probes.rows[kept]
        kept = kept.copy()
        kept[np.flatnonzero(kept)[numbers < total - self._window]] = False
        count = int(kept.sum())
        self._make_room(count)
        slots = slice(self._end, self._end + count)
        self._numbers[slots] = first + probes.rows[kept]
        for group, positions in (
            ("positions", probes.positions), ("after", probes.after_positions), ("next", probes.next_positions),
        ):  # fmt: skip
            for name, column in columns_of(positions).items():
                self._slots[group][name][slots] = column[kept]
        for name in _SLOT.names or ():
            if name not in ("positions", "after", "next"):
                self._slots[name][slots] = getattr(probes, name)[kept]
        self._end += count

    def forget(self, total: int) -> None:
        """Drop the probes that have left the window when `total` transitions have been seen."""
        self._begin += int(np.searchsorted(self._numbers[self._begin : self._end], total - self._window))

    def sample(self, generator: np.random.Generator, count: int) -> ProbeSample:
        """Return `count` probes drawn uniformly with replacement; none from an empty buffer."""
        if count == 0 or len(self) == 0:
            return NO_PROBES
        drawn = self._slots.take(generator.integers(self._begin, self._end, count))
        replied = (generator.random(count) < 0.5) & drawn["has_next"]
        later = positions_in(np.where(replied, drawn["next"], drawn["after"]))
        return ProbeSample(
            positions=positions_in(drawn["positions"]),
            actions=drawn["actions"].astype(np.int64),
            rewards=drawn["rewards"].copy(),
            expected_scores=drawn["expected_scores"].copy(),
            later_positions=later,
            later_expected_scores=np.where(
                replied, drawn["next_expected_scores"], drawn["after_expected_scores"]
            ).astype(np.float32),
        )

    def _make_room(self, count: int) -> None:
        """Make room for `count` more: what is held moves to the front, in an array twice as long if need be."""
        held = len(self)
        if self._end + count <= len(self._slots):
            return
        length = max(_FIRST_ALLOCATION, 2 * (held + count))
        for name in ("_slots", "_numbers"):
            old = getattr(self, name)
            new = np.zeros(length, old.dtype)
            new[:held] = old[self._begin : self._end]
            setattr(self, name, new)
        self._begin, self._end = 0, held

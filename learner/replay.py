"""The replay buffer: the last transitions trained on, in memory, to be sampled from.

Owned by the trainer. A ring: transition number t (counted from 0 over all that the agent was trained on)
lies in slot t % capacity, so that a buffer rebuilt from the store has every transition where it was. The
next decision point of a game lies in the next slot and is never stored twice; as the ring overwrites its
oldest slot first, a transition that is still there has its next one still there, too.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.positions import SQUARES, Positions
from common.transitions import END, Transitions

_FIRST_ALLOCATION = 4096

# All of a transition in one place, and its next one behind it: drawing one costs three cache lines, not sixteen.
_SLOT = np.dtype(
    [
        ("boards", np.uint8, SQUARES),
        ("castling", np.uint8),
        ("en_passant", np.int8),
        ("halfmove_clock", np.uint16),
        ("repetitions", np.uint8),
        ("actions", np.uint16),
        ("rewards", np.float32),
        ("has_next", np.bool_),
    ]
)
_POSITIONS = ("boards", "castling", "en_passant", "halfmove_clock", "repetitions")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """n transitions drawn from the buffer, copied out of it."""

    positions: Positions
    """[n]"""
    actions: npt.NDArray[np.int64]
    """[n] index of the move played."""
    rewards: npt.NDArray[np.float32]
    """[n]"""
    has_next: npt.NDArray[np.bool_]
    """[n] False at the last decision point of a game, whether terminated or truncated."""
    next_positions: Positions
    """[n] next decision points; where `has_next` is False, some other position."""
    next_actions: npt.NDArray[np.int64]
    """[n] move played there; where `has_next` is False, some other move."""

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayStats:
    """What the buffer holds."""

    size: int
    """Transitions in it."""
    capacity: int
    """Transitions that it holds at most."""
    memory_bytes: int
    """Memory taken by its slots so far; it grows with the transitions, up to the capacity."""


class ReplayBuffer:
    """Ring of the last `capacity` transitions; memory is taken as it fills, by doubling."""

    def __init__(self, capacity: int, first: int = 0) -> None:
        """Make an empty buffer whose first transition will be number `first` (see the module's docstring).

        With `first` above 0 the buffer is a ring in mid-run: whoever rebuilds it has to append at least
        `capacity` transitions before sampling.
        """
        self._capacity = capacity
        self._count = first
        self._first = first
        self._slots = np.zeros(capacity if first else min(capacity, _FIRST_ALLOCATION), _SLOT)

    def __len__(self) -> int:
        return min(self._count - self._first, self._capacity)

    def append(self, transitions: Transitions) -> None:
        """Add whole games; of more transitions than the buffer's capacity only the last ones are kept."""
        following = np.flatnonzero(transitions.next_rows != END)
        if (transitions.next_rows[following] != following + 1).any():
            raise ValueError("the next decision point must stand in the next row")
        total = self._count + len(transitions)
        begin = max(self._count, total - self._capacity)
        self._grow(min(total, self._capacity))
        slots = np.arange(begin, total) % self._capacity
        columns = {name: getattr(transitions.positions, name) for name in _POSITIONS}
        columns |= {"actions": transitions.actions, "rewards": transitions.rewards}
        columns["has_next"] = transitions.next_rows != END
        for name, column in columns.items():
            self._slots[name][slots] = column[begin - self._count :]
        self._count = total

    def sample(self, generator: np.random.Generator, count: int) -> Sample:
        """Return `count` transitions drawn uniformly, with replacement; the buffer must not be empty."""
        size = len(self)
        return self.take(generator.integers(0, size, count))

    def take(self, slots: npt.NDArray[np.int64]) -> Sample:
        """Return the transitions in `slots`, int64 [n], each below len(self)."""
        next_slots = slots + 1
        next_slots[next_slots == len(self)] = 0
        drawn, following = self._slots.take(slots), self._slots.take(next_slots)
        return Sample(
            positions=_positions(drawn),
            actions=drawn["actions"].astype(np.int64),
            rewards=drawn["rewards"].copy(),
            has_next=drawn["has_next"].copy(),
            next_positions=_positions(following),
            next_actions=following["actions"].astype(np.int64),
        )

    def stats(self) -> ReplayStats:
        """Return how full the buffer is, and its memory."""
        return ReplayStats(size=len(self), capacity=self._capacity, memory_bytes=self._slots.nbytes)

    def _grow(self, slots: int) -> None:
        """Make room for `slots` slots; only a ring that has not come round yet ever grows."""
        held = len(self._slots)
        if slots > held:
            old = self._slots
            self._slots = np.zeros(min(max(slots, 2 * held), self._capacity), _SLOT)
            self._slots[:held] = old


def _positions(slots: npt.NDArray[np.void]) -> Positions:
    return Positions(**{name: np.ascontiguousarray(slots[name]) for name in _POSITIONS})

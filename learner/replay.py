"""The replay buffer: the last transitions trained on, in memory, to be sampled from.

Positions are drawn uniformly over distinct ones: of a position that occurred c times each occurrence is drawn
1/c as often, so that the openings, which every game shares, don't crowd out the rest.

Owned by the trainer. A ring: transition number t (counted from 0 over all that the agent was trained on)
lies in slot t % capacity, so that a buffer rebuilt from the store has every transition where it was. The
next decision point of a game lies in the next slot and is never stored twice; as the ring overwrites its
oldest slot first, a transition that is still there has its next one still there, too.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.hashes import position_hashes
from common.positions import Positions
from common.settings import Sampling
from common.transitions import END, Transitions
from learner.position_columns import POSITION_COLUMNS, columns_of, positions_in
from learner.probe_buffer import NO_PROBES, ProbeSample

_FIRST_ALLOCATION = 4096
_HASHED_AT_ONCE = 16_384
"""Positions hashed together: each takes half a kilobyte meanwhile."""
_BUCKETS_EACH = 8
"""Counters of occurrences for each slot: one position in eight or fewer shares its counter with another."""
_RAREST = 64
"""Occurrences beyond which a position counts for no more: bounds how many draws are thrown away."""

# All of a transition in one place, and its next one behind it: drawing one costs three cache lines, not sixteen.
_SLOT = np.dtype(
    [
        *POSITION_COLUMNS,
        ("actions", np.uint16),
        ("rewards", np.float32),
        ("expected_scores", np.float32),
        ("has_next", np.bool_),
        ("held_out", np.bool_),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """n transitions drawn from the buffer, copied out of it."""

    positions: Positions
    """[n]"""
    actions: npt.NDArray[np.int64]
    """[n] index of the move played."""
    rewards: npt.NDArray[np.float32]
    """[n]"""
    expected_scores: npt.NDArray[np.float32]
    """[n] w of the position, from its side to move."""
    has_next: npt.NDArray[np.bool_]
    """[n] False at the last decision point of a game, whether terminated or truncated."""
    next_positions: Positions
    """[n] next decision points; where `has_next` is False, some other position."""
    next_actions: npt.NDArray[np.int64]
    """[n] move played there; where `has_next` is False, some other move."""
    probes: ProbeSample
    """Probes drawn beside them."""

    def __len__(self) -> int:
        return len(self.actions)

    def take(self, rows: slice | npt.NDArray[np.int64]) -> "Sample":
        """Return some of the transitions, without probes."""
        return Sample(
            positions=self.positions.take(rows),
            actions=self.actions[rows],
            rewards=self.rewards[rows],
            expected_scores=self.expected_scores[rows],
            has_next=self.has_next[rows],
            next_positions=self.next_positions.take(rows),
            next_actions=self.next_actions[rows],
            probes=NO_PROBES,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayStats:
    """What the buffer holds."""

    size: int
    """Transitions in it."""
    capacity: int
    """Transitions that it holds at most."""
    memory_bytes: int
    """Memory taken by its slots and counters so far; it grows with the transitions, up to the capacity."""


class ReplayBuffer:
    """Ring of the last `capacity` transitions; memory is taken as it fills, by doubling."""

    def __init__(self, capacity: int, first: int = 0, *, sampling: Sampling = Sampling.DISTINCT) -> None:
        """Make an empty buffer whose first transition will be number `first` (see the module's docstring).

        With `first` above 0 the buffer is a ring in mid-run: whoever rebuilds it has to append at least
        `capacity` transitions before sampling.
        """
        self._capacity = capacity
        self._count = first
        self._first = first
        self._slots = np.zeros(capacity if first else min(capacity, _FIRST_ALLOCATION), _SLOT)
        self._sampling = sampling
        self._drawable = 0
        self._buckets = np.zeros(0, np.uint32)
        """[slots] counter of the position in each slot."""
        self._occurrences = np.zeros(0, np.uint32)
        """[counters] slots whose position has each counter."""
        self._count_anew()

    def __len__(self) -> int:
        return min(self._count - self._first, self._capacity)

    def append(self, transitions: Transitions, held_out: npt.NDArray[np.bool_] | None = None) -> None:
        """Add whole games; of more transitions than the buffer's capacity only the last ones are kept.

        `held_out` [n] says which transitions are never drawn (None: each may be).
        """
        following = np.flatnonzero(transitions.next_rows != END)
        if (transitions.next_rows[following] != following + 1).any():
            raise ValueError("the next decision point must stand in the next row")
        total = self._count + len(transitions)
        begin = max(self._count, total - self._capacity)
        self._grow(min(total, self._capacity))
        slots = np.arange(begin, total) % self._capacity
        columns = columns_of(transitions.positions)
        columns |= {"actions": transitions.actions, "rewards": transitions.rewards}
        columns["expected_scores"] = transitions.expected_scores
        columns["has_next"] = transitions.next_rows != END
        columns["held_out"] = np.zeros(len(transitions), np.bool_) if held_out is None else held_out
        taken = slots[(slots - self._first) % self._capacity < len(self)]
        gone = taken[~self._slots["held_out"][taken]]
        for name, column in columns.items():
            self._slots[name][slots] = column[begin - self._count :]
        self._recount(gone, slots[~self._slots["held_out"][slots]])
        self._count = total

    @property
    def drawable(self) -> int:
        """Transitions that are not held out."""
        return self._drawable

    def held_out(self, most: int) -> npt.NDArray[np.int64]:
        """Return the slots of transitions that are held out, int64; of more than `most`, evenly spaced ones."""
        slots = np.flatnonzero(self._slots["held_out"][: len(self)])
        return slots if len(slots) <= most else slots[np.arange(most) * len(slots) // most]

    def draw(self, generator: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """Return `count` slots, int64, drawn with replacement as `sampling` says; some must be `drawable`."""
        size = len(self)
        found: list[npt.NDArray[np.int64]] = []
        missing = count
        while missing > 0:
            slots = generator.integers(0, size, max(2 * missing, 64))
            drawn = ~self._slots["held_out"][slots]
            if self._sampling is Sampling.DISTINCT:
                times = np.minimum(self._occurrences[self._buckets[slots]], _RAREST)
                drawn &= generator.random(len(slots)) * times < 1.0
            kept = slots[drawn][:missing]
            found.append(kept)
            missing -= len(kept)
        return np.concatenate(found)

    def take(self, slots: npt.NDArray[np.int64], probes: ProbeSample | None = None) -> Sample:
        """Return the transitions in `slots`, int64 [n], each below len(self), with `probes` beside them."""
        next_slots = slots + 1
        next_slots[next_slots == len(self)] = 0
        drawn, following = self._slots.take(slots), self._slots.take(next_slots)
        return Sample(
            positions=positions_in(drawn),
            actions=drawn["actions"].astype(np.int64),
            rewards=drawn["rewards"].copy(),
            expected_scores=drawn["expected_scores"].copy(),
            has_next=drawn["has_next"].copy(),
            next_positions=positions_in(following),
            next_actions=following["actions"].astype(np.int64),
            probes=probes if probes is not None else NO_PROBES,
        )

    def stats(self) -> ReplayStats:
        """Return how full the buffer is, and its memory."""
        arrays = (self._slots, self._buckets, self._occurrences)
        return ReplayStats(
            size=len(self), capacity=self._capacity, memory_bytes=sum(array.nbytes for array in arrays)
        )

    def _grow(self, slots: int) -> None:
        """Make room for `slots` slots; only a ring that has not come round yet ever grows."""
        held = len(self._slots)
        if slots > held:
            old = self._slots
            self._slots = np.zeros(min(max(slots, 2 * held), self._capacity), _SLOT)
            self._slots[:held] = old
            self._count_anew()

    def _count_anew(self) -> None:
        """Make the counters fit the slots, and count what is held."""
        if self._sampling is Sampling.FREQUENCY:
            return
        slots, size = len(self._slots), len(self)
        self._occurrences = np.zeros(1 << max(slots * _BUCKETS_EACH - 1, 1).bit_length(), np.uint32)
        self._buckets = np.zeros(slots, np.uint32)
        self._drawable = 0
        self._recount(np.zeros(0, np.int64), np.flatnonzero(~self._slots["held_out"][:size]))

    def _recount(self, gone: npt.NDArray[np.int64], come: npt.NDArray[np.int64]) -> None:
        """Count what may be drawn: the transitions in the slots `come`, and no longer what was in `gone`."""
        self._drawable += len(come) - len(gone)
        if self._sampling is Sampling.FREQUENCY:
            return
        np.subtract.at(self._occurrences, self._buckets[gone], 1)
        for start in range(0, len(come), _HASHED_AT_ONCE):
            some = come[start : start + _HASHED_AT_ONCE]
            hashes = position_hashes(positions_in(self._slots[some]))
            self._buckets[some] = hashes & np.uint64(len(self._occurrences) - 1)
            np.add.at(self._occurrences, self._buckets[some], 1)

"""Tabular SARSA: Q kept by position and move, the prior by counting. The baseline of the idea.

A position is its board, castling rights and en-passant file (by a 64-bit hash): neither the halfmove clock
nor repetitions tell two positions apart here. The table grows with the experience and is never cut.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.weights import Arrays
from common.errors import StoreError
from common.hashes import position_hashes
from common.moves import MOVES
from common.positions import Positions
from learner.models import Estimates, Losses
from learner.ranks import values_and_ranks
from learner.replay import Sample

STEP_EXPONENT = 0.7
"""Step n of an entry has size n ** -0.7, but at least the learning rate: polynomial step sizes converge
faster than 1/n where targets are bootstrapped (Even-Dar and Mansour, JMLR 5, 2003)."""

UNSEEN_COUNT = 0.1
"""Count that the prior gives every move on top of how often it was played."""

_NONE = -1
_FIRST_ALLOCATION = 1024

_ENTRY = np.dtype(
    [
        ("position", "u8"),  # hash of the position
        ("move", "u2"),
        ("q", "f4"),
        ("visits", "u4"),  # times played
        ("updates", "u4"),  # steps that changed q
        ("previous", "i4"),  # the position's entry made before this one, or _NONE
    ]
)
_WEIGHTS = ("position", "move", "q", "visits")


class TabularSarsa:
    """One entry for each position and move played in it, in the order in which they were first seen."""

    def __init__(self, *, discount: float, learning_rate: float, initial_value: float) -> None:
        """Make an empty table; `initial_value` is Q of what was never seen."""
        self._discount = discount
        self._learning_rate = learning_rate
        self._initial_value = initial_value
        self._entries = np.zeros(_FIRST_ALLOCATION, _ENTRY)
        self._size = 0
        self._latest: dict[int, int] = {}  # hash of a position -> its entry made last
        self._squared_errors = 0.0
        self._steps = 0

    def __len__(self) -> int:
        return self._size

    def observe(self, positions: Positions, actions: npt.NDArray[np.uint16]) -> None:
        """Count the moves played, making an entry for each that is new."""
        entries = self._find(positions, actions)
        keys = position_hashes(positions).tolist()
        moves = actions.tolist()
        made: dict[tuple[int, int], int] = {}
        for row in np.flatnonzero(entries == _NONE).tolist():
            pair = keys[row], moves[row]
            if pair not in made:
                made[pair] = self._add(*pair)
            entries[row] = made[pair]
        np.add.at(self._entries["visits"], entries, 1)

    def prepare(self, sample: Sample) -> Sample:
        """Return `sample` as it is."""
        return sample

    def step(self, sample: Sample, rate: float) -> None:
        """Move Q of the sample's entries towards the mean of their targets r + γ Q(s′, a′); probes don't count.

        `rate` is not looked at: each entry has a schedule of its own.
        """
        del rate
        entries = self._find(sample.positions, sample.actions)
        errors = self._errors(sample)
        changed, places, counts = np.unique(entries, return_inverse=True, return_counts=True)
        mean_errors = np.bincount(places, weights=errors) / counts
        self._entries["updates"][changed] += 1
        sizes = np.maximum(self._entries["updates"][changed] ** -STEP_EXPONENT, self._learning_rate)
        self._entries["q"][changed] += (np.minimum(sizes, 1.0) * mean_errors).astype(np.float32)
        self._squared_errors += float(np.mean(errors**2))
        self._steps += 1

    def take_losses(self) -> Losses:
        """Return the mean losses of the steps since the last call, and begin anew."""
        steps, squared_errors = self._steps, self._squared_errors
        self._steps, self._squared_errors = 0, 0.0
        loss = squared_errors / 2.0 / steps if steps else math.nan
        return Losses(q=loss, value=0.0, prior=0.0, gradient_norm=0.0, steps=steps)

    def estimate(
        self, positions: Positions, rows: npt.NDArray[np.int64], actions: npt.NDArray[np.int64]
    ) -> Estimates:
        """Return Q and the prior's logits of k moves; values are unknown: one half each."""
        q = np.full((len(positions), MOVES), self._initial_value, np.float32)
        logits = np.full((len(positions), MOVES), math.log(UNSEEN_COUNT), np.float32)
        for found, entries in self._walk(positions):
            moves = self._entries["move"][entries]
            q[found, moves] = self._entries["q"][entries]
            logits[found, moves] = np.log(self._entries["visits"][entries] + UNSEEN_COUNT)
        return Estimates(
            values=np.full(len(positions), 0.5, np.float32),
            action_values=q[rows, actions],
            prior_logits=logits[rows, actions],
        )

    def judge(self, sample: Sample) -> tuple[float, Losses, npt.NDArray[np.int64]]:
        """Return half the mean squared TD error, the same as losses, and the moves' ranks; changes nothing."""
        loss = float(np.mean(self._errors(sample) ** 2)) / 2.0
        _, ranks = values_and_ranks(self, sample.positions, sample.actions)
        return loss, Losses(q=loss, value=0.0, prior=0.0, gradient_norm=0.0, steps=1), ranks

    def _errors(self, sample: Sample) -> npt.NDArray[np.float64]:
        """Return the TD errors r + γ Q(s′, a′) - Q(s, a), [n]."""
        following = self._values(sample.next_positions, sample.next_actions)
        targets = sample.rewards + self._discount * np.where(sample.has_next, following, 0.0)
        errors: npt.NDArray[np.float64] = targets - self._values(sample.positions, sample.actions)
        return errors

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of `position` uint64, `move` uint16, `q` float32, `visits` uint32, each [entries]."""
        return self._columns(_WEIGHTS)

    def state(self) -> dict[str, Arrays]:
        """Return copies of all that training goes on from."""
        return {"network": self.weights(), "trained": {}, "optimizer": self._columns(("updates",))}

    def restore(self, state: Mapping[str, Arrays]) -> None:
        """Go on from `state`; raise StoreError when its arrays are not a table's."""
        columns = {**state["network"], **state["optimizer"]}
        expected = {name: _ENTRY[name] for name in (*_WEIGHTS, "updates")}
        found = {name: column.dtype for name, column in columns.items()}
        if found != expected or len({column.shape for column in columns.values()}) != 1:
            raise StoreError("network: the arrays are not those of a table")
        size = len(columns["q"])
        self._entries = np.zeros(max(size, _FIRST_ALLOCATION), _ENTRY)
        for name, column in columns.items():
            self._entries[name][:size] = column
        self._size = size
        self._latest = {}
        previous = []
        for entry, key in enumerate(columns["position"].tolist()):
            previous.append(self._latest.get(key, _NONE))
            self._latest[key] = entry
        self._entries["previous"][:size] = previous

    def _columns(self, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
        return {name: self._entries[name][: self._size].copy() for name in names}

    def _add(self, key: int, move: int) -> int:
        entry = self._size
        if entry == len(self._entries):
            self._entries = np.concatenate([self._entries, np.zeros_like(self._entries)])
        self._entries[entry] = (key, move, self._initial_value, 0, 0, self._latest.get(key, _NONE))
        self._latest[key] = entry
        self._size += 1
        return entry

    def _values(self, positions: Positions, actions: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return Q of one move of each position, float32 [n]."""
        entries = self._find(positions, actions)
        values: npt.NDArray[np.float32] = np.where(
            entries == _NONE, np.float32(self._initial_value), self._entries["q"][entries]
        )
        return values

    def _find(self, positions: Positions, actions: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the entry of one move of each position, int64 [n]; _NONE where there is none."""
        found = np.full(len(positions), _NONE, np.int64)
        for rows, entries in self._walk(positions):
            same = self._entries["move"][entries] == actions[rows]
            found[rows[same]] = entries[same]
        return found

    def _walk(self, positions: Positions) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Yield (rows of the positions, one entry of each of them) until all their entries have come."""
        keys = position_hashes(positions).tolist()
        entries = np.array([self._latest.get(key, _NONE) for key in keys], np.int64)
        rows = np.flatnonzero(entries != _NONE)
        while len(rows):
            entries = entries[entries != _NONE]
            yield rows, entries
            entries = self._entries["previous"][entries].astype(np.int64)
            rows = rows[entries != _NONE]

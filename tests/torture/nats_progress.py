"""When units were stored, as the learners' stores themselves tell, whoever can be reached and whoever not."""

import sqlite3
import threading
import time
from itertools import pairwise
from typing import Self

from common.settings import Settings
from tests.torture.fleet_services import stored_units

INTERVAL_S = 0.05


class StoredUnits:
    """Counts the units in all learners' stores about twenty times a second. A context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: list[tuple[float, int]] = [(time.monotonic(), 0)]
        """When there were how many for the first time."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stored units", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def count(self) -> int:
        """Units stored, over all agents."""
        return self._seen[-1][1]

    def reached_s(self, count: int) -> float | None:
        """Return when so many were stored; None while they are not."""
        return next((at_s for at_s, units in self._seen if units >= count), None)

    @property
    def longest_pause_s(self) -> float:
        """Longest time between two units, from the first to the last."""
        return max((later - sooner for (sooner, _), (later, _) in pairwise(self._seen[1:])), default=0.0)

    def each_s(self, begin_s: float, end_s: float) -> float:
        """Return the units stored a second between two times."""
        return (self._at(end_s) - self._at(begin_s)) / max(1e-3, end_s - begin_s)

    def _at(self, time_s: float) -> int:
        return max((units for at_s, units in self._seen if at_s <= time_s), default=0)

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_S):
            try:
                count = sum(len(stored_units(self._settings, agent.name)) for agent in self._settings.agents)
            except sqlite3.Error:  # not there yet
                continue
            if count > self.count:
                self._seen.append((time.monotonic(), count))

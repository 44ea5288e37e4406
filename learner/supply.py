"""Units for the trainer, read from the store and decoded beside it, so that training never waits for a disk."""

import logging
import queue
import threading
from pathlib import Path

from common.batch import Batch
from common.errors import RookeryError
from common.settings import AgentSettings
from learner.store import ExperienceReader

log = logging.getLogger(__name__)

AHEAD = 4
"""Decoded units that wait for the trainer."""
IDLE_S = 0.5


class UnitSupply:
    """Yields the stored units in unit order from `first` on, as they come in.

    Invariants: no unit is left out, whatever order they are stored in; at most `AHEAD` + 1 units are decoded
    and not trained. A thread of its own reads through a connection of its own.
    """

    def __init__(self, path: Path, agent: AgentSettings, first: int) -> None:
        self._path, self._agent, self._next = path, agent, first
        self._queue: queue.Queue[Batch | RookeryError] = queue.Queue(AHEAD)
        self._news = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="supply", daemon=True)

    def __enter__(self) -> "UnitSupply":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed = True
        self._news.set()
        while self._thread.is_alive():
            self._drop_one()
            self._thread.join(timeout=0.05)

    def stored(self) -> None:
        """Say that there is something new in the store; from any thread."""
        self._news.set()

    def take(self, timeout_s: float) -> Batch | None:
        """Return the next unit's batch, or None if it has not come in `timeout_s`; raises what reading raised."""
        try:
            item = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, RookeryError):
            raise item
        return item

    def _run(self) -> None:
        try:
            with ExperienceReader(self._path, self._agent) as reader:
                while not self._closed:
                    self._news.clear()
                    batch = reader.batch(self._next)
                    if batch is None:
                        self._news.wait(IDLE_S)
                        continue
                    self._queue.put(batch)
                    self._next += 1
        except RookeryError as error:
            self._queue.put(error)
        except Exception as error:
            log.critical("internal error", exc_info=True)
            self._queue.put(RookeryError(f"internal error in the supply: {error!r}"))

    def _drop_one(self) -> None:
        try:
            self._queue.get_nowait()
        except queue.Empty:
            pass

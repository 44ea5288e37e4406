"""Reading units ahead of the leasing, in a thread of its own, so that the router never waits for a disk.

Owned by the broker's service; the only one that touches the sources. Bounded: at most `AHEAD` units wait.
"""

import logging
import threading

from broker.units import RawUnit, UnitReader
from common.errors import RookeryError
from common.words import Unit

log = logging.getLogger(__name__)

AHEAD = 32
"""Units read ahead of the last one asked for."""


class UnitFeed:
    """Gives units by number, from memory or soon.

    Invariant: the thread alone uses the reader; everything shared is touched under the condition's lock.
    """

    def __init__(self, reader: UnitReader) -> None:
        self._reader = reader
        self._condition = threading.Condition()
        self._ready: dict[Unit, RawUnit] = {}
        self._wanted: set[Unit] = {Unit(0)}
        self._next = 0
        """Unit that the reader gives next without starting over."""
        self._error: RookeryError | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self.units_total: int | None = None
        self.games_total: int | None = None
        self.games_cut = 0
        self.fraction_read = 0.0

    def __enter__(self) -> "UnitFeed":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(timeout=5.0)

    def take(self, unit: Unit) -> RawUnit | None:
        """Return the unit if it has been read, else ask for it; raises what reading raised."""
        self.check()
        with self._condition:
            raw = self._ready.pop(unit, None)
            if raw is None:
                self._wanted.add(unit)
            for behind in [other for other in self._ready if other < unit - AHEAD]:
                del self._ready[behind]
            self._condition.notify()
            return raw

    def check(self) -> None:
        """Raise what reading raised, if it did."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._next_to_read() is not None)
                unit = self._next_to_read()
                if self._closed or unit is None:
                    return
            try:
                raw = self._reader.get(unit)
            except Exception as error:
                self._fail(error)
                return
            with self._condition:
                self._wanted.discard(unit)
                self._next = max(self._next, unit + 1)
                if raw is not None:
                    self._ready[unit] = raw
                self.units_total = self._reader.units_total
                self.games_total = self._reader.games_total
                self.games_cut = self._reader.games_cut
                self.fraction_read = self._reader.fraction_read

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, RookeryError):
            log.critical("internal error", exc_info=error)
            error = RookeryError(f"internal error in reading the games: {error!r}")
        with self._condition:
            self._error = error

    def _next_to_read(self) -> Unit | None:
        wanted = [unit for unit in self._wanted if self.units_total is None or unit < self.units_total]
        if wanted:
            return min(wanted)
        if self.units_total is None and len(self._ready) < AHEAD:
            return Unit(self._next)
        return None

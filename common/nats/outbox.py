"""Batches on their way from an actor to the experience stream: in parts, until the server has all of them."""

import asyncio
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from common import wire
from common.messages import BatchHeader
from common.nats import frames, parts
from common.nats.connection import Away, NatsConnection, NobodyThere, Rejected, patience_s
from common.nats.group import Group
from common.nats.names import NatsNames
from common.nats.parts import Part
from common.trouble import is_told

log = logging.getLogger(__name__)

MAX_BATCHES = 32
MAX_BYTES = 32 * 1024 * 1024
"""Of batches that wait or are under way; a larger one goes alone."""
WINDOW_BYTES = 2 * 1024 * 1024
"""Under way to the server at once: as much as keeps it busy, and no more than gets through a thin link in time."""
AGAIN_S = 0.5


@dataclass(slots=True)
class _Batch:
    number: int
    """From 0, in the order in which they were put in."""
    header: BatchHeader
    payload: bytes = field(repr=False)
    sending: str = ""
    length: int = 0
    """Of a part, but the last; 0 until it is cut."""
    missing: set[int] = field(default_factory=set)
    """Parts that the server does not have yet."""

    def cut(self, length: int) -> None:
        """Cut it into parts of that length, unless it is cut into such, or shorter ones, already."""
        if not 0 < self.length <= length:
            self.sending, self.length = parts.new_sending(), length
            self.missing = set(range(parts.count_of(self.payload, length)))

    def part(self, number: int) -> Part:
        """Return one of its parts."""
        return parts.part(self.payload, self.length, number, self.sending)

    def size_of(self, number: int) -> int:
        """Return a part's size in bytes."""
        return min(self.length, len(self.payload) - number * self.length)


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """An outbox at one moment."""

    batches: int
    """Waiting or under way."""
    bytes: int
    stored: int
    """Batches that the server has taken since the start."""
    repeated: int
    """Parts that were sent again."""


class Outbox:
    """Sends batches in the order in which they were put in.

    Invariants: at most MAX_BATCHES of MAX_BYTES are here, and WINDOW_BYTES under way, or one part. A batch stays
    here until the server has acknowledged each of its parts, over as many connections as it takes. `stored` is
    called for each then, in the loop.
    """

    def __init__(self, names: NatsNames, stored: Callable[[BatchHeader], None]) -> None:
        self._names, self._stored = names, stored
        self._lock = threading.Lock()
        self._batches: dict[int, _Batch] = {}
        """By number; under the lock, as are the counts."""
        self._numbers = itertools.count()
        self._bytes = self._stored_count = self._repeated = self._failures = 0
        self._to_send: deque[tuple[_Batch, int]] = deque()
        self._under_way_bytes = 0
        self._changed = asyncio.Event()
        self.progress = 0
        """Grows with each part that the server has taken."""

    def put(self, header: BatchHeader, body: bytes) -> bool:
        """Take a batch; False when there is no room. From any thread; then have `wake` called in the loop."""
        with self._lock:
            if self._batches and (len(self._batches) >= MAX_BATCHES or self._bytes + len(body) > MAX_BYTES):
                return False
            payload, number = frames.pack(wire.encode(header), body), next(self._numbers)
            self._batches[number] = _Batch(number, header, payload)
            self._bytes += len(payload)
        return True

    def stats(self) -> OutboxStats:
        """Return a snapshot."""
        with self._lock:
            return OutboxStats(len(self._batches), self._bytes, self._stored_count, self._repeated)

    # In the loop ---------------------------------------------------------------------------------

    @property
    def units(self) -> list[int]:
        """Units of the batches that are here."""
        with self._lock:
            return [batch.header.unit for batch in self._batches.values()]

    def wake(self) -> None:
        """Have what was put in sent."""
        self._changed.set()

    async def sent(self) -> None:
        """Return once nothing is here."""
        while self._batches:
            self._changed.clear()
            await self._changed.wait()

    async def run(self, connection: NatsConnection) -> None:
        """Send until cancelled, or until the connection is lost, which raises Away."""
        self._to_send.clear()
        self._under_way_bytes = begun = 0
        async with Group() as group:
            while True:
                self._changed.clear()
                begun = self._begin(begun, connection.max_payload // 2)
                while self._to_send and self._has_room(self._to_send[0]):
                    batch, number = self._to_send.popleft()
                    self._under_way_bytes += batch.size_of(number)
                    timeout_s = patience_s(self._under_way_bytes)
                    group.create_task(self._send(connection, batch, number, timeout_s))
                await self._changed.wait()

    def _begin(self, begun: int, length: int) -> int:
        """Have the batches from number `begun` on sent on this connection; return the number to begin with next."""
        with self._lock:
            new = [batch for batch in self._batches.values() if batch.number >= begun]
        for batch in new:
            batch.cut(length)
            self._to_send.extend((batch, number) for number in sorted(batch.missing))
            begun = batch.number + 1
        return begun

    def _has_room(self, waiting: tuple[_Batch, int]) -> bool:
        batch, number = waiting
        return not self._under_way_bytes or self._under_way_bytes + batch.size_of(number) <= WINDOW_BYTES

    async def _send(self, connection: NatsConnection, batch: _Batch, number: int, timeout_s: float) -> None:
        try:
            part, subject = batch.part(number), self._names.batch(batch.header.agent, batch.header.unit)
            await connection.store(subject, part.data, headers=part.headers(), timeout_s=timeout_s)
        except (Away, Rejected) as error:
            if connection.lost:
                raise
            self._tell(error)
            await asyncio.sleep(AGAIN_S)
            self._repeated += 1
            self._to_send.appendleft((batch, number))
        else:
            self._failures = 0
            self.progress += 1
            batch.missing.discard(number)
            if not batch.missing:
                self._finish(batch)
        finally:
            self._under_way_bytes -= batch.size_of(number)
            self._changed.set()

    def _finish(self, batch: _Batch) -> None:
        with self._lock:
            if self._batches.pop(batch.number, None) is None:
                return
            self._bytes -= len(batch.payload)
            self._stored_count += 1
        self._stored(batch.header)

    def _tell(self, error: Exception) -> None:
        self._failures += 1
        if is_told(self._failures) and not (self._failures == 1 and isinstance(error, NobodyThere)):
            log.warning("batches not taken", extra={"reason": str(error), "count": self._failures})

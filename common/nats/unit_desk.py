"""Putting units into their stream: the broker's side of leasing.

Put in by the broker's thread, sent by the channel's loop. A unit is there once, however often it is sent: the
server refuses a second message of its subject.
"""

import asyncio
import itertools
import logging
import threading
from dataclasses import dataclass

from common.nats import frames, objects
from common.nats.connection import SUBJECT_TAKEN, Away, NatsConnection, Rejected
from common.nats.group import Group
from common.nats.names import GAMES, NatsNames
from common.nats.streams import delete_all
from common.nats.unit_objects import object_name
from common.trouble import is_told
from common.words import Unit

log = logging.getLogger(__name__)

MAX_UNITS = 64
MAX_BYTES = 32 * 1024 * 1024
"""Of units that are not in the stream yet."""
AT_ONCE = 16
HEADERS_BYTES = 1024
"""Room for headers, which count to a server's limit."""
AGAIN_S = 0.5


@dataclass(slots=True)
class _Waiting:
    unit: Unit
    lease: bytes
    """Envelope."""
    games: bytes
    message_id: str
    """By which the server knows a second sending of this one, even when the unit was done meanwhile."""
    replaces: bool
    """Whether it takes the place of a message of the unit that is there, until it has."""


class UnitDesk:
    """Units on their way to the stream, over as many connections as it takes. Bounded: ask for `has_room`."""

    def __init__(self, names: NatsNames, session: str) -> None:
        """`session` is the broker's: another one's message ids are others."""
        self._names, self._session = names, session
        self._lock = threading.Lock()
        self._waiting: dict[Unit, _Waiting] = {}
        """By unit; under the lock."""
        self._bytes = self._failures = 0
        self._numbers = itertools.count()
        self._changed = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Whether one more may be put in."""
        return len(self._waiting) < MAX_UNITS and self._bytes < MAX_BYTES

    @property
    def units(self) -> set[Unit]:
        """Units that are not in the stream yet, for all that is known."""
        with self._lock:
            return {*self._waiting}

    def put(self, unit: Unit, lease: bytes, games: bytes, *, replaces: bool = False) -> None:
        """Have a unit put into the stream: the lease's envelope, and the games, packed. Then have `wake` called.

        It is left to the message of the unit that is there, if there is one, unless this one `replaces` it.
        """
        waiting = _Waiting(unit, lease, games, f"{self._session}-{unit}-{next(self._numbers)}", replaces)
        with self._lock:
            self._waiting[unit] = waiting
            self._bytes += len(games)

    # In the loop ---------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have what was put in sent."""
        self._changed.set()

    async def run(self, connection: NatsConnection) -> None:
        """Send until cancelled, or until the connection is lost, which raises Away."""
        window = asyncio.Semaphore(AT_ONCE)
        begun: set[str] = set()
        async with Group() as group:
            while True:
                self._changed.clear()
                with self._lock:
                    new = [waiting for waiting in self._waiting.values() if waiting.message_id not in begun]
                begun = {waiting.message_id for waiting in new} | (begun & self._ids())
                for waiting in new:
                    await window.acquire()
                    group.create_task(self._send(connection, waiting, window))
                await self._changed.wait()

    def _ids(self) -> set[str]:
        with self._lock:
            return {waiting.message_id for waiting in self._waiting.values()}

    async def _send(self, connection: NatsConnection, waiting: _Waiting, window: asyncio.Semaphore) -> None:
        try:
            # A later sending of the same unit takes over: it must not be taken away for this one.
            while self._waiting.get(waiting.unit) is waiting and not await self._is_stored(connection, waiting):
                await asyncio.sleep(AGAIN_S if self._failures else 0.0)
        finally:
            window.release()
        self._failures = 0
        with self._lock:
            if self._waiting.get(waiting.unit) is waiting:
                del self._waiting[waiting.unit]
            self._bytes -= len(waiting.games)

    async def _is_stored(self, connection: NatsConnection, waiting: _Waiting) -> bool:
        try:
            try:
                await self._store(connection, waiting)
            except Rejected as error:
                if error.error_code != SUBJECT_TAKEN:
                    raise
                return not await self._made_room(connection, waiting)
        except (Away, Rejected) as error:
            if connection.lost:
                raise
            self._failures += 1
            if is_told(self._failures):
                log.warning("units not taken", extra={"reason": str(error), "count": self._failures})
            return False
        return True

    async def _made_room(self, connection: NatsConnection, waiting: _Waiting) -> bool:
        """Take the message that is there away, once, if this one is to replace it; return whether it was."""
        if not waiting.replaces:
            return False
        await delete_all(connection, self._names.units_stream, self._names.unit(waiting.unit))
        waiting.replaces = False
        return True

    async def _store(self, connection: NatsConnection, waiting: _Waiting) -> None:
        headers, payload = {"Nats-Msg-Id": waiting.message_id}, frames.pack(waiting.lease, waiting.games)
        if len(payload) + HEADERS_BYTES > connection.max_payload:
            name = object_name(waiting.unit)
            await objects.put(connection, self._names.games, name, f"{name}.0", waiting.games, {})
            headers[GAMES], payload = name, frames.pack(waiting.lease)
        await connection.store(self._names.unit(waiting.unit), payload, headers=headers)

"""Where a process's log records go out over NATS: into a stream, in which they wait for a collector."""

import asyncio
import threading
from collections import deque
from contextlib import suppress

from common.errors import BrokerUnreachable
from common.nats.connection import Away, NatsConnection, NobodyThere, Rejected
from common.nats.group import Group
from common.nats.way import NatsWay

MAX_RECORDS = 2000
MAX_BYTES = 4 * 1024 * 1024
"""Records that the server has not acknowledged; further ones are not taken."""
WINDOW = 200
"""Records under way to the server at once."""
LOOK_S = 1.0
"""Between two looks for the stream while there is none."""
AGAIN_S = 0.5
FLUSH_S = 2.0


class NatsLogOutlet:
    """A process's log outlet; see `common.links.LogOutlet`.

    What was taken is kept until the server has it, over as many connections as it takes: a record may come twice,
    and is known by its number. What is left at the end, with no server there, is lost, and shows as a gap.
    """

    def __init__(self, way: NatsWay) -> None:
        self._subject, self._stream = way.names.log(way.holder), way.names.logs_stream
        self._lock = threading.Lock()
        self._records: dict[int, bytes] = {}
        """Not acknowledged yet, by number, in order; under the lock."""
        self._bytes = self._next = 0
        self._ready = False
        # In the loop only:
        self._to_send: deque[int] = deque()
        self._changed = asyncio.Event()
        self._channel = way.channel(self._serve, "logs", quiet=True)
        self._channel.start()

    def ready(self) -> bool:
        """Whether there is a server with a stream that keeps records for a collector."""
        return self._ready

    def send(self, frame: bytes) -> bool:
        """Take a record; False where there is no server, or it takes its time."""
        with self._lock:
            full = len(self._records) >= MAX_RECORDS or self._bytes + len(frame) > MAX_BYTES
            if not self._ready or (full and self._records):
                return False
            number, self._next = self._next, self._next + 1
            self._records[number] = frame
            self._bytes += len(frame)
        self._channel.call(self._add, number)
        return True

    def close(self) -> None:
        """Flush, and close."""
        if self._records and self._ready:
            flushed = self._channel.submit(self._flushed())
            try:
                flushed.result(FLUSH_S)
            except (BrokerUnreachable, TimeoutError):
                flushed.cancel()
        self._channel.close()

    # The loop --------------------------------------------------------------------------------------

    def _add(self, number: int) -> None:
        self._to_send.append(number)
        self._changed.set()

    async def _serve(self, connection: NatsConnection) -> None:
        try:
            while not await self._is_there(connection):
                await asyncio.sleep(LOOK_S)
            with self._lock:
                self._to_send = deque(self._records)  # also what was under way to a server that is gone
            self._ready = True
            await self._send_all(connection)
        finally:
            self._ready = False

    async def _is_there(self, connection: NatsConnection) -> bool:
        try:
            await connection.api(f"STREAM.INFO.{self._stream}")
        except (Away, Rejected):
            if connection.lost:
                raise
            return False
        return True

    async def _send_all(self, connection: NatsConnection) -> None:
        window = asyncio.Semaphore(WINDOW)
        async with Group() as group:
            while True:
                self._changed.clear()
                while self._to_send:
                    await window.acquire()
                    group.create_task(self._send(connection, self._to_send.popleft(), window))
                await self._changed.wait()

    async def _send(self, connection: NatsConnection, number: int, window: asyncio.Semaphore) -> None:
        try:
            frame = self._records.get(number)
            if frame is not None:
                await self._store(connection, frame)
                with self._lock:
                    self._bytes -= len(self._records.pop(number))
        except (Away, Rejected) as error:
            if connection.lost:
                raise
            if isinstance(error, NobodyThere):  # the stream is gone
                self._ready = False
            await asyncio.sleep(AGAIN_S)
            self._to_send.append(number)
        finally:
            window.release()
            self._changed.set()

    async def _store(self, connection: NatsConnection, frame: bytes) -> None:
        try:
            await connection.store(self._subject, frame)
        except Rejected as error:
            if error.code != 400:
                raise
            # It is longer than this server takes: nobody will ever take it.
        self._ready = True

    async def _flushed(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                while self._records:
                    self._changed.clear()
                    await self._changed.wait()

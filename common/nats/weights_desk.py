"""Publishing an agent's weights: its learner's side of them."""

import asyncio
import logging
from collections.abc import Callable

from common.errors import MessageError
from common.messages import WeightsHeader
from common.nats import objects
from common.nats.connection import Away, NatsConnection, Rejected
from common.nats.names import Bucket
from common.nats.weights import Told, look, put

log = logging.getLogger(__name__)

CHECK_S = 20.0
"""Between two looks at whether the weights that were put are still there."""


class WeightsDesk:
    """Puts the weights that a learner publishes, one set at a time, the latest.

    Invariants: sets published while another is put replace each other; an older version of a session never takes
    the place of a newer one. What could not be put is put again on the next connection.
    """

    def __init__(self, bucket: Bucket, missed: Callable[[], object]) -> None:
        """`missed` is called when what was put is not there any more."""
        self._bucket, self._missed = bucket, missed
        self._waiting: tuple[WeightsHeader, bytes] | None = None
        self._last: WeightsHeader | None = None
        """Of what was accepted last."""
        self._put: Told | None = None
        """What was put last."""
        self._reported = -1
        """Version that the learner has last said to be at."""
        self._woken, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self.dropped = 0

    def publish(self, header: WeightsHeader, body: bytes) -> None:
        """Have weights put; older ones than before are passed over."""
        if self._last is not None and not header.newer_than(self._last.session, self._last.version):
            return
        self._last, self._waiting = header, (header, body)
        self._idle.clear()
        self._woken.set()

    def report(self, session: str, version: int) -> None:
        """Note which version the learner is at: one that it stays at, and has not published, is asked for."""
        stays, self._reported = version == self._reported, version
        last = self._last
        if stays and (last is None or last.session != session or last.version < version):
            self._missed()

    def forget(self) -> None:
        """Take whatever is published next: what was put is not there any more."""
        self._last = self._put = None

    async def put_all(self) -> None:
        """Return once everything is put."""
        await self._idle.wait()

    async def run(self, connection: NatsConnection) -> None:
        """Put until cancelled, or until the connection is lost, which raises Away."""
        await self._check(connection)
        while True:
            if self._waiting is None:
                self._idle.set()
                self._woken.clear()
                try:
                    async with asyncio.timeout(CHECK_S):
                        await self._woken.wait()
                except TimeoutError:
                    await self._check(connection)
                continue
            header, body = waiting = self._waiting
            try:
                self._put = await put(connection, self._bucket, header, body, self._put)
            except MessageError as error:
                self.dropped += 1
                self._last = None
                log.warning("weights not published", extra={"reason": str(error), "count": self.dropped})
            except (Away, Rejected) as error:
                if connection.lost:
                    raise
                log.debug("weights not published yet", extra={"reason": str(error)})
                await asyncio.sleep(objects.AGAIN_S)
                continue
            if self._waiting is waiting:
                self._waiting = None

    async def _check(self, connection: NatsConnection) -> None:
        """Ask for the weights again where they are not there any more: lost by a server, or overwritten."""
        if self._put is None or self._waiting is not None:
            return
        try:
            there = await look(connection, self._bucket, self._put.agent)
        except (MessageError, Away):
            if connection.lost:
                raise
            return
        if there is None or there.about != self._put.about:
            self.forget()
            self._missed()

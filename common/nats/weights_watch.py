"""Watching the latest weights of agents: an actor's side of them.

Notices of new ones come as they are written. One may get lost: so what is there is looked at, first and then now
and then. No consumer at the server is needed for it, however many watch.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from common.errors import MessageError
from common.links import Weights
from common.nats import objects
from common.nats.connection import Away, Message, NatsConnection
from common.nats.group import Group
from common.nats.names import Bucket
from common.nats.weights import Told, get, look, read_told
from common.trouble import is_told

log = logging.getLogger(__name__)

LOOK_S = 30.0
"""Between two looks at what is there."""
LOOK_AGAIN_S = 3.0
"""The same after the first time, and where a look found something odd."""
NOTICES_MAX, NOTICE_BYTES_MAX = 1000, 16 * 1024 * 1024


@dataclass(slots=True)
class _Agent:
    wanted: Told | None = None
    """To be got."""
    held: Told | None = None
    """The last that was got."""
    refused: Told | None = None
    """The last that was got and is not what it says."""
    doubted: int = 0
    """Place of what a look found that lies before what is held: on a replica that lags, or in a store made anew."""


class WeightsWatch:
    """Hands on the latest weights of agents, those that are there already among them.

    Invariants: one set is read at a time, and the newest of its agent; sets that come while another is read replace
    each other unread. What is handed on has the right hashes, and is newer than what was handed on before, or of
    another session. What is held is known over connections: `run` it on each.
    """

    def __init__(self, bucket: Bucket, take: Callable[[Weights], None]) -> None:
        self._bucket, self._take = bucket, take
        self._agents: dict[str, _Agent] = {}
        self._woken = asyncio.Event()
        self._looks_again = asyncio.Event()
        self.dropped = 0
        """Sets that were none, and notices."""

    def agents(self, names: Collection[str]) -> None:
        """Watch the weights of these agents, and of no others; look at what is there at once."""
        self._agents = {name: self._agents.get(name) or _Agent() for name in names}
        self._looks_again.set()

    async def run(self, connection: NatsConnection) -> None:
        """Watch until cancelled, or until the connection is lost, which raises Away."""
        notices = await connection.subscribe(
            self._bucket.abouts, self._on_notice, max_messages=NOTICES_MAX, max_bytes=NOTICE_BYTES_MAX
        )
        try:
            async with Group() as group:
                group.create_task(self._look_now_and_then(connection))
                group.create_task(self._get_what_is_wanted(connection))
        finally:
            await notices.stop()

    async def _on_notice(self, message: Message) -> None:
        try:
            told = read_told(message.data)
        except MessageError as error:
            self._drop(error)
            return
        # Only from who may say so: the server lets nobody else publish there.
        if told is not None and told.agent in self._agents and message.subject == self._bucket.about(told.agent):
            self._want(self._agents[told.agent], told)

    def _want(self, agent: _Agent, told: Told) -> None:
        """Have a set got, unless it is at hand, older than what is wanted or held, or known to be none."""
        if told == agent.refused:
            return
        for other in (agent.held, agent.wanted):
            if other is not None and told.session == other.session and told.version <= other.version:
                return
        agent.wanted = told
        self._woken.set()

    async def _look_now_and_then(self, connection: NatsConnection) -> None:
        first = True
        while True:
            self._looks_again.clear()
            pauses_s = [await self._look(connection, name) for name in list(self._agents)]
            pause_s = LOOK_AGAIN_S if first else min(pauses_s, default=LOOK_S)
            first = False
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._looks_again.wait()
                    first = True

    async def _look(self, connection: NatsConnection, name: str) -> float:
        """Look at what is there of an agent; return after how long to look again."""
        try:
            told = await look(connection, self._bucket, name)
        except MessageError as error:
            self._drop(error)
            return LOOK_S
        except Away:
            if connection.lost:
                raise
            return LOOK_AGAIN_S  # no bucket yet, or no leader
        agent = self._agents.get(name)
        if told is None or agent is None:
            return LOOK_S
        latest = agent.wanted or agent.held
        if latest is not None and told.about.place < latest.about.place and agent.doubted != told.about.place:
            agent.doubted = told.about.place
            return LOOK_AGAIN_S
        agent.doubted = 0
        self._want(agent, told)
        return LOOK_S

    async def _get_what_is_wanted(self, connection: NatsConnection) -> None:
        while True:
            agent = next((agent for agent in self._agents.values() if agent.wanted is not None), None)
            if agent is None:
                self._woken.clear()
                await self._woken.wait()
                continue
            told = agent.wanted
            assert told is not None
            try:
                weights = await get(connection, self._bucket, told)
            except objects.Overwritten:  # a newer one has been told about, or the next look finds it
                self._looks_again.set()
            except MessageError as error:
                self._drop(error)
                agent.refused = told
                self._looks_again.set()  # meanwhile others may have been passed over for it
            except Away:
                if connection.lost:
                    raise
                await asyncio.sleep(objects.AGAIN_S)
                continue
            else:
                agent.held = told
                self._take(weights)
            if agent.wanted is told:
                agent.wanted = None

    def _drop(self, error: MessageError) -> None:
        self.dropped += 1
        if is_told(self.dropped):
            log.warning("weights dropped", extra={"reason": str(error), "count": self.dropped})

"""The broker's side on NATS: the cutter of games, and the desk that everybody reports to. Without state on disk.

Units go into their stream as the window allows; actors fetch them there, batches go from actors to learners through
another one, and weights through an object store. So nothing that is learned waits for this process: it can be away
for as long as the units last that are in the stream. What was lost on the way is found by looking at the streams
every few seconds, and put there again.
"""

import asyncio
import logging
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.desk import Desk
from broker.feed import UnitFeed
from broker.stream_dispatcher import StreamDispatcher
from common import wire
from common.errors import MessageError
from common.keys import KeyHolder
from common.messages import BatchHeader, Lease
from common.nats import answers, frames
from common.nats.connection import Away, Message, NatsConnection, Rejected
from common.nats.group import Group
from common.nats.plan import NatsPlan
from common.nats.seat import ASK_S, Seat
from common.nats.stock import Stock
from common.nats.streams import deliver_anew, discard, drop_all_units, drop_batches, drop_units, prepare, read_stock
from common.nats.unit_desk import UnitDesk
from common.nats.way import NatsWay
from common.trouble import is_told
from common.words import AgentName, Unit

log = logging.getLogger(__name__)

TICK_S = 0.5
POLL_S = 0.05
AGAIN_S = 1.0
"""After a request to the server that failed."""
AUDIT_S = 5.0
"""Between two looks at what lies in the streams."""
SAID_MAX = 20_000
SAID_BYTES_MAX = 64 * 1024 * 1024
"""What may have been said and not been heeded yet; more is dropped, and its sender copes."""
MAX_PEERS = 100_000
"""Sessions whose subjects are remembered."""
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class _Said:
    """What came on a control subject, or as a question."""

    subject: str
    data: bytes
    inbox: str
    """Where the answer goes; empty on a control subject."""


class NatsBroker:
    """The broker's loop; `run` it until its `stopping` says so. A context manager.

    Everything that decides is done in the thread that calls `run`; the channel's loop only carries.
    """

    def __init__(
        self,
        *,
        way: NatsWay,
        plan: NatsPlan,
        dispatcher: StreamDispatcher,
        feed: UnitFeed,
        identity: dict[str, str],
        session: str,
        software: str,
        secure: bool = False,
        discard: bool = False,
        leases_over: bool = False,
        ask_s: float = ASK_S,
        audit_s: float = AUDIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secure` says that the servers let nobody publish on another's subjects; `discard`, that what another run
        has left in the streams is thrown away first; `leases_over`, that no actor of before can be there any more.
        """
        self._names, self._plan, self._dispatcher = way.names, plan, dispatcher
        self._secure, self._audit_s, self._clock = secure, audit_s, clock
        self._discard, self._leases_over = discard, leases_over
        self._channel = way.channel(self._serve, "cuts", events_max=SAID_MAX)
        self._seat = Seat(way.names, session, ask_s=ask_s)
        self._units = UnitDesk(way.names, session)
        self._successors: asyncio.Queue[AgentName] = asyncio.Queue()
        """Agents whose learner may be another one: what was under way to the one before is to come to it."""
        self._peers: OrderedDict[bytes, KeyHolder] = OrderedDict()
        """Who has spoken, by session."""
        self._asking = ""
        """Inbox of the question that is being answered."""
        self._said_bytes = self._said_dropped = 0
        self._lock = threading.Lock()
        """Guards the two."""
        self._has_looked = False
        """Whether it is known what lay in the streams before: nothing is put there until then."""
        self.desk = Desk(
            dispatcher=dispatcher, feed=feed, identity=identity, session=session, software=software,
            reply=self._reply, leases=dispatcher, weights=_StoredWeights(), send_weights=_send_none,
            announced=self._on_announced, clock=clock,
        )  # fmt: skip
        self._tick_s = clock()

    def __enter__(self) -> "NatsBroker":
        self._channel.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._channel.close()

    @property
    def works(self) -> bool:
        """Whether the streams are there and were looked at, or this broker stands by for another."""
        return self._has_looked or self._seat.stands_by

    def reread_keys(self) -> None:
        """Do nothing: the servers have the list of allowed keys."""

    def run(self, stopping: Callable[[], bool]) -> None:
        """Work until `stopping`; raises what can't be mended, such as streams that are somebody else's."""
        while not stopping():
            events = self._channel.wait(POLL_S)
            begun_s = self._clock()
            for event in events:
                self._take(event)
            for agent in self._dispatcher.successors():
                self._channel.call(self._successors.put_nowait, agent)
            self._cut()
            now_s = self._clock()
            self.desk.worked(now_s - begun_s)
            if now_s - self._tick_s >= TICK_S:
                self._tick_s = now_s
                self.desk.tick()

    # The broker's thread ---------------------------------------------------------------------------

    def _take(self, event: _Said | Stock) -> None:
        if isinstance(event, Stock):
            self._audit(event)
            return
        with self._lock:
            self._said_bytes -= len(event.data)
        try:
            self._hear(event)
        except MessageError as error:
            self.desk.drop(error.reason, str(error))

    def _hear(self, said: _Said) -> None:
        sender = self._names.sender_of(said.subject)
        session, envelope = frames.unpack_said(said.data)
        if not _SESSION.fullmatch(session):
            raise MessageError("a session that is none")
        peer = session.encode()
        if said.inbox:
            if not said.inbox.startswith(f"{self._names.inbox(sender)}."):
                raise MessageError(f"an answer that is to go to somebody else: {said.inbox} from {sender}")
            self._asking, peer = said.inbox, said.inbox.encode()
        else:
            self._peers[peer] = sender
            self._peers.move_to_end(peer)
            while len(self._peers) > MAX_PEERS:
                self._peers.popitem(last=False)
        try:
            self.desk.control.handle([peer, envelope], sender if self._secure else None)
        finally:
            self._asking = ""

    def _audit(self, stock: Stock) -> None:
        lost = self._dispatcher.seen(stock, self._units.units)
        if lost.units:
            log.warning("units lost on the way", extra={"units": lost.units[:20], "count": len(lost.units)})
        self._has_looked = True
        done = self._dispatcher.not_needed(stock.units | stock.games)
        if done or lost.passed_over:
            self._channel.submit(self._clear(done, lost.passed_over))

    def _cut(self) -> None:
        while self._has_looked and self._units.has_room and (unit := self._dispatcher.next_cut()) is not None:
            games = self.desk.games_of(unit)
            if games is None:
                return
            cut = self._dispatcher.cut(unit)
            lease = wire.encode(Lease(unit=unit, agents=list(cut.agents)))
            self._units.put(unit, lease, games, replaces=cut.replaces)
            self._channel.call(self._units.wake)

    def _reply(self, peer: bytes, *frames_: bytes) -> bool:
        envelope, *bodies = frames_
        if self._asking and peer == self._asking.encode():
            self._channel.submit(self._answer(self._asking, envelope))
            return True
        to = self._peers.get(peer)
        if to is None:
            return False
        return self._channel.post(self._names.to(to, peer.decode()), frames.pack(envelope, b"".join(bodies)))

    def _on_announced(self, header: BatchHeader) -> None:
        if not self._dispatcher.announced(header):
            log.debug("duplicate batch", extra={"unit": header.unit, "agent": header.agent})

    # The channel's loop ----------------------------------------------------------------------------

    async def _serve(self, connection: NatsConnection) -> None:
        await self._seat.take(connection)
        if self._discard:
            await discard(connection, self._plan)
            self._discard = False
        await prepare(connection, self._plan)
        if self._leases_over:
            await drop_all_units(connection, self._names)
            self._leases_over = False
        for subject, take in ((self._names.controls, self._on_said), (self._names.asks, self._on_asked)):
            await connection.subscribe(subject, take, max_messages=SAID_MAX, max_bytes=SAID_BYTES_MAX)
        log.info("at work", extra={"server": connection.about, "namespace": self._names.namespace})
        async with Group() as group:
            group.create_task(self._seat.keep(connection))
            group.create_task(self._units.run(connection))
            group.create_task(self._look_now_and_then(connection))
            group.create_task(self._deliver_to_successors(connection))

    async def _on_said(self, message: Message) -> None:
        self._pass_on(_Said(message.subject, message.data, inbox=""))

    async def _on_asked(self, message: Message) -> None:
        if message.reply:
            self._pass_on(_Said(message.subject, message.data, inbox=message.reply))

    def _pass_on(self, said: _Said) -> None:
        with self._lock:
            full = self._said_bytes + len(said.data) > SAID_BYTES_MAX
            self._said_bytes += 0 if full else len(said.data)
        if full or not self._channel.put(said):
            self._said_dropped += 1
            if is_told(self._said_dropped):
                log.warning("more is said than can be heeded", extra={"dropped": self._said_dropped})

    async def _look_now_and_then(self, connection: NatsConnection) -> None:
        failures = 0
        while True:
            try:
                await self._channel.put_soon(await read_stock(connection, self._names, self._dispatcher.ledgers))
                failures = 0
            except (Away, Rejected) as error:
                if connection.lost:
                    raise
                failures += 1
                if is_told(failures):
                    log.warning("streams not read", extra={"reason": str(error), "count": failures})
            await asyncio.sleep(self._audit_s)

    async def _deliver_to_successors(self, connection: NatsConnection) -> None:
        failures = 0
        while True:
            agent = await self._successors.get()
            try:
                await deliver_anew(connection, self._plan, agent)
                failures = 0
            except (Away, Rejected) as error:
                if connection.lost:
                    raise
                failures += 1
                if is_told(failures):
                    log.warning(
                        "not delivered anew", extra={"agent": agent, "reason": str(error), "count": failures}
                    )
                self._successors.put_nowait(agent)
                await asyncio.sleep(AGAIN_S)

    async def _clear(self, units: Iterable[Unit], batches: Iterable[tuple[AgentName, Unit]]) -> None:
        """Take what is no use any more out of the streams."""
        connection = self._channel.connection
        if connection is None:
            return
        try:
            await drop_units(connection, self._names, units)
            await drop_batches(connection, self._names, batches)
        except (Away, Rejected, MessageError) as error:  # the next look finds them again
            log.debug("not taken out", extra={"reason": str(error)})

    async def _answer(self, inbox: str, envelope: bytes) -> None:
        connection = self._channel.connection
        if connection is None:
            return
        try:
            for part in answers.parts_of(envelope, connection.max_payload):
                await connection.publish(inbox, part.data, headers=part.headers())
        except (Away, Rejected) as error:
            log.debug("not answered", extra={"reason": str(error)})


class _StoredWeights:
    """In the place of kept weights: the object store has them, and its learner looks after them."""

    def version(self, agent: str, session: str) -> int:
        """Return a version that none is newer than."""
        del agent, session
        return sys.maxsize

    def newer_than(self, agent: str, session: str | None, version: int) -> None:
        """Return nothing: actors look themselves."""


def _send_none(session: str, weights: list[bytes]) -> None:
    """Send no weights: actors get them from the object store."""

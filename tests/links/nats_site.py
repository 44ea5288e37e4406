"""NATS: a real server with TLS and a key for everybody, and the broker's side in a thread of this process."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from broker.feed import UnitFeed
from broker.nats_broker import NatsBroker
from broker.registry import AWAY_AFTER_S
from broker.stream_dispatcher import StreamDispatcher
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.nats import answers, frames, objects, parts
from common.nats.channel import NatsChannel
from common.nats.connection import Message, NatsConnection, Rejected
from common.nats.names import NatsNames
from common.nats.plan import NatsPlan
from common.nats.transport import NatsTransport
from common.nats.way import NatsWay
from common.session import new_session
from tests.broker.live import JumpingClock
from tests.common.nats.guarded import GuardedServer
from tests.links.games import FewGames
from tests.links.peers import AGENTS, IDENTITY
from tests.links.site import OPERATOR
from tests.until import PATIENCE_S, until

NAMES = NatsNames("suite")
ANSWER_S = 10.0
KNOWN = [
    OPERATOR,
    KeyHolder(Role.COLLECTOR, "logs"),
    *(KeyHolder(Role.ACTOR, f"actor-{number}") for number in range(2)),
    *(KeyHolder(Role.LEARNER, agent) for agent in AGENTS),
]
"""Who has a key from the start."""


class LiveNatsBroker:
    """Broker, dispatcher and feed, running in a thread; a context manager. It ends without a word to anybody."""

    def __init__(self, way: NatsWay, *, units: int, ahead: int, lease_s: float, redelivery_s: float) -> None:
        self.clock = JumpingClock()
        self.dispatcher = StreamDispatcher(
            AGENTS, max_units_ahead=ahead, lease_timeout_s=lease_s, clock=self.clock
        )  # fmt: skip
        self.feed = UnitFeed(FewGames(units))
        self.broker = NatsBroker(
            way=way, dispatcher=self.dispatcher, feed=self.feed, identity=IDENTITY, session=new_session(),
            plan=NatsPlan(
                names=way.names, agents=AGENTS, max_units_ahead=ahead, lease_timeout_s=lease_s,
                redelivery_s=redelivery_s,
            ),
            # Not `secure`: the tests have peers go by names that are not their keys.
            software="0.1.0", ask_s=0.05, audit_s=0.3, clock=self.clock,
        )  # fmt: skip
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self.feed.__enter__()
        self.broker.__enter__()
        self._thread.start()
        until(lambda: self.broker.works or self.error)
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the broker hangs"
        self.feed.__exit__(None, None, None)
        self.broker.__exit__(None, None, None)
        assert self.error is None, "the broker has ended"

    def _run(self) -> None:
        try:
            self.broker.run(self._stopping.is_set)
        except BaseException as error:
            self.error = error


class NatsSite:
    """A server with JetStream; see tests.links.site.Site."""

    lease_timeout_s = 2.0
    redelivery_s = 2.0
    silence_s = AWAY_AFTER_S
    weights_pass_the_broker = False

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._server = GuardedServer(folder, NAMES)
        self._server.allow(*KNOWN)
        self._live: LiveNatsBroker | None = None

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._live is None
        self._server.__exit__()
        assert self._server.violations == []

    @contextmanager
    def broker(self, *, units: int = 8, ahead: int = 64) -> Iterator[None]:
        with LiveNatsBroker(
            self._way(BROKER),
            units=units,
            ahead=ahead,
            lease_s=self.lease_timeout_s,
            redelivery_s=self.redelivery_s,
        ) as self._live:  # fmt: skip
            try:
                yield
            finally:
                self._live = None

    def transport(self, holder: KeyHolder) -> NatsTransport:
        return NatsTransport(self._way(holder))

    def pass_time(self, seconds: float, turn: Callable[[], object]) -> None:
        """The server's time can't be jumped over; what is longer than its leases is the broker's alone."""
        assert self._live is not None
        real_s = min(seconds, 1.5 * self.lease_timeout_s)
        self._live.clock.advance(seconds - real_s)
        end_s = time.monotonic() + real_s
        while time.monotonic() < end_s:
            turn()

    def stranger(self, holder: KeyHolder, session: str) -> "NatsStranger":
        return NatsStranger(self._way(holder), session)

    @contextmanager
    def impostor(self) -> Iterator["NatsImpostor"]:
        impostor = NatsImpostor(self._way(BROKER))
        try:
            yield impostor
        finally:
            impostor.close()

    def _way(self, holder: KeyHolder) -> NatsWay:
        self._server.allow(holder)
        return self._server.way(holder)


class _Somebody:
    """A connection of his own."""

    def __init__(self, way: NatsWay) -> None:
        self._way = way
        self._is_there = threading.Event()
        self.channel: NatsChannel[Any] = way.channel(self._serve, "strange")
        self.channel.start()
        assert self._is_there.wait(PATIENCE_S), self.channel.reason

    def close(self) -> None:
        self.channel.close()

    def do(self, action: Callable[[NatsConnection], Any]) -> Any:
        connection = until(lambda: self.channel.connection)
        return self.channel.submit(action(connection)).result(ANSWER_S)

    async def _serve(self, connection: NatsConnection) -> None:
        await self.listen(connection)
        with suppress(Rejected):  # a question that everybody may ask: the server knows by then who listens to what
            await connection.api(f"STREAM.INFO.{NAMES.logs_stream}")
        self._is_there.set()
        await asyncio.Event().wait()

    async def listen(self, connection: NatsConnection) -> None:
        raise NotImplementedError

    async def take(self, message: Message) -> None:
        self.channel.put(message)


class NatsStranger(_Somebody):
    """See tests.links.site.Stranger."""

    def __init__(self, way: NatsWay, session: str) -> None:
        self._session = session
        super().__init__(way)

    async def listen(self, connection: NatsConnection) -> None:
        to_me = NAMES.to(self._way.holder, self._session)
        await connection.subscribe(to_me, self.take, max_messages=1000, max_bytes=0)

    def say(self, envelope: bytes) -> None:
        self._post(NAMES.control(self._way.holder), frames.pack_said(self._session, envelope))

    def hear(self) -> bytes:
        (message, *_) = until(lambda: self.channel.wait(0.1))
        return frames.unpack(message.data)[0]

    def send_batch(self, agent: str, unit: int, envelope: bytes, body: bytes) -> None:
        (part,) = parts.cut(frames.pack(envelope, body), 2**20, parts.new_sending())
        self.do(lambda connection: connection.store(NAMES.batch(agent, unit), part.data, headers=part.headers()))

    def publish(self, agent: str, envelope: bytes, body: bytes) -> None:
        told = {"session": self._session, "version": str(10**6), "step": "7"}
        payload = frames.pack(envelope, body)
        self.do(lambda connection: objects.put(connection, NAMES.weights, agent, f"{agent}.0", payload, told))

    def log(self, frame: bytes) -> None:
        self._post(NAMES.log(self._way.holder), frame)

    def _post(self, subject: str, data: bytes) -> None:
        assert self.channel.post(subject, data)


class NatsImpostor(_Somebody):
    """See tests.links.site.Impostor."""

    async def listen(self, connection: NatsConnection) -> None:
        for subject in (NAMES.controls, NAMES.asks):
            await connection.subscribe(subject, self.take, max_messages=1000, max_bytes=0)

    def heard(self) -> list[tuple[object, bytes]]:
        found: list[tuple[object, bytes]] = []
        for message in self.channel.wait(0.0):
            session, envelope = frames.unpack_said(message.data)
            found.append(((message.subject, session, message.reply), envelope))
        return found

    def say(self, peer: object, envelope: bytes) -> None:
        assert isinstance(peer, tuple)
        subject, session, inbox = peer
        if not inbox:
            to = NAMES.to(NAMES.sender_of(subject), session)
            self.do(lambda connection: connection.publish(to, frames.pack(envelope)))
            return
        for part in answers.parts_of(envelope, 2**20):
            self.do(lambda connection, part=part: connection.publish(inbox, part.data, headers=part.headers()))

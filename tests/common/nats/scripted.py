"""A small broker on NATS: it says what a test has it say, and answers hello, questions and orders by itself."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, TypeVar

from common import wire
from common.keys import KeyHolder
from common.leased_games import pack_games
from common.links import Transport
from common.messages import (
    Command,
    CommandReply,
    Hello,
    Lease,
    Message,
    Order,
    RawGame,
    Refusal,
    Role,
    Status,
    StatusRequest,
    ToBroker,
    Welcome,
)
from common.nats import answers as nats_answers
from common.nats import frames as nats_frames
from common.nats import objects as nats_objects
from common.nats.address import NatsAddress
from common.nats.channel import NatsChannel
from common.nats.connection import Message as Came
from common.nats.connection import NatsConnection
from common.nats.names import GAMES, NatsNames
from common.nats.plan import NatsPlan
from common.nats.stock import Stock
from common.nats.streams import prepare, read_stock
from common.nats.transport import NatsTransport
from common.nats.way import NatsWay
from tests.links.games import game
from tests.until import until

AGENTS = ("white", "black")
STATUS = Status(
    broker="b", software="0", uptime_s=1.0, units_total=None, games_total=None, games_cut=0, fraction_read=0.0,
    services=[], agents=[], bottleneck="none", dropped={}, broker_share=0.0, memory_bytes=1, finished=False,
)  # fmt: skip

T = TypeVar("T", bound=Message)


def way_to(address: object, names: NatsNames, role: str = "actor", name: str = "actor-0") -> NatsWay:
    return NatsWay(NatsAddress.parse(str(address)), names, KeyHolder(Role(role), name))


def transport_to(address: object, names: NatsNames, role: str = "actor", name: str = "actor-0") -> Transport:
    return NatsTransport(way_to(address, names, role, name))


class ScriptedBroker:
    """Runs in a channel of its own; a context manager. Its streams are there once it is entered."""

    def __init__(
        self, address: object, names: NatsNames, *, lease_timeout_s: float = 60.0, redelivery_s: float = 30.0,
        welcoming: bool = True,
    ) -> None:  # fmt: skip
        self.names, self.welcoming = names, welcoming
        self.plan = NatsPlan(
            names=names,
            agents=AGENTS,
            max_units_ahead=64,
            lease_timeout_s=lease_timeout_s,
            redelivery_s=redelivery_s,
        )
        self.heard: list[tuple[KeyHolder, str, Message]] = []
        self.malformed = 0
        self.refusing = ""
        """Why everybody is turned away; empty to welcome them."""
        self.reply: bytes | None = None
        """What operators are answered, instead of what they ask for."""
        self._listening = threading.Event()
        self.channel: NatsChannel[Any] = NatsChannel(
            NatsAddress.parse(str(address)), self._serve, name="broker", inbox="_INBOX.broker"
        )

    def __enter__(self) -> "ScriptedBroker":
        self.channel.start()
        assert self._listening.wait(10.0), self.channel.reason
        return self

    def __exit__(self, *error: object) -> None:
        self.channel.close()

    # What peers have said ------------------------------------------------------------------------

    def of(self, kind: type[T], session: str | None = None) -> list[T]:
        return [
            message
            for _, said_by, message in self.heard
            if isinstance(message, kind) and session in (None, said_by)
        ]

    def wait(self, kind: type[T], count: int = 1, turn=lambda: None) -> list[T]:
        return until(lambda: found if len(found := self.of(kind)) >= count else None, turn)

    # What the broker says ------------------------------------------------------------------------

    def say(self, sender: KeyHolder, session: str, message: Message) -> None:
        self.say_bytes(sender, session, nats_frames.pack(wire.encode(message)))

    def say_bytes(self, sender: KeyHolder, session: str, payload: bytes) -> None:
        self.do(self.connection.publish(self.names.to(sender, session), payload))

    def lease(self, unit: int, agents: Sequence[str] = AGENTS, games: Sequence[RawGame] | None = None) -> None:
        """Publish a unit of two games."""
        lease, body = (
            Lease(unit=unit, agents=list(agents)),
            pack_games(games or [game(2 * unit), game(2 * unit + 1)]),
        )
        self.do(self.connection.store(self.names.unit(unit), nats_frames.pack(wire.encode(lease), body)))

    def lease_by_object(self, unit: int, games: Sequence[RawGame]) -> None:
        """Publish a unit whose games are in the object store."""
        name = f"unit-{unit}"
        self.do(nats_objects.put(self.connection, self.names.games, name, name, pack_games(games), {}))
        lease = nats_frames.pack(wire.encode(Lease(unit=unit, agents=list(AGENTS))))
        self.do(self.connection.store(self.names.unit(unit), lease, headers={GAMES: name}))

    # What the server has -------------------------------------------------------------------------

    def stock(self) -> Stock:
        return self.do(read_stock(self.connection, self.names))

    def consumer(self, stream: str, name: str) -> dict[str, Any]:
        return self.do(self.connection.api(f"CONSUMER.INFO.{stream}.{name}"))

    @property
    def units_leased(self) -> int:
        found: int = self.consumer(self.names.units_stream, "actors")["num_ack_pending"]
        return found

    @property
    def connection(self) -> NatsConnection:
        return until(lambda: found if (found := self.channel.connection) and not found.lost else None)

    def do(self, coroutine: Any, timeout_s: float = 30.0) -> Any:
        return self.channel.submit(coroutine).result(timeout_s)

    # The loop ------------------------------------------------------------------------------------

    async def _serve(self, connection: NatsConnection) -> None:
        await prepare(connection, self.plan)
        await connection.subscribe(self.names.controls, self._on_control, max_messages=10_000, max_bytes=2**26)
        await connection.subscribe(self.names.asks, self._on_question, max_messages=1000, max_bytes=2**26)
        await connection.api("INFO")  # the server knows of the subscriptions now
        self._listening.set()
        await asyncio.Event().wait()

    async def _on_control(self, came: Came) -> None:
        connection = self.channel.connection
        assert connection is not None
        try:
            sender = self.names.sender_of(came.subject)
            session, envelope = nats_frames.unpack_said(came.data)
            from common.messages import BatchHeader

            message = wire.decode(envelope, ToBroker | BatchHeader)
        except Exception:
            self.malformed += 1
            return
        self.heard.append((sender, session, message))
        if isinstance(message, Hello) and (self.welcoming or self.refusing):
            answer = Refusal(reason=self.refusing) if self.refusing else Welcome(broker="b", agents=list(AGENTS))
            await connection.publish(self.names.to(sender, session), nats_frames.pack(wire.encode(answer)))

    async def _on_question(self, came: Came) -> None:
        connection = self.channel.connection
        assert connection is not None
        sender = self.names.sender_of(came.subject)
        session, envelope = nats_frames.unpack_said(came.data)
        question = wire.decode(envelope, ToBroker)
        self.heard.append((sender, session, question))
        if isinstance(question, StatusRequest):
            answer = self.reply or wire.encode(STATUS)
        else:
            assert isinstance(question, Command)
            answer = wire.encode(CommandReply(names=question.names, unknown=["nobody"]))
            for peer, peers_session, message in list(self.heard):
                if isinstance(message, Hello) and message.name in question.names:
                    order = nats_frames.pack(wire.encode(Order(action=question.action)))
                    await connection.publish(self.names.to(peer, peers_session), order)
        for part in nats_answers.parts_of(answer, connection.max_payload):
            await connection.publish(came.reply, part.data, headers=part.headers())

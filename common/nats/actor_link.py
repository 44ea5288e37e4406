"""An actor's link over NATS: units from their stream, batches into theirs, weights as they are put."""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from common import wire
from common.errors import BrokerUnreachable, MessageError, Refused
from common.keys import KeyHolder
from common.leased_games import MAX_GAMES_BYTES, unpack_games
from common.links import ActorEvent, LeasedUnit, Weights
from common.messages import (
    Action,
    ActorReport,
    BatchHeader,
    Lease,
    LeaseRequest,
    Order,
    Refusal,
    Release,
    Renew,
    Role,
    Welcome,
)
from common.nats import frames, objects
from common.nats.connection import Away, Message, NatsConnection, place_of
from common.nats.control import NatsControl, Said
from common.nats.group import Group
from common.nats.names import ACTORS, GAMES
from common.nats.outbox import Outbox
from common.nats.pull import Pull
from common.nats.units_in_hand import Arrival, UnitsInHand
from common.nats.way import NatsWay
from common.nats.weights_watch import WeightsWatch
from common.session import hello
from common.trouble import is_told

log = logging.getLogger(__name__)

FLUSH_S = 5.0
"""How long what is sent may take to get to the server at the end."""
UNSAID_MAX = 1000
CONFIRM_TRIES = 5
_NAK, _IN_PROGRESS, _TERM = b"-NAK", b"+WPI", b"+TERM"


@dataclass(frozen=True, slots=True)
class _Leased:
    """A unit that has come; its games packed."""

    lease: Lease
    games: bytes


@dataclass(frozen=True, slots=True)
class _Mismatch:
    """A unit of a broker that speaks another version of the protocol."""

    why: str


class NatsActorLink:
    """An actor's link; see `common.links.ActorLink`.

    A unit is the actor's for as long as it says that it gets on; it is acknowledged once the server has all of its
    batches. Units are fetched only while the actor is welcome, has room, and is neither paused nor drained.
    """

    def __init__(self, way: NatsWay, name: str, session: str, identity: dict[str, str]) -> None:
        self._names, self._name, self._renew_after_s = way.names, name, way.renew_after_s
        self._reported: list[int] = []
        """Units in hand, as the actor said last, and those that came since."""
        self._channel = way.channel(self._serve, "works")
        self._control = NatsControl(
            self._channel, way.names, KeyHolder(Role.ACTOR, name), session,
            lambda: hello(Role.ACTOR, name, session, units=self._reported, settings=identity),
        )  # fmt: skip
        self._outbox = Outbox(way.names, self._on_stored)
        self._watch = WeightsWatch(way.names.weights, self._on_weights)
        self._fresh: dict[str, Weights] = {}
        """Weights that have come, the latest of each agent; under the lock."""
        self._fresh_lock = threading.Lock()
        self._positions, self._renew_s = -1, 0.0
        """At the last renewal of the leases, and when they may be renewed again."""
        self._said_capacity = -1
        self._broker = ""
        """Session of the one that this actor is welcome to."""
        # In the loop only:
        self._hand = UnitsInHand()
        self._pull: Pull | None = None
        self._capacity, self._welcome, self._accepting = 0, False, True
        self._progress = 0
        self._unsaid: list[BatchHeader] = []
        """Headers of batches that the server has, and the broker has not been told of."""
        self._acknowledging: set[asyncio.Task[None]] = set()
        self._dropped = 0
        self._channel.start()

    # The actor's thread ----------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[ActorEvent]:
        """Return what has come, after at most `timeout_s`."""
        control = self._control
        control.greet()
        events: list[ActorEvent] = []
        for event in self._channel.wait(timeout_s):
            match event:
                case Said():
                    message = control.read(event)
                    if isinstance(message, Order | Refusal | Welcome):
                        self._heed(message)
                        events.append(message)
                case _Leased():
                    self._take(event, events)
                case _Mismatch():
                    raise Refused(f"the broker speaks another protocol: {event.why}")
        control.tell_welcome(self._set_welcome)
        with self._fresh_lock:
            events += self._fresh.values()
            self._fresh.clear()
        return events

    def capacity(self, units: int) -> None:
        """Say how many units can be held at once."""
        if units != self._said_capacity and self._control.send(LeaseRequest(capacity=units)):
            self._said_capacity = units  # only for people: it is the server that is asked for units
        self._channel.call(self._set_capacity, units)

    def renew(self, units: Sequence[int], report: ActorReport) -> None:
        """Report the units in hand and the progress; only with progress are the leases renewed."""
        self._reported = list(units)
        in_hand = [*dict.fromkeys([*units, *self._outbox.units])]  # also what is done and under way to the server
        self._control.send(Renew(units=in_hand, report=report))
        now_s = time.monotonic()
        grew = report.positions > self._positions and now_s >= self._renew_s
        if grew:
            self._positions, self._renew_s = report.positions, now_s + self._renew_after_s
        self._channel.call(self._renew, self._reported if grew else [])

    def release(self, units: Sequence[int]) -> None:
        """Give units back."""
        self._reported = [unit for unit in self._reported if unit not in units]
        self._control.send(Release(units=list(units)))
        self._channel.call(self._give_back, list(units))

    def send(self, header: BatchHeader, body: bytes) -> bool:
        """Send a batch; False when too many are on their way."""
        if not self._outbox.put(header, body):
            return False
        return self._channel.call(self._outbox.wake) or True

    def close(self) -> None:
        """Give the server what is sent, give back what is not done, and say goodbye."""
        flushed = self._channel.submit(self._flush())
        try:
            flushed.result(FLUSH_S + 1.0)
        except (BrokerUnreachable, TimeoutError):
            flushed.cancel()
        else:
            self._control.send(Release(units=self._reported))  # the server has them back
        self._control.goodbye()
        self._channel.close()

    def _heed(self, message: Order | Refusal | Welcome) -> None:
        match message:
            case Welcome():
                self._channel.call(self._watch.agents, message.agents)
                if message.broker != self._broker:
                    self._broker = message.broker
                    self._channel.call(self._unsaid.clear)  # a new one looks at the streams itself
            case Order(action=Action.PAUSE | Action.DRAIN):
                self._channel.call(self._accept, False)
            case Order(action=Action.RESUME):
                self._channel.call(self._accept, True)

    def _take(self, leased: _Leased, events: list[ActorEvent]) -> None:
        unit = leased.lease.unit
        try:
            games = unpack_games(leased.games)
        except MessageError as error:  # its lease runs out
            self._control.drop(error)
            self._channel.call(self._let_go, unit)
            return
        self._reported.append(unit)
        events.append(LeasedUnit(leased.lease, games))

    # The loop: what comes --------------------------------------------------------------------------

    async def _serve(self, connection: NatsConnection) -> None:
        await self._control.listen(connection)
        self._pull = Pull(
            connection, self._names.units_stream, ACTORS,
            take=lambda message: self._on_unit(connection, message), room=self._room,
        )  # fmt: skip
        async with Group() as group:
            group.create_task(self._pull.run())
            group.create_task(self._outbox.run(connection))
            group.create_task(self._watch.run(connection))

    def _room(self) -> int:
        free = self._capacity - len(self._hand)
        return free if self._welcome and self._accepting else 0

    def _wake(self) -> None:
        if self._pull is not None:
            self._pull.wake()

    async def _on_unit(self, connection: NatsConnection, message: Message) -> None:
        try:
            unit = self._names.unit_of(message.subject)
            envelope, games = frames.unpack(message.data)
            lease: Lease = wire.decode(envelope, Lease)
            if lease.unit != unit:
                raise MessageError(f"a unit under another's number: {lease.unit} as {unit}")
        except wire.ProtocolMismatch as error:
            self._post(message.reply, _NAK)
            self._channel.put(_Mismatch(str(error)))
            return
        except MessageError as error:
            self._drop(error)
            self._post(message.reply, _TERM)
            return
        if unit not in self._hand and self._room() <= 0:  # asked for before that was so
            self._post(message.reply, _NAK)
            return
        arrival = self._hand.came(unit, lease.agents, place_of(message), message.reply)
        if arrival is Arrival.FINISHED:
            self._post(message.reply, b"+ACK")
        elif arrival is Arrival.NEW:
            await self._lease(connection, message, lease, games)

    async def _lease(self, connection: NatsConnection, message: Message, lease: Lease, games: bytes) -> None:
        name = (message.headers or {}).get(GAMES)
        if name is not None:
            try:
                about = await objects.look(connection, self._names.games, name)
                if about is None:
                    raise MessageError(f"games that are not there: {name}")
                games = await objects.get(connection, self._names.games, about, max_bytes=MAX_GAMES_BYTES)
            except (MessageError, Away) as error:
                self._drop(error)
                self._hand.give_back([lease.unit])  # its lease runs out: by then they may be there
                return
        await self._channel.put_soon(_Leased(lease, games))

    def _on_weights(self, weights: Weights) -> None:
        with self._fresh_lock:
            self._fresh[weights.header.agent] = weights
        self._channel.put(None)  # only so that whoever waits looks

    # The loop: what the actor says -----------------------------------------------------------------

    def _set_welcome(self, welcome: bool) -> None:
        self._welcome = welcome
        self._wake()

    def _set_capacity(self, units: int) -> None:
        self._capacity = units
        self._wake()

    def _accept(self, accepting: bool) -> None:
        self._accepting = accepting
        self._wake()

    def _renew(self, units: list[int]) -> None:
        """Say that these units get on, and that those do whose batches have got some way since the last time."""
        self._say_headers()
        if self._outbox.progress != self._progress:
            self._progress = self._outbox.progress
            units = [*units, *self._outbox.units]
        for reply in self._hand.replies(dict.fromkeys(units)):
            self._post(reply, _IN_PROGRESS)

    def _give_back(self, units: list[int]) -> None:
        for reply in self._hand.give_back(units):
            self._post(reply, _NAK)
        self._wake()

    def _let_go(self, unit: int) -> None:
        self._hand.give_back([unit])
        self._wake()

    def _post(self, reply: str, word: bytes) -> None:
        self._channel.post(reply, word)

    # The loop: what the server has -----------------------------------------------------------------

    def _on_stored(self, header: BatchHeader) -> None:
        self._unsaid.append(header)
        del self._unsaid[:-UNSAID_MAX]
        self._say_headers()
        reply = self._hand.stored(header.unit, header.agent)
        if reply is not None:
            task = asyncio.get_running_loop().create_task(self._acknowledge(reply))
            self._acknowledging.add(task)
            task.add_done_callback(self._acknowledging.discard)
            self._wake()

    def _say_headers(self) -> None:
        while self._unsaid and self._control.send(self._unsaid[0]):
            self._unsaid.pop(0)

    async def _acknowledge(self, reply: str) -> None:
        """Acknowledge a unit; one of which the word gets lost comes again, and is known as finished."""
        for _ in range(CONFIRM_TRIES):
            connection = self._channel.connection
            if connection is not None:
                try:
                    await connection.confirm(reply)
                    return
                except Away:
                    pass
            await asyncio.sleep(1.0)

    async def _flush(self) -> None:
        self._capacity = 0
        try:
            async with asyncio.timeout(FLUSH_S if self._channel.connection is not None else 0.0):
                await self._outbox.sent()
                while self._acknowledging:
                    await asyncio.wait(set(self._acknowledging))
        except TimeoutError:
            pass
        self._give_back(self._hand.all())
        self._say_headers()
        if self._pull is not None and self._channel.connection is not None:
            await self._pull.drain()  # what comes back goes back

    def _drop(self, error: Exception) -> None:
        self._dropped += 1
        if is_told(self._dropped):
            log.warning("unit dropped", extra={"reason": str(error), "count": self._dropped})

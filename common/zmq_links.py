"""The links over ZeroMQ: the embedded default transport.

Owns the peers' sockets, the hello handshake and the decoding of what the broker sends. Used from one thread
each. A broker that is away or was started anew is met with hello again; nothing sent here is relied on to
arrive: leases run out, batches are asked for again, weights are compared by version.
"""

import os
import socket as host_socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import version as installed_version
from logging import getLogger
from typing import Annotated, Any

import msgspec
import psutil
import zmq
import zstandard

from common import sockets, wire
from common.errors import BrokerUnreachable, KeptOut, MessageError, Refused
from common.handshake import Handshake, advice
from common.links import ActorEvent, Delivered, LearnerEvent, LeasedUnit, Weights
from common.messages import (
    MAX_GAMES,
    Action,
    ActorReport,
    BatchHeader,
    CollectorReport,
    Command,
    CommandReply,
    Credit,
    Declined,
    FromBroker,
    Goodbye,
    Hello,
    LearnerReport,
    Lease,
    LeaseRequest,
    LogRecord,
    Message,
    Order,
    PublishAgain,
    RawGame,
    Refusal,
    Release,
    Renew,
    Role,
    Status,
    StatusRequest,
    Stored,
    StoredUnit,
    StoreTotals,
    Totals,
    Unknown,
    WeightsHeader,
    WeightsRequest,
    Welcome,
)
from common.ports import Ports
from common.trouble import is_told
from common.weights_check import check_weights

log = getLogger(__name__)

HELLO_INTERVAL_S = 1.0
WEIGHTS_INTERVAL_S = 30.0
WEIGHTS_AGAIN_S = 3.0
"""The same after the first time: the answer to that may have come before the subscription was known."""
MAX_GAMES_BYTES = 256 * 1024 * 1024
_games_decoder = msgspec.msgpack.Decoder(Annotated[list[RawGame], msgspec.Meta(max_length=MAX_GAMES)])
MAX_REASON_CHARACTERS = 4096
"""What a message takes of a text; longer ones are cut by whoever sends them."""
MAX_DRAINED = 100
"""Messages taken from one socket before the others get their turn."""


def new_session() -> str:
    """Return a name for one start of one process."""
    return os.urandom(8).hex()


@cache
def _software() -> str:
    return installed_version("rookery")


def hello(role: Role, name: str, session: str, **fields: Any) -> Hello:
    """Return a hello of this process."""
    return Hello(
        role=role, name=name, session=session, started_ns=int(psutil.Process().create_time() * 1e9),
        host=host_socket.gethostname(), pid=os.getpid(), software=_software(), **fields,
    )  # fmt: skip


def own_topic(session: str) -> bytes:
    """Return the topic on weights out of what is for one actor alone; no agent's name has a space in it."""
    return b"to " + session.encode()


class ControlChannel:
    """A peer's DEALER to the broker: says hello until it is welcome, and again when it is not known."""

    def __init__(self, ports: Ports, session: str, make_hello: Callable[[], Hello]) -> None:
        self.socket = sockets.make(zmq.Context.instance(), zmq.DEALER)
        self.socket.setsockopt(zmq.ROUTING_ID, session.encode())
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self._handshake = Handshake(self.socket)
        sockets.connect(self.socket, ports.control, ports.keys)
        self._ports = ports
        self._kept_out = 0
        """Failed handshakes that were told of."""
        self._make_hello = make_hello
        self._welcome = False
        self._refused = False
        self._next_hello_s = 0.0
        self.dropped = 0

    def send(self, message: Message) -> bool:
        """Send, or return False when no broker is there: every sender copes with that."""
        try:
            self.socket.send(wire.encode(message), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> Iterator[tuple[Message, bytes]]:
        """Yield the messages that have come, each with its body (empty without one)."""
        self._greet()
        self._tell_if_kept_out()
        for _ in range(MAX_DRAINED):
            try:
                envelope, *bodies = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                message = wire.decode(envelope, FromBroker)
            except wire.ProtocolMismatch as error:
                raise Refused(f"the broker speaks another protocol: {error}") from error
            except MessageError as error:
                _drop(self, error)
                continue
            match message:
                case Unknown():
                    self._known_no_more()
                    continue
                case Welcome():
                    self._welcome = True
                case Refusal():
                    self._refused = True
            yield message, bodies[0] if bodies else b""

    def _known_no_more(self) -> None:
        if self._welcome:  # else a hello is under way already
            self._welcome = False
            self._next_hello_s = 0.0
            self._greet()

    def _greet(self) -> None:
        now_s = time.monotonic()
        due = not self._welcome and not self._refused and now_s >= self._next_hello_s
        if due and self.send(self._make_hello()):
            self._next_hello_s = now_s + HELLO_INTERVAL_S

    def _tell_if_kept_out(self) -> None:
        # Every time, welcome or not: a monitor that is not read stops ZeroMQ's own thread in the end.
        failures = self._handshake.failures()
        if failures > self._kept_out and is_told(failures):
            why = advice(self._ports.keys is not None)
            log.warning("the broker does not let us in", extra={"broker": self._ports.control, "why": why})
        self._kept_out = failures

    def close(self, goodbye: bool = True) -> None:
        """Say goodbye and close."""
        if goodbye:
            self.send(Goodbye())
        self._handshake.close()
        self.socket.close()


class ZmqActorLink:
    """An actor's link; see `common.links.ActorLink`."""

    def __init__(self, ports: Ports, name: str, session: str, identity: dict[str, str]) -> None:
        self._units: list[int] = []
        self._capacity = 0
        self._control = ControlChannel(
            ports,
            session,
            lambda: hello(Role.ACTOR, name, session, units=self._units, settings=identity),
        )
        context: sockets.Context = zmq.Context.instance()
        self._batches = sockets.make(context, zmq.PUSH, hwm=64)
        self._batches.setsockopt(zmq.IMMEDIATE, 1)
        sockets.connect(self._batches, ports.experience, ports.keys)
        self._weights = sockets.make(context, zmq.SUB, hwm=sockets.WEIGHTS_HWM)
        self._weights.setsockopt(zmq.SUBSCRIBE, own_topic(session))
        sockets.connect(self._weights, ports.weights_out, ports.keys)
        self._held: dict[str, WeightsHeader | None] = {}
        """The weights that came last, by agent."""
        self._next_weights_s, self._weights_interval_s = 0.0, WEIGHTS_INTERVAL_S
        self._poller = zmq.Poller()
        self._poller.register(self._control.socket, zmq.POLLIN)
        self._poller.register(self._weights, zmq.POLLIN)

    def poll(self, timeout_s: float) -> list[ActorEvent]:
        """Return what has come, after at most `timeout_s`."""
        self._poller.poll(round(timeout_s * 1000))
        events: list[ActorEvent] = []
        for message, body in self._control.receive():
            try:
                match message:
                    case Lease():
                        events.append(LeasedUnit(message, unpack_games(body)))
                        self._units.append(message.unit)
                    case Welcome():
                        for agent in message.agents:
                            if agent not in self._held:
                                self._weights.setsockopt(zmq.SUBSCRIBE, agent.encode())
                        self._held = {agent: self._held.get(agent) for agent in message.agents}
                        self._next_weights_s, self._weights_interval_s = 0.0, WEIGHTS_AGAIN_S
                        self._control.send(LeaseRequest(capacity=self._capacity))
                        events.append(message)
                    case Order() | Refusal():
                        events.append(message)
            except MessageError as error:
                _drop(self._control, error)
        self._receive_weights(events)
        self._ask_for_weights()
        return events

    def capacity(self, units: int) -> None:
        """Say how many units can be held at once."""
        self._capacity = units
        self._control.send(LeaseRequest(capacity=units))

    def renew(self, units: Sequence[int], report: ActorReport) -> None:
        """Report the units in hand and the progress."""
        self._units = list(units)
        self._control.send(Renew(units=self._units, report=report))

    def release(self, units: Sequence[int]) -> None:
        """Give units back."""
        self._units = [unit for unit in self._units if unit not in units]
        self._control.send(Release(units=list(units)))

    def send(self, header: BatchHeader, body: bytes) -> bool:
        """Send a batch; False when the way is full."""
        try:
            self._batches.send_multipart([wire.encode(header), body], zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Flush within the linger time, and say goodbye; a batch that comes after it is taken all the same."""
        self._batches.close(linger=sockets.LINGER_MS)
        self._weights.close(linger=0)
        self._control.close()

    def _receive_weights(self, events: list[ActorEvent]) -> None:
        for _ in range(MAX_DRAINED):
            try:
                frames = self._weights.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                if len(frames) != 3:
                    raise MessageError(f"weights have {len(frames)} frames, not 3")
                self._take_weights(wire.decode(frames[1], WeightsHeader), frames[2], events)
            except MessageError as error:
                _drop(self._control, error)

    def _take_weights(self, header: WeightsHeader, body: bytes, events: list[ActorEvent]) -> None:
        if header.agent not in self._held:
            raise MessageError(f"weights of an unknown agent: {header.agent}")
        held = self._held[header.agent]
        if held is not None and not header.newer_than(held.session, held.version):
            return
        check_weights(header, body)
        self._held[header.agent] = header
        events.append(Weights(header, body))

    def _ask_for_weights(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_weights_s:
            self._next_weights_s = now_s + self._weights_interval_s
            self._weights_interval_s = WEIGHTS_INTERVAL_S
            for agent, held in self._held.items():
                session, version = (held.session, held.version) if held is not None else (None, -1)
                self._control.send(WeightsRequest(agent=agent, newer_than=version, session=session))


class ZmqLearnerLink:
    """A learner's link; see `common.links.LearnerLink`.

    `make_hello` returns what the learner has at that moment, for each time that it says hello.
    """

    def __init__(self, ports: Ports, agent: str, session: str, make_hello: Callable[[], Hello]) -> None:
        self._agent, self._session = agent, session
        self._control = ControlChannel(ports, session, make_hello)
        context: sockets.Context = zmq.Context.instance()
        self._delivery = sockets.make(context, zmq.DEALER, hwm=64)
        self._delivery.setsockopt(zmq.ROUTING_ID, session.encode())
        self._delivery.setsockopt(zmq.IMMEDIATE, 1)
        sockets.connect(self._delivery, ports.delivery, ports.keys)
        self._weights = sockets.make(context, zmq.PUB, hwm=sockets.WEIGHTS_HWM)
        self._weights.setsockopt(zmq.IMMEDIATE, 1)  # none are kept for a broker that is away: it asks for them
        sockets.connect(self._weights, ports.weights_in, ports.keys)
        self._poller = zmq.Poller()
        self._poller.register(self._control.socket, zmq.POLLIN)
        self._poller.register(self._delivery, zmq.POLLIN)

    def poll(self, timeout_s: float) -> list[LearnerEvent]:
        """Return what has come, after at most `timeout_s`."""
        self._poller.poll(round(timeout_s * 1000))
        events: list[LearnerEvent] = [
            message
            for message, _ in self._control.receive()
            if isinstance(message, Totals | PublishAgain | Refusal | Welcome)
        ]
        for _ in range(MAX_DRAINED):
            try:
                frames = sockets.receive(self._delivery)
            except zmq.Again:
                break
            try:
                if len(frames) != 2:
                    raise MessageError(f"a batch has {len(frames)} frames, not 2")
                envelope, body = frames[0].bytes, frames[1].bytes
                events.append(Delivered(wire.decode_batch_header(envelope), body))
            except MessageError as error:
                _drop(self._control, error)
        return events

    def credit(self, batches: int) -> None:
        """Let this many batches be under way at once."""
        try:
            credit = Credit(agent=self._agent, session=self._session, batches=batches)
            self._delivery.send(wire.encode(credit), zmq.DONTWAIT)
        except zmq.Again:
            pass  # not connected; it is sent again within about a second

    def stored(self, units: Sequence[StoredUnit], totals: StoreTotals) -> None:
        """Acknowledge batches that are on disk."""
        self._control.send(Stored(agent=self._agent, session=self._session, units=list(units), totals=totals))

    def decline(self, unit: int, reason: str) -> None:
        """Say that a batch can't be used."""
        self._control.send(
            Declined(agent=self._agent, session=self._session, unit=unit, reason=reason[:MAX_REASON_CHARACTERS])
        )

    def report(self, report: LearnerReport) -> None:
        """Report progress."""
        self._control.send(report)

    def publish(self, header: WeightsHeader, body: bytes) -> None:
        """Publish weights."""
        self._weights.send_multipart([header.agent.encode(), wire.encode(header), body])

    def close(self) -> None:
        """Say goodbye and flush."""
        self._delivery.close(linger=0)
        self._weights.close(linger=sockets.LINGER_MS)
        self._control.close()


class ZmqOperatorLink:
    """An operator's link; see `common.links.OperatorLink`."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._socket = sockets.make(zmq.Context.instance(), zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # a question is asked now or not at all
        self._handshake = Handshake(self._socket)
        sockets.connect(self._socket, ports.control, ports.keys)

    def status(self, timeout_s: float) -> Status:
        """Ask how things stand."""
        reply = self._ask(StatusRequest(), Status, timeout_s)
        assert isinstance(reply, Status)
        return reply

    def command(self, action: str, names: Sequence[str], timeout_s: float) -> tuple[list[str], list[str]]:
        """Order actors; return (names that it went to, names that are unknown)."""
        reply = self._ask(Command(action=Action(action), names=list(names)), CommandReply, timeout_s)
        assert isinstance(reply, CommandReply)
        return reply.names, reply.unknown

    def close(self) -> None:
        """Close."""
        self._handshake.close()
        self._socket.close(linger=0)

    def _ask(self, question: Message, answer: type[Message], timeout_s: float) -> Message:
        end_s = time.monotonic() + timeout_s
        if self._socket.poll(round(timeout_s * 1000), zmq.POLLOUT):
            self._socket.send(wire.encode(question), zmq.DONTWAIT)
        while self._socket.poll(max(0, round((end_s - time.monotonic()) * 1000))):
            reply = self._receive()
            if isinstance(reply, Refusal):
                raise Refused(reply.reason)
            if isinstance(reply, answer):
                return reply  # anything else answers an earlier question, after its time-out
        with_keys = self._ports.keys is not None
        if self._handshake.kept_out(with_keys):
            why = advice(with_keys)
            raise KeptOut(f"the broker at {self._ports.control} does not let us in: {why}")
        raise BrokerUnreachable(
            f"no broker answers at {self._ports.control} within {timeout_s:g} s: "
            "is it running, and are --broker and --base-port right?"
        )

    def _receive(self) -> Message:
        try:
            reply: Message = wire.decode(self._socket.recv_multipart()[0], FromBroker, wire.MAX_STATUS_BYTES)
        except wire.ProtocolMismatch as error:
            raise Refused(f"the broker at {self._ports.control} speaks another protocol: {error}") from error
        return reply


class ZmqCollectorLink:
    """A log collector's link: records in, a report of them out."""

    def __init__(self, ports: Ports, name: str, session: str) -> None:
        self._control = ControlChannel(ports, session, lambda: hello(Role.COLLECTOR, name, session))
        self._records = sockets.make(zmq.Context.instance(), zmq.SUB, hwm=100_000)
        self._records.setsockopt(zmq.SUBSCRIBE, b"")
        sockets.connect(self._records, ports.logs_out, ports.keys)
        self._poller = zmq.Poller()
        self._poller.register(self._records, zmq.POLLIN)
        self._poller.register(self._control.socket, zmq.POLLIN)
        self.malformed = 0

    def poll(self, timeout_s: float) -> list[LogRecord]:
        """Return the records that have come, after at most `timeout_s`; raises Refused when turned away."""
        self._poller.poll(round(timeout_s * 1000))
        for message, _ in self._control.receive():
            if isinstance(message, Refusal):
                raise Refused(message.reason)
        records: list[LogRecord] = []
        for _ in range(10 * MAX_DRAINED):
            try:
                frames = self._records.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            try:
                records.append(wire.decode(frames[0], LogRecord))
            except MessageError:
                self.malformed += 1
        return records

    def report(self, records: int, missing: int) -> None:
        """Report how many records came and how many are missing."""
        self._control.send(CollectorReport(records=records, missing=missing))

    def close(self) -> None:
        """Say goodbye and close."""
        self._records.close(linger=0)
        self._control.close()


def pack_games(games: Sequence[RawGame]) -> bytes:
    """Return the body of a lease."""
    return zstandard.compress(wire.pack([msgspec.to_builtins(game, builtin_types=(bytes,)) for game in games]), 1)


def unpack_games(body: bytes) -> list[RawGame]:
    """Return the games in the body of a lease; raise MessageError for anything else."""
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= MAX_GAMES_BYTES:
            raise MessageError(f"a lease's games: they say they have {size} bytes")
        raw = zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_GAMES_BYTES)
    except zstandard.ZstdError as error:
        raise MessageError(f"a lease's games: {error}") from error
    return wire.unpack_as(raw, _games_decoder, "a lease's games")


def _drop(channel: ControlChannel, error: MessageError) -> None:
    channel.dropped += 1
    if is_told(channel.dropped):
        log.warning("message dropped", extra={"reason": str(error), "count": channel.dropped})

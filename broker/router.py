"""The broker's sockets: takes in every message, asks the dispatcher, sends what it answers.

Opens envelopes only; bodies are forwarded unopened, weights once their hash is right. One thread, one poller, no
sleeps. Nothing that a peer sends stops it: a bad message is counted under its reason and dropped.
"""

import time
from collections.abc import Callable
from logging import getLogger
from typing import Any, NamedTuple

import zmq

from broker.desk import Desk
from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.gate import Gate
from broker.weights import LatestWeights
from common import wire
from common.errors import MessageError, OperatorError
from common.keys import KeyHolder
from common.messages import Credit, Lease, LogRecord, WeightsHeader
from common.weights_check import check_weights
from common.words import AgentName
from common.zmq import sockets
from common.zmq.keys import BrokerKeys
from common.zmq.ports import CHANNELS, Ports, own_topic

log = getLogger(__name__)

MAX_BATCH_BYTES = 64 * 1024 * 1024
SMALL_BODY_BYTES = 64 * 1024
"""Up to this size copying costs less than it saves."""
TICK_S = 0.5
POLL_S = 0.05
REOPEN_S = 5.0
"""How long the ports may take to be free again after they were closed."""
HWM = {
    "control": 1000, "experience": 64, "delivery": 256, "weights_in": sockets.WEIGHTS_HWM,
    "weights_out": sockets.WEIGHTS_HWM, "logs_in": 100_000, "logs_out": 100_000,
}  # fmt: skip
KINDS = {
    "control": zmq.ROUTER, "experience": zmq.PULL, "delivery": zmq.ROUTER, "weights_in": zmq.SUB,
    "weights_out": zmq.PUB, "logs_in": zmq.XSUB, "logs_out": zmq.XPUB,
}  # fmt: skip
MAX_FRAME_BYTES = {"experience": MAX_BATCH_BYTES, "weights_in": wire.MAX_BODY_BYTES}
"""By channel, of what comes in; elsewhere only envelopes do. Who sends larger ones is cut off."""

Handle = Callable[[list[Any], KeyHolder | None], Any]


class _Reader(NamedTuple):
    """What takes a socket's messages."""

    handle: Handle
    as_frames: bool = False
    """Whether as frames that still lie in ZeroMQ's memory."""
    signed: bool = True
    """Whether all of them come from a peer: that a collector is gone ZeroMQ says itself, under nobody's key."""


class Router:
    """The broker's loop; `run` it until its `stopping` says so.

    Shutdown order: nothing more is leased, what is queued is flushed within the linger time, sockets close.
    """

    def __init__(
        self,
        *,
        ports: Ports,
        dispatcher: Dispatcher,
        feed: UnitFeed,
        identity: dict[str, str],
        session: str,
        software: str,
        keys: BrokerKeys | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ports, self._dispatcher, self._clock = ports, dispatcher, clock
        self._gate = Gate(keys) if keys is not None else None
        """None where everybody is let in, in the clear."""
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._weights = LatestWeights()
        self.desk = Desk(
            dispatcher=dispatcher, feed=feed, identity=identity, session=session, software=software,
            reply=self._reply, leases=dispatcher, weights=self._weights, send_weights=self._send_weights,
            clock=clock,
        )  # fmt: skip
        self._tick_s = clock()

    def __enter__(self) -> "Router":
        try:
            if self._gate is not None:
                self._gate.open()
            self._open()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()
        if self._gate is not None:
            self._gate.close()

    def _open(self) -> None:
        """Bind all channels, guarded where there are keys."""
        made = self._sockets = {}
        for channel in CHANNELS:
            limit = MAX_FRAME_BYTES.get(channel, wire.MAX_ENVELOPE_BYTES)
            made[channel] = sockets.make(
                zmq.Context.instance(), KINDS[channel], hwm=HWM[channel], max_frame_bytes=limit
            )
            if KINDS[channel] == zmq.ROUTER:
                made[channel].setsockopt(zmq.ROUTER_MANDATORY, 1)
                made[channel].setsockopt(zmq.ROUTER_HANDOVER, 1)
            if self._gate is not None:
                self._gate.guard(made[channel], channel)
            sockets.bind(made[channel], getattr(self._ports, channel))
        made["weights_in"].setsockopt(zmq.SUBSCRIBE, b"")
        self._readers: dict[Any, _Reader] = {
            made["control"]: _Reader(self.desk.control.handle),
            made["experience"]: _Reader(self._on_batch, as_frames=True),
            made["delivery"]: _Reader(self._on_credit),
            made["weights_in"]: _Reader(self._on_weights),
            made["logs_in"]: _Reader(self._on_log),
            made["logs_out"]: _Reader(self._on_subscription, signed=False),
        }
        self._poller = zmq.Poller()
        for reader in self._readers:
            self._poller.register(reader, zmq.POLLIN)
        if self._gate is not None:
            self._poller.register(self._gate.socket, zmq.POLLIN)

    def _close(self) -> None:
        for socket in self._sockets.values():
            socket.close(linger=sockets.LINGER_MS)
        self._sockets = {}

    def _reopen(self) -> None:
        """Drop every connection, so that each has to be let in again: ZeroMQ can't drop a single one.

        What is lost under way is made good as after any cut of the network.
        """
        self._close()
        end_s = self._clock() + REOPEN_S
        while True:
            try:
                self._open()
                return
            except OperatorError:  # the ports are let go of in ZeroMQ's own time
                self._close()
                if self._clock() > end_s:
                    raise
                time.sleep(0.01)

    @property
    def works(self) -> bool:
        """Whether it has all that it needs: its ports."""
        return bool(self._sockets)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Route until `stopping`."""
        while not stopping():
            ready = self._poller.poll(round(POLL_S * 1000))
            begun_s = self._clock()
            for reader, _ in ready:
                if reader in self._readers:
                    self._drain(reader)
                else:
                    self._let_in()
            self._deliver()
            self._lease()
            now_s = self._clock()
            self.desk.worked(now_s - begun_s)
            if now_s - self._tick_s >= TICK_S:
                self._tick(now_s)

    def _drain(self, reader: zmq.Socket[bytes]) -> None:
        handle, as_frames, signed = self._readers[reader]
        for _ in range(sockets.MAX_DRAINED):
            try:
                if self._gate is None:
                    frames, sender = sockets.receive(reader) if as_frames else _bytes_of(reader), None
                else:
                    frames = sockets.receive(reader)
                    sender = self._gate.sender(frames[-1]) if signed else None
                    if not as_frames:
                        frames = [frame.bytes for frame in frames]
                handle(frames, sender)
            except zmq.Again:
                return
            except MessageError as error:
                self.desk.drop(error.reason, str(error))

    # Who may come in -------------------------------------------------------------------------------

    def _let_in(self) -> None:
        assert self._gate is not None
        for why_not in self._gate.answers():
            self.desk.drop("connection refused", why_not, event="connection refused")

    def reread_keys(self) -> None:
        """Read the list of allowed keys anew if it has changed; whose key was revoked is cut off."""
        if self._gate is None:
            return
        revoked = self._gate.reread()
        for holder in revoked:
            log.warning("key revoked", extra={"holder": str(holder)})
            service = self.desk.registry.by_name.get(holder.service)
            if service is not None and service.hello.role is holder.role:
                self.desk.control.lost(service, "key revoked")
        if revoked:
            self._reopen()

    # Periodic ------------------------------------------------------------------------------------

    def _tick(self, now_s: float) -> None:
        self._tick_s = now_s
        self.desk.tick()
        self.reread_keys()
        for actor, unit in self._dispatcher.expire():
            log.warning("lease ran out", extra={"actor": actor, "unit": unit})
        late = self._dispatcher.redeliver()
        if late:
            log.warning("deliveries repeated", extra={"batches": late})

    def _deliver(self) -> None:
        send = self._sockets["delivery"].send
        for agent, ledger in self._dispatcher.ledgers.items():
            while ledger.waiting and (batch := self._dispatcher.next_delivery(agent)) is not None:
                envelope, body = batch.frames
                try:
                    send((ledger.session or "").encode(), sockets.MORE_AT_ONCE)
                    send(envelope, sockets.MORE_AT_ONCE)
                    send(body, sockets.AT_ONCE, copy=False)
                except zmq.ZMQError:  # full, or the learner is not connected on this channel (yet)
                    ledger.not_delivered(batch)
                    break

    def _lease(self) -> None:
        while (actor := self._dispatcher.next_actor()) is not None:
            unit = self._dispatcher.next_unit()
            if unit is None:
                return
            games = self.desk.games_of(unit)
            if games is None:
                return
            grant = self._dispatcher.grant(actor, unit)
            lease = Lease(unit=unit, agents=list(grant.agents))
            session = self.desk.registry.by_name[actor].hello.session
            if self.desk.control.send(session, lease, games):
                log.debug("lease granted", extra={"actor": actor, "unit": unit})

    def _reply(self, peer: bytes, *frames: bytes) -> bool:
        """Send on the control channel; False when the peer has gone or does not read: never wait for it."""
        try:
            self._sockets["control"].send_multipart([peer, *frames], zmq.DONTWAIT)
        except zmq.ZMQError:
            return False
        return True

    # Experience, delivery, weights -----------------------------------------------------------------

    def _on_batch(self, frames: list[zmq.Frame], sender: KeyHolder | None) -> None:
        if len(frames) != 2:
            raise MessageError("batch frames: not two")
        # Bytes of their own: a small frame kept would keep the whole buffer that it was read into.
        envelope, body = frames[0].bytes, frames[1] if len(frames[1]) > SMALL_BODY_BYTES else frames[1].bytes
        header = wire.decode_batch_header(envelope)
        if len(body) > MAX_BATCH_BYTES:
            raise MessageError(f"batch too large: {len(body)} bytes from {header.actor}")
        if sender is not None and header.actor != sender.name:
            raise MessageError(f"batch of another actor: {header.actor} from {sender}")
        if not self._dispatcher.expects(header):
            raise MessageError(f"batch not expected: unit {header.unit} for {header.agent}")
        if not self._dispatcher.received(header, (envelope, body)):
            log.debug("duplicate batch", extra={"unit": header.unit, "agent": header.agent})

    def _on_credit(self, frames: list[bytes], sender: KeyHolder | None) -> None:
        if len(frames) != 2:
            raise MessageError("credit frames: not two")
        credit: Credit = wire.decode(frames[1], Credit)
        if credit.agent not in self._dispatcher.ledgers:
            raise MessageError(f"credit for an unknown agent: {credit.agent}")
        if sender is not None and credit.agent != sender.name:
            raise MessageError(f"credit of another agent: {credit.agent} from {sender}")
        if frames[0] != credit.session.encode():
            raise MessageError(f"credit of another session: {credit.session}")
        self.desk.registry.heard(credit.session)
        self._dispatcher.credit(AgentName(credit.agent), credit.session, credit.batches)

    def _on_weights(self, frames: list[bytes], sender: KeyHolder | None) -> None:
        if len(frames) != 3:
            raise MessageError("weights frames: not three")
        header: WeightsHeader = wire.decode(frames[1], WeightsHeader)
        if header.agent not in self._dispatcher.ledgers:
            raise MessageError(f"weights of an unknown agent: {header.agent}")
        if sender is not None and header.agent != sender.name:
            raise MessageError(f"weights of another agent: {header.agent} from {sender}")
        if frames[0] != header.agent.encode():
            raise MessageError(f"weights under another agent's name: {header.agent}")
        if header.session != self._dispatcher.ledgers[AgentName(header.agent)].session:
            raise MessageError(f"weights of a learner that is not the agent's: {header.agent} {header.session}")
        check_weights(header, frames[2])
        if self._weights.keep(header, frames[1:]):
            self._sockets["weights_out"].send_multipart(frames)

    def _send_weights(self, session: str, frames: list[bytes]) -> None:
        """Send weights to one actor: not on the control channel, where its leases would wait behind them."""
        self._sockets["weights_out"].send_multipart([own_topic(session), *frames])

    def _on_log(self, frames: list[bytes], sender: KeyHolder | None) -> None:
        if len(frames) != 1:
            raise MessageError("log record frames: not one")
        if sender is not None:
            record: LogRecord = wire.decode(frames[0], LogRecord)
            if record.source.rpartition(".")[0] != sender.service:
                raise MessageError(f"log record of another service: {record.source} from {sender}")
        self._sockets["logs_out"].send(frames[0])

    def _on_subscription(self, frames: list[bytes], sender: KeyHolder | None) -> None:
        del sender
        if len(frames) != 1 or frames[0] not in (b"\x00", b"\x01"):
            raise MessageError("subscription: not to everything, nor its end")
        self._sockets["logs_in"].send(frames[0])


def _bytes_of(reader: zmq.Socket[bytes]) -> list[bytes]:
    """Return the next message's frames; raise zmq.Again when there is none."""
    return reader.recv_multipart(sockets.AT_ONCE)

"""The broker's sockets: takes in every message, asks the dispatcher, sends what it answers.

Opens envelopes only; bodies are forwarded unopened. One thread, one poller, no sleeps. Nothing that a peer
sends stops it: a bad message is counted under its reason and dropped.
"""

import time
from collections import Counter
from collections.abc import Callable
from logging import getLogger
from typing import Any

import psutil
import zmq

from broker.bottleneck import bottleneck
from broker.control import Control
from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.registry import Registry
from broker.weights import LatestWeights
from common import sockets, wire
from common.errors import MessageError
from common.messages import AgentStatus, Credit, Lease, Role, Status, WeightsHeader
from common.ports import CHANNELS, Ports
from common.words import AgentName, Unit
from common.zmq_links import MAX_DRAINED, pack_games

log = getLogger(__name__)

MAX_BATCH_BYTES = 64 * 1024 * 1024
MAX_REASONS = 100
"""Reasons under which dropped messages are counted; further ones are counted together."""
TICK_S = 0.5
POLL_S = 0.05


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ports, self._dispatcher, self._feed = ports, dispatcher, feed
        self._session, self._software = session, software
        self._clock = clock
        self.registry = Registry(clock)
        self.dropped: Counter[str] = Counter()
        self._weights = LatestWeights()
        self._control_desk = Control(
            dispatcher=dispatcher, registry=self.registry, feed=feed, weights=self._weights, identity=identity,
            session=session, reply=self._reply, drop=self._drop, status=self.status,
        )  # fmt: skip
        self._games: dict[Unit, bytes] = {}
        """Games of the units that some agent is still to get, as a lease carries them: read once, however often
        a unit is leased. No more than the window holds."""
        self._started_s = self._tick_s = clock()
        self._busy_s = 0.0
        self._share = 0.0
        self._process = psutil.Process()

    def __enter__(self) -> "Router":
        context: sockets.Context = zmq.Context.instance()
        self._control = sockets.make(context, zmq.ROUTER)
        self._control.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._control.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._experience = sockets.make(context, zmq.PULL, hwm=64)
        self._delivery = sockets.make(context, zmq.ROUTER, hwm=256)
        self._delivery.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._delivery.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._weights_in = sockets.make(context, zmq.SUB, hwm=sockets.WEIGHTS_HWM)
        self._weights_in.setsockopt(zmq.SUBSCRIBE, b"")
        self._weights_out = sockets.make(context, zmq.PUB, hwm=sockets.WEIGHTS_HWM)
        self._logs_in = sockets.make(context, zmq.XSUB, hwm=100_000)
        self._logs_out = sockets.make(context, zmq.XPUB, hwm=100_000)
        try:
            for channel in CHANNELS:
                sockets.bind(getattr(self, f"_{channel}"), getattr(self._ports, channel))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._readers: dict[Any, tuple[Callable[[Any], list[Any]], Callable[[list[Any]], Any]]] = {
            self._control: (_bytes_of, self._control_desk.handle),
            self._experience: (sockets.receive, self._on_batch),
            self._delivery: (_bytes_of, self._on_credit),
            self._weights_in: (_bytes_of, self._on_weights),
            self._logs_in: (_bytes_of, self._logs_out.send_multipart),
            self._logs_out: (_bytes_of, self._on_subscription),
        }
        """How each socket's messages are taken in, and what takes them."""
        self._poller = zmq.Poller()
        for reader in self._readers:
            self._poller.register(reader, zmq.POLLIN)
        return self

    def __exit__(self, *exception: object) -> None:
        for channel in CHANNELS:
            getattr(self, f"_{channel}").close(linger=sockets.LINGER_MS)

    def run(self, stopping: Callable[[], bool]) -> None:
        """Route until `stopping`."""
        while not stopping():
            ready = self._poller.poll(round(POLL_S * 1000))
            begun_s = self._clock()
            for reader, _ in ready:
                self._drain(reader)
            self._deliver()
            self._lease()
            now_s = self._clock()
            self._busy_s += now_s - begun_s
            if now_s - self._tick_s >= TICK_S:
                self._tick(now_s)

    def _drain(self, reader: zmq.Socket[bytes]) -> None:
        receive, handle = self._readers[reader]
        for _ in range(MAX_DRAINED):
            try:
                frames = receive(reader)
            except zmq.Again:
                return
            try:
                handle(frames)
            except MessageError as error:
                self._drop(str(error).split(":")[0][:128], str(error))

    def _drop(self, reason: str, detail: str = "") -> None:
        if reason not in self.dropped and len(self.dropped) >= MAX_REASONS:
            reason = "other reasons"
        self.dropped[reason] += 1
        count = self.dropped[reason]
        if count & (count - 1) == 0:  # 1, 2, 4, 8, …: repeated trouble is told when its count doubles
            log.warning("message dropped", extra={"reason": reason, "detail": detail, "count": count})

    # Periodic ------------------------------------------------------------------------------------

    def _tick(self, now_s: float) -> None:
        self._share = min(1.0, self._busy_s / (now_s - self._tick_s))
        self._busy_s, self._tick_s = 0.0, now_s
        self._feed.check()
        for actor, unit in self._dispatcher.expire():
            log.warning("lease ran out", extra={"actor": actor, "unit": unit})
        for service in self.registry.long_gone():
            self._control_desk.lost(service, "silent for long")
        late = self._dispatcher.redeliver()
        if late:
            log.warning("deliveries repeated", extra={"batches": late})
        for unit in [unit for unit in self._games if not self._dispatcher.needed(unit)]:
            del self._games[unit]
        if self._dispatcher.units_total is None and self._feed.units_total is not None:
            self._dispatcher.units_total = self._feed.units_total
            log.info("sources read", extra={"units": self._feed.units_total, "games": self._feed.games_total})
            for service in self.registry.of_role(Role.LEARNER):
                self._control_desk.send(service.hello.session, self._control_desk.totals())

    def _deliver(self) -> None:
        send = self._delivery.send
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
            games = self._games_of(unit)
            if games is None:
                return
            grant = self._dispatcher.grant(actor, unit)
            lease = Lease(unit=unit, agents=list(grant.agents))
            session = self.registry.by_name[actor].hello.session
            if self._control_desk.send(session, lease, games):
                log.debug("lease granted", extra={"actor": actor, "unit": unit})

    def _games_of(self, unit: Unit) -> bytes | None:
        """Return the unit's games as a lease carries them; None while they are being read."""
        games = self._games.get(unit)
        if games is None and (raw := self._feed.take(unit)) is not None:
            games = self._games[unit] = pack_games(raw.games)
        return games

    def _reply(self, peer: bytes, *frames: bytes) -> bool:
        """Send on the control channel; False when the peer has gone or does not read: never wait for it."""
        try:
            self._control.send_multipart([peer, *frames], zmq.DONTWAIT)
        except zmq.ZMQError:
            return False
        return True

    # Experience, delivery, weights -----------------------------------------------------------------

    def _on_batch(self, frames: list[zmq.Frame]) -> None:
        if len(frames) != 2:
            raise MessageError("batch frames: not two")
        # Bytes of its own: a small frame kept would keep the whole buffer that it was read into.
        envelope, body = frames[0].bytes, frames[1]
        header = wire.decode_batch_header(envelope)
        if len(body) > MAX_BATCH_BYTES:
            raise MessageError(f"batch too large: {len(body)} bytes from {header.actor}")
        if not self._dispatcher.expects(header):
            raise MessageError(f"batch not expected: unit {header.unit} for {header.agent}")
        if not self._dispatcher.received(header, (envelope, body)):
            log.debug("duplicate batch", extra={"unit": header.unit, "agent": header.agent})

    def _on_credit(self, frames: list[bytes]) -> None:
        if len(frames) != 2:
            raise MessageError("credit frames: not two")
        credit: Credit = wire.decode(frames[1], Credit)
        if credit.agent not in self._dispatcher.ledgers:
            raise MessageError(f"credit for an unknown agent: {credit.agent}")
        if frames[0] == credit.session.encode():
            self.registry.heard(credit.session)
            self._dispatcher.credit(AgentName(credit.agent), credit.session, credit.batches)

    def _on_weights(self, frames: list[bytes]) -> None:
        if len(frames) != 3:
            raise MessageError("weights frames: not three")
        header: WeightsHeader = wire.decode(frames[1], WeightsHeader)
        if header.agent not in self._dispatcher.ledgers:
            raise MessageError(f"weights of an unknown agent: {header.agent}")
        if frames[0] != header.agent.encode() or len(frames[2]) != header.size_bytes:
            raise MessageError(f"weights that are not what they say: {header.agent} {header.version}")
        if self._weights.keep(header, frames[1:]):
            self._weights_out.send_multipart(frames)

    def _on_subscription(self, frames: list[bytes]) -> None:
        if len(frames) != 1 or frames[0][:1] not in (b"\x00", b"\x01"):
            raise MessageError("subscription: not one")
        self._logs_in.send(frames[0])

    # Status ----------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return how things stand."""
        return Status(
            broker=self._session,
            software=self._software,
            uptime_s=self._clock() - self._started_s,
            units_total=self._feed.units_total,
            games_total=self._feed.games_total,
            games_cut=self._feed.games_cut,
            fraction_read=self._feed.fraction_read,
            services=self.registry.status(),
            agents=[self._agent_status(agent) for agent in self._dispatcher.ledgers],
            bottleneck=bottleneck(self._dispatcher, self.registry, self._share),
            dropped=dict(self.dropped),
            broker_share=self._share,
            memory_bytes=self._process.memory_info().rss,
            finished=self._dispatcher.finished,
        )

    def _agent_status(self, agent: AgentName) -> AgentStatus:
        ledger = self._dispatcher.ledgers[agent]
        service = self.registry.of_session(ledger.session) if ledger.session else None
        report = service.learner if service else None
        state = "connected" if service is not None and self.registry.present(service) else "away"
        return AgentStatus(
            name=agent,
            learner=state if ledger.known else "never seen",
            leased=self._dispatcher.leased_for(agent),
            units_stored=ledger.stored.count,
            units_trained=ledger.trained_units,
            produced=ledger.produced,
            stored=ledger.transitions_stored,
            duplicates=ledger.duplicates,
            in_flight=ledger.in_flight,
            totals=ledger.totals,
            closed=ledger.closed,
            step=report.step if report else 0,
            version=report.version if report else 0,
            loss=report.loss if report else None,
        )


def _bytes_of(reader: zmq.Socket[bytes]) -> list[bytes]:
    """Return the next message's frames; raise zmq.Again when there is none."""
    return reader.recv_multipart(sockets.AT_ONCE)

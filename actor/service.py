"""The actor's loop: leases in, units through the desk, batches out, a report every second.

One thread does it all: the engine works in its own process, and what is written ahead to it lasts longer than
any turn of this loop.
"""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from actor.work import Desk, FinishedUnit
from common.batch import encode
from common.errors import Refused
from common.links import ActorLink, LeasedUnit, Weights
from common.messages import Action, ActorReport, BatchHeader, Order, Refusal
from common.settings import Settings
from common.signals import StopSignal
from common.tracing import record_span, span

log = logging.getLogger(__name__)

BUSY_POLL_S = 0.02
IDLE_POLL_S = 0.1
REPORT_INTERVAL_S = 1.0
FLUSH_S = 5.0
"""Told to stop, an actor tries for this long to get rid of its last batches; then their units are leased anew."""


def default_name() -> str:
    """Return a name for an actor that was given none: host and process."""
    host = "".join(char if char.isalnum() or char in "-._" else "-" for char in socket.gethostname())
    return f"{host}-{os.getpid()}"[:128]


class ActorService:
    """One actor. `run` works until told to stop, then finishes the units that it has begun.

    Shutdown order: no more leases, units not begun are given back, those begun are finished and sent, the
    link flushes and says goodbye.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        link: ActorLink,
        desk: Desk,
        stopping: StopSignal,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_turn` is called each time round the loop."""
        self._name, self._link, self._desk, self._stopping = name, link, desk, stopping
        self._on_turn = on_turn
        self._agents = {agent.name: agent for agent in settings.agents}
        self._leased: deque[LeasedUnit] = deque()
        self._outbox: deque[_Packed] = deque()
        self._sent_ns = 0
        """When the last batch was sent, nanoseconds since 1970."""
        self._idle_since_ns: int | None = None
        """Since when there has been no unit to work on."""
        self._probing = settings.probe_rate > 0
        self._capacity = 2 + 16 // settings.games_per_unit
        self._paused = False
        self._weights: dict[str, Weights] = {}
        self._weights_came_s: dict[str, float] = {}
        self._nodes = settings.nodes
        self._report_s = time.monotonic()
        self._busy_s = self._waited_s = 0.0
        self._process = psutil.Process()

    def run(self) -> None:
        """Work until told to stop or to drain."""
        self._link.capacity(self._capacity)
        while not self._stopping:
            self.turn()
        self.finish()

    def finish(self) -> None:
        """Take no more, and see to what is begun."""
        self._link.capacity(0)
        self._link.release([leased.lease.unit for leased in self._leased])
        self._leased.clear()
        while self._desk.units:
            self.turn()
        end_s = time.monotonic() + FLUSH_S
        while self._outbox and time.monotonic() < end_s:
            self.turn()
        self._report()

    def turn(self) -> None:
        """Take in what has come, work, send what is done, report if it is time to; raises Refused."""
        self._on_turn()
        begun_s, begun_ns = time.monotonic(), time.time_ns()
        idle = not self._desk.units and not self._leased
        self._take_events(IDLE_POLL_S if idle else 0.0)
        if idle and not self._leased:
            self._waited_s += time.monotonic() - begun_s
        self._record_lease(begun_ns if idle and not self._paused else None)
        while self._leased and self._desk.hungry:
            leased = self._leased.popleft()
            agents = [self._agents[name] for name in leased.lease.agents if name in self._agents]
            self._desk.begin(leased.lease.unit, agents, leased.games)
        if self._desk.units:
            for finished in self._desk.poll(BUSY_POLL_S):
                self._pack(finished)
        while self._outbox and self._link.send(self._outbox[0].header, self._outbox[0].body):
            self._record_sent(self._outbox.popleft())
        if time.monotonic() - self._report_s >= REPORT_INTERVAL_S:
            self._report()

    def _take_events(self, timeout_s: float) -> None:
        for event in self._link.poll(timeout_s):
            match event:
                case LeasedUnit():
                    self._lease(event)
                case Weights() if event.header.agent in self._agents:
                    self._take_weights(event)
                case Order():
                    self._obey(event.action)
                case Refusal():
                    raise Refused(event.reason)

    def _take_weights(self, weights: Weights) -> None:
        header = weights.header
        self._weights[header.agent] = weights
        self._weights_came_s[header.agent] = time.monotonic()
        if self._probing:
            from agent.weights import unpack  # with libraries that an actor without probes does without

            self._desk.renew(header.agent, header.version, header.network, unpack(header, weights.body))

    def _lease(self, leased: LeasedUnit) -> None:
        in_hand = {*self._desk.units, *(other.lease.unit for other in self._leased)}
        if leased.lease.unit in in_hand and not self._stopping:
            return
        if self._stopping or len(in_hand) >= self._capacity:
            self._link.release([leased.lease.unit])
        else:
            self._leased.append(leased)

    def _obey(self, action: Action) -> None:
        log.info("order", extra={"action": action.value})
        match action:
            case Action.PAUSE:
                self._paused = True
            case Action.RESUME:
                self._paused = False
            case Action.DRAIN:
                self._stopping.set()
            case Action.RESET:
                self._link.release([*self._desk.units, *(leased.lease.unit for leased in self._leased)])
                self._leased.clear()
                self._outbox.clear()
                self._desk.forget()
        self._link.capacity(0 if self._paused or self._stopping else self._capacity)

    def _pack(self, finished: FinishedUnit) -> None:
        for rejection in finished.rejections:
            log.warning(
                "game rejected",
                extra={
                    "game": rejection.number, "source": rejection.source, "line": rejection.line,
                    "reason": rejection.reason.value, "detail": rejection.detail,
                },
            )  # fmt: skip
        for batch in finished.batches:
            header = BatchHeader(
                unit=batch.unit,
                agent=batch.agent,
                transitions=len(batch),
                games=finished.games,
                actor=self._name,
                host=socket.gethostname(),
                engine=finished.engine,
            )
            with span("encode", unit=batch.unit, agent=batch.agent):
                body = encode(batch)
            self._outbox.append(_Packed(header, body, time.time_ns()))

    def _record_lease(self, idle_since_ns: int | None) -> None:
        """Record how long a unit was waited for once one has come; None where none is waited for."""
        if idle_since_ns is not None and self._idle_since_ns is not None:
            idle_since_ns = self._idle_since_ns
        if idle_since_ns is not None and self._leased:
            record_span("lease", idle_since_ns, time.time_ns(), unit=self._leased[0].lease.unit)
            idle_since_ns = None
        self._idle_since_ns = idle_since_ns

    def _record_sent(self, packed: "_Packed") -> None:
        """Record how long a batch has waited for room, after the one before."""
        begin_ns = max(packed.packed_ns, self._sent_ns)
        self._sent_ns = time.time_ns()
        record_span("send", begin_ns, self._sent_ns, unit=packed.header.unit, agent=packed.header.agent)

    def _report(self) -> None:
        now_s = time.monotonic()
        interval_s = max(1e-3, now_s - self._report_s)
        stats = self._desk.stats()
        units = [*self._desk.units, *(leased.lease.unit for leased in self._leased)]
        report = ActorReport(
            positions=stats.positions,
            engine_positions=stats.engine_positions,
            engine_nodes=stats.engine_nodes or stats.engine_positions * self._nodes,
            cached_games=stats.cached_games,
            games=stats.games,
            transitions=stats.transitions,
            probes=stats.probes,
            units=stats.units,
            rejected=stats.rejected,
            engine_share=min(1.0, (stats.engine_busy_s - self._busy_s) / interval_s),
            lease_wait_share=min(1.0, self._waited_s / interval_s),
            engine_restarts=stats.engine_restarts,
            memory_bytes=self._process.memory_info().rss,
            engine_memory_bytes=_memory_of(self._desk.engine_pid),
            cpu_s=_cpu_s_of(self._process.pid) + _cpu_s_of(self._desk.engine_pid),
            weights={agent: weights.header.version for agent, weights in self._weights.items()},
            weights_age_s={agent: now_s - came_s for agent, came_s in self._weights_came_s.items()},
        )
        self._link.renew(units, report)
        if not self._stopping and not self._paused:
            self._link.capacity(self._capacity)
        self._report_s, self._busy_s, self._waited_s = now_s, stats.engine_busy_s, 0.0


@dataclass(frozen=True, slots=True)
class _Packed:
    """A batch that is to be sent."""

    header: BatchHeader
    body: bytes
    packed_ns: int
    """When it was packed, nanoseconds since 1970."""


def _memory_of(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid is not None else 0
    except psutil.Error:
        return 0


def _cpu_s_of(pid: int | None) -> float:
    """Return the processor time of a process and of its children that have ended, user and system."""
    try:
        return float(sum(psutil.Process(pid).cpu_times()[:4])) if pid is not None else 0.0
    except psutil.Error:
        return 0.0

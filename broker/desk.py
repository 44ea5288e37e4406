"""What a broker does on every transport: control, bookkeeping, upkeep, status. Owns no socket.

Made by the transport's broker (broker/router.py, broker/nats_broker.py), which feeds it what comes in, from one
thread, and sends what it is given to send.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from logging import getLogger

import psutil

from broker.bottleneck import bottleneck
from broker.control import Announced, Control, Leases, PublishedWeights, Reply, SendWeights
from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.registry import Registry
from common.leased_games import pack_games
from common.messages import AgentStatus, Role, Status
from common.trouble import is_told
from common.words import AgentName, Unit

log = getLogger(__name__)

LOOKED_AT_MAX = 1000
"""Units whose games are looked at in one tick: a fleet's window holds tens of thousands."""
MAX_REASONS = 100
"""Reasons under which dropped messages are counted; further ones are counted together."""


class Desk:
    """A broker without its transport."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        feed: UnitFeed,
        identity: dict[str, str],
        session: str,
        software: str,
        reply: Reply,
        leases: Leases,
        weights: PublishedWeights,
        send_weights: SendWeights,
        announced: Announced | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The last arguments but the clock are what `Control` takes."""
        self.dispatcher, self.feed, self.session = dispatcher, feed, session
        self._software, self._clock = software, clock
        self.registry = Registry(clock)
        self.dropped: Counter[str] = Counter()
        self.control = Control(
            dispatcher=dispatcher, leases=leases, registry=self.registry, feed=feed, weights=weights,
            identity=identity, session=session, reply=reply, send_weights=send_weights, announced=announced,
            drop=self.drop, status=self.status,
        )  # fmt: skip
        self._games: dict[Unit, bytes] = {}
        """Games of the units that some agent is still to get, as a lease carries them: read once, however often
        a unit is leased. No more than the window holds, and what a few ticks leave behind."""
        self._started_s = self._shared_s = clock()
        self._busy_s = self._share = 0.0
        self._process = psutil.Process()

    def drop(self, reason: str, detail: str = "", event: str = "message dropped") -> None:
        """Count a message that was dropped under its reason; tell of the 1st, 2nd, 4th, 8th, …"""
        if reason not in self.dropped and len(self.dropped) >= MAX_REASONS:
            reason = "other reasons"
        self.dropped[reason] += 1
        count = self.dropped[reason]
        if is_told(count):
            log.warning(event, extra={"reason": reason, "detail": detail, "count": count})

    def games_of(self, unit: Unit) -> bytes | None:
        """Return the unit's games as a lease carries them; None while they are being read."""
        games = self._games.get(unit)
        if games is None and (raw := self.feed.take(unit)) is not None:
            games = self._games[unit] = pack_games(raw.games)
        return games

    def worked(self, seconds: float) -> None:
        """Note how long the loop was busy."""
        self._busy_s += seconds

    def tick(self) -> None:
        """Do what is to be done now and then: about twice a second. Raises what reading the games raised."""
        now_s = self._clock()
        self._share = min(1.0, self._busy_s / max(1e-9, now_s - self._shared_s))
        self._busy_s, self._shared_s = 0.0, now_s
        self.feed.check()
        for service in self.registry.long_gone():
            self.control.lost(service, "silent for long")
        self._forget_games()
        if self.dispatcher.units_total is None and self.feed.units_total is not None:
            self.dispatcher.units_total = self.feed.units_total
            log.info("sources read", extra={"units": self.feed.units_total, "games": self.feed.games_total})
            for service in self.registry.of_role(Role.LEARNER):
                self.control.send(service.hello.session, self.control.totals())

    def _forget_games(self) -> None:
        """Forget games that nobody needs any more; of many, a part at a time, each in turn."""
        for unit in [*itertools.islice(self._games, LOOKED_AT_MAX)]:
            games = self._games.pop(unit)
            if self.dispatcher.needed(unit):
                self._games[unit] = games  # behind all others

    def status(self) -> Status:
        """Return how things stand."""
        held_back = bottleneck(self.dispatcher, self.registry, self._share)
        return Status(
            broker=self.session,
            software=self._software,
            uptime_s=self._clock() - self._started_s,
            units_total=self.feed.units_total,
            games_total=self.feed.games_total,
            games_cut=self.feed.games_cut,
            fraction_read=self.feed.fraction_read,
            services=self.registry.status(),
            agents=[self._agent_status(agent) for agent in self.dispatcher.ledgers],
            bottleneck=str(held_back),
            bottleneck_kind=held_back.kind,
            bottleneck_agents=[*held_back.agents],
            dropped=dict(self.dropped),
            broker_share=self._share,
            memory_bytes=self._process.memory_info().rss,
            finished=self.dispatcher.finished,
        )

    def _agent_status(self, agent: AgentName) -> AgentStatus:
        ledger = self.dispatcher.ledgers[agent]
        service = self.registry.of_session(ledger.session) if ledger.session else None
        report = service.learner if service else None
        state = "connected" if service is not None and self.registry.present(service) else "away"
        return AgentStatus(
            name=agent,
            learner=state if ledger.known else "never seen",
            leased=self.dispatcher.leased_for(agent),
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

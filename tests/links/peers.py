"""Actors and learners made of nothing but their links, and what came by them."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from common.intervals import IntervalSet
from common.links import (
    ActorEvent,
    ActorLink,
    CollectorLink,
    Delivered,
    LearnerEvent,
    LearnerLink,
    LeasedUnit,
    OperatorLink,
    Transport,
)
from common.messages import (
    ActorReport,
    AgentStatus,
    ArraySpec,
    BatchHeader,
    Hello,
    Interval,
    LearnerReport,
    LogRecord,
    Order,
    Role,
    ServiceStatus,
    StoredUnit,
    StoreTotals,
    WeightsHeader,
    Welcome,
)
from common.session import hello, new_session
from tests.until import until

AGENTS = ("white", "black")
IDENTITY = {"nodes": "1000", "reward": '"shaped"'}
"""Settings that are the broker's."""
ROWS = 100
"""Transitions of a batch."""
OFTEN_S = 0.05
"""Between two times that a peer says what it is to say about once a second."""


class Peer:
    """A link that says goodbye once; a test may do so before its end."""

    link: Any
    _closed = False

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.link.close()


class Actor(Peer):
    """An actor's link. While it `works`, its polls renew its leases, with progress."""

    def __init__(
        self,
        transport: Transport,
        name: str = "actor-0",
        identity: dict[str, str] = IDENTITY,
        capacity: int = 1,
        works: bool = False,
    ) -> None:
        self.name, self.session, self.works = name, new_session(), works
        self.positions = 0
        self.in_hand: dict[int, set[str]] = {}
        """Units leased, not given back and not done, with the agents whose batches are still to be sent."""
        self.makes = False
        """Whether it makes and sends the batches of each lease as it comes."""
        self._said_s = 0.0
        self.link: ActorLink = transport.actor(name, self.session, identity)
        self.link.capacity(capacity)
        self.events: list[ActorEvent] = []

    def poll(self) -> None:
        came = self.link.poll(0.01)
        self.events += came
        for lease in [event.lease for event in came if isinstance(event, LeasedUnit)]:
            self.in_hand.setdefault(lease.unit, set()).update(lease.agents)
        if self.works and time.monotonic() >= self._said_s + OFTEN_S:
            self._said_s = time.monotonic()
            self.renew([*self.in_hand], self.positions + 1)
        if self.makes:
            for unit, agents_ in [*self.in_hand.items()]:
                for agent in [*agents_]:
                    self._try(unit, agent)

    def wait(self, kind: type[ActorEvent], count: int = 1) -> list[ActorEvent]:
        return until(lambda: found if len(found := self.of(kind)) >= count else None, self.poll)

    def of(self, kind: type[ActorEvent]) -> list[ActorEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def leased(self) -> list[int]:
        """Units of the leases that came, in their order."""
        return [event.lease.unit for event in self.of(LeasedUnit)]

    def renew(self, units: Sequence[int], positions: int) -> None:
        self.positions = positions
        self.link.renew(units, ActorReport(positions=positions))

    def release(self, units: Sequence[int]) -> None:
        self.in_hand = {unit: agents_ for unit, agents_ in self.in_hand.items() if unit not in units}
        self.link.release(units)

    def send(self, unit: int, agent: str, body: bytes = b"batch") -> None:
        """Send a batch, as soon as there is room for it."""
        until(lambda: self._try(unit, agent, body), self.poll)

    def _try(self, unit: int, agent: str, body: bytes = b"batch") -> bool:
        header = BatchHeader(unit=unit, agent=agent, transitions=ROWS, games=2, actor=self.name)
        sent = self.link.send(header, body)
        if sent and unit in self.in_hand:
            self.in_hand[unit].discard(agent)
            if not self.in_hand[unit]:
                del self.in_hand[unit]
        return sent


class Learner(Peer):
    """A learner's link; what it has on its disk is in `units`. Once it has joined, its polls give credit."""

    def __init__(
        self,
        transport: Transport,
        agent: str,
        units: int = 0,
        name: str | None = None,
        identity: dict[str, str] = IDENTITY,
    ) -> None:
        self.agent, self.session, self.name = agent, new_session(), name or f"learner-{agent}"
        self.units = IntervalSet([(0, units - 1)] if units else [])
        self.trained, self.version = units, 0
        self.identity, self.hellos = identity, 0
        self.credit: int | None = None
        self.stores = False
        """Whether it stores and acknowledges what comes, and reports."""
        self._said_s = 0.0
        self.link: LearnerLink = transport.learner(agent, self.session, self.hello)
        self.events: list[LearnerEvent] = []

    @property
    def totals(self) -> StoreTotals:
        count = self.units.count
        return StoreTotals(units=count, transitions=ROWS * count, games_read=2 * count, games_used=2 * count)

    def hello(self) -> Hello:
        self.hellos += 1
        return hello(
            Role.LEARNER, self.name, self.session, agent=self.agent, settings=self.identity,
            stored=[Interval(first, last) for first, last in self.units], trained_units=self.trained,
            totals=self.totals,
        )  # fmt: skip

    def poll(self) -> None:
        came = self.link.poll(0.01)
        self.events += came
        if self.stores and (units := [event.header.unit for event in came if isinstance(event, Delivered)]):
            self.store(*units)
        if self.credit is not None and time.monotonic() >= self._said_s + OFTEN_S:
            self._said_s = time.monotonic()
            self.link.credit(self.credit)
            if self.stores:
                self.report()

    def wait(self, kind: type[LearnerEvent], count: int = 1) -> list[LearnerEvent]:
        return until(lambda: found if len(found := self.of(kind)) >= count else None, self.poll)

    def of(self, kind: type[LearnerEvent]) -> list[LearnerEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def join(self, credit: int = 8) -> "Learner":
        """Say hello, and give credit from now on."""
        self.wait(Welcome)
        self.credit = credit
        self.poll()
        return self

    def store(self, *units: int) -> None:
        said = [StoredUnit(unit=unit, transitions=ROWS, duplicate=not self.units.add(unit)) for unit in units]
        self.link.stored(said, self.totals)

    def weights(self, version: int, body: bytes = b"\x00" * 8) -> tuple[WeightsHeader, bytes]:
        return weights(self.agent, version, body, session=self.session)

    def report(self, *, finished: bool = False) -> None:
        self.link.report(
            LearnerReport(
                agent=self.agent, session=self.session, totals=self.totals, trained_units=self.trained,
                transitions_trained=ROWS * self.trained, step=self.trained, version=self.version, finished=finished,
            )
        )  # fmt: skip


class Collector(Peer):
    """A log collector's link, and the records that came."""

    def __init__(self, transport: Transport, name: str = "logs") -> None:
        self.link: CollectorLink = transport.collector(name, new_session())
        self.records: list[LogRecord] = []

    def poll(self) -> None:
        self.records += self.link.poll(0.01)


def weights(
    agent: str, version: int, body: bytes = b"\x00" * 8, *, session: str = "s"
) -> tuple[WeightsHeader, bytes]:
    header = WeightsHeader(
        agent=agent, session=session, version=version, step=7, network="mlp", size_bytes=len(body),
        arrays=[ArraySpec(name="w", dtype="float32", shape=[len(body) // 4])],
        sha256=hashlib.sha256(body).hexdigest(),
    )  # fmt: skip
    return header, body


def agents(operator: OperatorLink) -> dict[str, AgentStatus]:
    """How the agents stand, by name."""
    return {agent.name: agent for agent in operator.status(5.0).agents}


def services(operator: OperatorLink) -> dict[str, ServiceStatus]:
    """How the services stand, by name."""
    return {service.name: service for service in operator.status(5.0).services}


def settle(actor: Actor, operator: OperatorLink, action: str = "resume") -> None:
    """Have all that a broker had to send to an actor come to it: orders come after it.

    Two of them, since a broker may take in several messages before it leases.
    """
    for _ in range(2):
        seen = len(actor.of(Order))
        operator.command(action, [actor.name], 5.0)
        actor.wait(Order, seen + 1)

"""Short ways to drive a dispatcher in tests: messages, a clock, learners and actors by name."""

from dataclasses import dataclass, field

from broker.dispatcher import Dispatcher, Grant
from common.intervals import IntervalSet
from common.messages import BatchHeader, StoredUnit, StoreTotals

ROWS = 100
"""Transitions of every batch."""


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def header(unit: int, agent: str, actor: str = "a", transitions: int = ROWS) -> BatchHeader:
    return BatchHeader(unit=unit, agent=agent, transitions=transitions, games=1, actor=actor)


def totals(units: int) -> StoreTotals:
    return StoreTotals(units=units, transitions=units * ROWS, games_read=units, games_used=units)


def stored_unit(unit: int, *, duplicate: bool = False) -> StoredUnit:
    return StoredUnit(unit=unit, transitions=ROWS, duplicate=duplicate)


@dataclass
class Learner:
    """A learner's side of the books: what it has on disk, and what it says of it."""

    books: "Books"
    agent: str
    session: str
    units: IntervalSet = field(default_factory=IntervalSet)
    trained: int = 0

    def hello(self) -> int:
        return self.books.dispatcher.learner_joined(
            self.agent, self.session, IntervalSet(self.units), self.trained, totals(self.units.count)
        )

    def store(self, *units: int, acknowledge: bool = True) -> None:
        said = [stored_unit(unit, duplicate=not self.units.add(unit)) for unit in units]
        if acknowledge:
            self.books.dispatcher.acknowledged(self.agent, self.session, said, totals(self.units.count))

    def train(self, units: int) -> None:
        """Train on the units below `units`, stored by now."""
        self.store(*[unit for unit in range(units) if unit not in self.units])
        self.trained = units
        self.books.dispatcher.trained(self.agent, self.session, units)

    def credit(self, batches: int) -> bool:
        return self.books.dispatcher.credit(self.agent, self.session, batches)

    def deliveries(self) -> list[int]:
        """Units of the batches that are delivered now, within the credit."""
        found = []
        while (batch := self.books.dispatcher.next_delivery(self.agent)) is not None:
            found.append(batch.header.unit)
        return found


class Books:
    """A dispatcher with a clock. After every step, `check` holds the invariants that its docstrings promise."""

    kind: type[Dispatcher] = Dispatcher

    def __init__(self, *agents: str, ahead: int = 10, lease_s: float = 60.0, units: int | None = None) -> None:
        self.clock = Clock()
        self.dispatcher = self.kind(
            agents or ("white", "black"), max_units_ahead=ahead, lease_timeout_s=lease_s, clock=self.clock
        )
        self.dispatcher.units_total = units

    def learner(self, agent: str, session: str = "s1", units: int = 0, trained: int = 0) -> Learner:
        """A learner that has said hello with the first `units` stored."""
        learner = Learner(
            self, agent, f"{agent}-{session}", IntervalSet([(0, units - 1)] if units else []), trained
        )
        learner.hello()
        return learner

    def learners(self, units: int = 0, trained: int = 0) -> list[Learner]:
        return [self.learner(agent, units=units, trained=trained) for agent in self.dispatcher.ledgers]

    def actor(self, name: str, capacity: int = 1, session: str = "1", units: tuple[int, ...] = ()) -> None:
        self.dispatcher.actor_joined(name, f"{name}-{session}", units)
        self.dispatcher.capacity(name, capacity)

    def lease(self) -> list[Grant]:
        """Lease as the router does: while an actor wants a unit and one may be leased."""
        granted = []
        while (actor := self.dispatcher.next_actor()) is not None:
            unit = self.dispatcher.next_unit()
            if unit is None:
                break
            granted.append(self.dispatcher.grant(actor, unit))
            self.check()
        return granted

    def leased(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """Lease; return (actor, unit, agents) of each."""
        return [(grant.actor, grant.unit, grant.agents) for grant in self.lease()]

    def receive(self, unit: int, agent: str, actor: str = "a") -> bool:
        message = header(unit, agent, actor)
        assert self.dispatcher.expects(message)
        kept = self.dispatcher.received(message, (b"envelope", b"body"))
        self.check()
        return kept

    def check(self) -> None:
        check(self.dispatcher)


def check(dispatcher: Dispatcher) -> None:
    """Hold a dispatcher to the invariants that its docstrings promise."""
    covered: set[tuple[int, str]] = set()
    for actor in dispatcher.actors.values():
        for unit, lease in actor.leases.items():
            assert lease.agents, "a lease for nobody"
            for agent in lease.agents:
                assert (unit, agent) not in covered, "two live leases for one agent's unit"
                assert not dispatcher.ledgers[agent].has(unit), "a lease for what is there"
                covered.add((unit, agent))
    for ledger in dispatcher.ledgers.values():
        assert not [unit for unit in ledger.held if unit in ledger.stored]
        assert ledger.produced == ledger.transitions_stored + ledger.duplicates + ledger.in_flight
        assert ledger.under_way == sum(batch.sent_s is not None for batch in ledger.held.values())
        unsent = {unit for unit, batch in ledger.held.items() if batch.sent_s is None}
        assert unsent <= set(ledger.waiting), "a batch that would never be delivered"

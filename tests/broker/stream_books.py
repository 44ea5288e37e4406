"""Short ways to drive a dispatcher of a server's streams in tests, as tests/broker/books.py for the other."""

from collections.abc import Collection

from broker.stream_dispatcher import STREAM, Lost, StreamDispatcher
from common.nats.stock import Stock
from tests.broker.books import Books, header


class StreamBooks(Books):
    """Books whose units are leased to a stream. What lies there, and what is seen of it, the test says."""

    kind = StreamDispatcher
    dispatcher: StreamDispatcher

    def cut(self) -> list[tuple[int, tuple[str, ...]]]:
        """Put in the stream what may be, as the broker does; return unit and agents of each."""
        found = []
        while (unit := self.dispatcher.next_cut()) is not None:
            cut = self.dispatcher.cut(unit)
            assert cut.unit == unit
            found.append((unit, tuple(cut.agents)))
            self.check()
        return found

    def replaced(self) -> list[int]:
        """Put in the stream what may be; return the units that take the place of a message that is there."""
        found = []
        while (unit := self.dispatcher.next_cut()) is not None:
            if self.dispatcher.cut(unit).replaces:
                found.append(unit)
        return found

    def announce(self, unit: int, *agents: str, actor: str = "a") -> None:
        for agent in agents:
            self.dispatcher.announced(header(unit, agent, actor))
            self.check()

    def look(
        self,
        units: Collection[int] = (),
        batches: Collection[tuple[str, int]] = (),
        *,
        fetched: int = 0,
        idle: Collection[str] = (),
        on_their_way: Collection[int] = (),
    ) -> Lost:
        """Look at the streams: these units, so many of them fetched before, and batches lie there."""
        lost = self.dispatcher.seen(stock(units, batches, fetched=fetched, idle=idle), on_their_way)
        self.check()
        return lost

    def looks(self, seconds: float, *seen: Collection, fetched: int = 0, idle: Collection[str] = ()) -> list[int]:
        """Look every five seconds for so long, at the same each time; return the units that were lost."""
        lost: list[int] = []
        for _ in range(round(seconds / 5.0)):
            self.clock.advance(5.0)
            lost += self.look(*seen, fetched=fetched, idle=idle).units
        return lost

    @property
    def in_stream(self) -> dict[int, set[str]]:
        """Units that are in the stream for all that is known, with the agents that wait for them."""
        return {unit: set(lease.agents) for unit, lease in self.dispatcher.actors[STREAM].leases.items()}

    def check(self) -> None:
        check(self.dispatcher)


def stock(
    units: Collection[int], batches: Collection[tuple[str, int]], *, fetched: int, idle: Collection[str] = ()
) -> Stock:
    """What lies in the streams, with nothing in the object store."""
    return Stock(
        units=frozenset(units), batches=frozenset(batches), units_waiting=len(units) - fetched,
        idle=frozenset(idle), games=frozenset(),
    )  # fmt: skip


def check(dispatcher: StreamDispatcher) -> None:
    """Hold a dispatcher to the invariants that its docstrings promise."""
    leases = dispatcher.actors[STREAM].leases
    assert [*dispatcher.actors] == [STREAM]
    for unit, lease in leases.items():
        assert lease.agents, "a lease for nobody"
        assert not [agent for agent in lease.agents if dispatcher.ledgers[agent].has(unit)]
    for agent, ledger in dispatcher.ledgers.items():
        assert not [unit for unit in ledger.held if unit in ledger.stored]
        assert ledger.produced == ledger.transitions_stored + ledger.duplicates + ledger.in_flight
        for unit in range(dispatcher.window_end):
            leased = unit in leases and agent in leases[unit].agents
            to_be_cut = unit >= dispatcher._cursor or unit in dispatcher._queued
            assert ledger.has(unit) or leased or to_be_cut, f"unit {unit} of {agent} is forgotten"

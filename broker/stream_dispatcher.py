"""Which units are to lie in a server's stream, from which actors fetch them by themselves.

The server leases: a unit is out for as long as the stream has it. What is here decides which units are put there,
for which agents, and finds what was lost on the way. Pure, as the dispatcher is.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from broker.announced_ledger import AnnouncedLedger
from broker.dispatcher import ActorState, Dispatcher
from broker.patience import Patience
from common.errors import MessageError
from common.intervals import IntervalSet
from common.messages import BatchHeader, StoreTotals
from common.nats.stock import Stock
from common.words import AgentName, Unit

STREAM = "the stream"
"""In the place of an actor: it takes any number of units, and has them until their batches are known."""
NOBODYS_S = 10.0
"""After this long what nobody has is done again: actors say every second what they have."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A unit to be put into the stream."""

    unit: Unit
    agents: Sequence[AgentName]
    """Those that miss it."""
    replaces: bool
    """Whether it takes the place of the message of it that is there."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What a look at the streams has found lost."""

    units: Sequence[Unit]
    """To be done again."""
    passed_over: Sequence[tuple[AgentName, Unit]]
    """Batches that lie in the stream, and that the server never delivers: to be taken out of it."""


class StreamDispatcher(Dispatcher):
    """A dispatcher that leases to a stream alone.

    Invariant: a unit that some agent misses and that may be leased is in the stream, or on its way there, or is
    put there again once the stream was seen without it, and without its batches, for `lease_timeout_s`.
    """

    def __init__(
        self,
        agents: Sequence[AgentName],
        *,
        max_units_ahead: int,
        lease_timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            agents, max_units_ahead=max_units_ahead, lease_timeout_s=lease_timeout_s, clock=clock,
            make_ledger=AnnouncedLedger,
        )  # fmt: skip
        self._in_hand: dict[str, set[Unit]] = {}
        """Units that actors have, as they say."""
        self._stuck: set[Unit] = set()
        """Units whose message in the stream, if there is one yet, is no use: leased to an actor that has gone, or
        about to be acknowledged."""
        self.actors[STREAM] = ActorState(session="", capacity=sys.maxsize)
        self._learners: dict[AgentName, str] = {}
        """Session of each agent's last learner."""
        self._successors: list[AgentName] = []
        """Agents that have got another learner, or the first that this broker knows of."""
        self._nobodys_s = Patience[Unit](NOBODYS_S, clock)
        """Units that neither wait in the stream nor are in anybody's hands."""
        self._passed_over_s = Patience[tuple[AgentName, Unit]](NOBODYS_S, clock)
        """Batches that lie in the stream while nothing waits for their learner."""
        self._unseen_s = Patience[tuple[AgentName, Unit]](lease_timeout_s, clock)
        """Batches that were announced and are neither in the stream nor stored."""

    # Actors: the server knows what it has leased to them; what they say is for people -----------------

    def actor_joined(self, name: str, session: str, units: Iterable[Unit] = ()) -> None:
        """Note the units that an actor has in hand."""
        del session
        self._in_hand[name] = {*units}

    def actor_left(self, name: str) -> None:
        """Have what an actor had in hand put into the stream anew: there it is leased to one who is gone."""
        left = self._in_hand.pop(name, set())
        for unit in left.difference(*self._in_hand.values()) & self.actors[STREAM].leases.keys():
            self._put_anew(unit)

    def capacity(self, name: str, units: int) -> None:
        """Do nothing: it asks the server for as many."""

    def accept(self, name: str, accepting: bool) -> None:
        """Do nothing: it is told, and asks the server for no more."""

    def renewed(self, name: str, units: Iterable[Unit], positions: int) -> None:
        """Note the units that an actor has in hand; the server it tells itself that it gets on."""
        del positions
        self._in_hand[name] = {*units}

    def released(self, name: str, units: Iterable[Unit]) -> None:
        """Note that an actor has given units back."""
        self._in_hand.get(name, set()).difference_update(units)

    def leased_for(self, agent: AgentName) -> int:
        """Return how many units that an agent misses actors have in hand."""
        ledger = self.ledgers[agent]
        return len({unit for units in self._in_hand.values() for unit in units if not ledger.has(unit)})

    def holder(self, agent: AgentName, unit: Unit) -> tuple[str, float] | None:
        """Return which actor has a unit that an agent misses, and how long it has been in the stream."""
        leased = super().holder(agent, unit)
        names = [name for name, units in self._in_hand.items() if unit in units]
        return (names[0], leased[1]) if leased is not None and names else None

    # Learners -------------------------------------------------------------------------------------

    def learner_joined(
        self, agent: AgentName, session: str, stored: IntervalSet, trained_units: int, totals: StoreTotals
    ) -> int:
        """Take a learner's word; return how many units its store has lost since it was last here."""
        if self._learners.get(agent) != session:
            self._successors.append(agent)
        self._learners[agent] = session
        return super().learner_joined(agent, session, stored, trained_units, totals)

    def successors(self) -> list[AgentName]:
        """Return the agents whose learner is another one than when this was asked last.

        What was under way to the one before is to be delivered to it. It may be the same one, which a broker before
        this knew: then it gets some batches twice, and drops them.
        """
        found, self._successors = self._successors, []
        return found

    # The stream -----------------------------------------------------------------------------------

    def next_cut(self) -> Unit | None:
        """Return the unit that is to be put into the stream next; None while there is none."""
        return self.next_unit()

    def cut(self, unit: Unit) -> Cut:
        """Lease the unit that `next_cut` has given to the stream."""
        replaces = unit in self._stuck
        self._stuck.discard(unit)
        self.grant(STREAM, unit)
        waiting = self.actors[STREAM].leases[unit].agents  # also those for whom the message that is there was
        return Cut(unit=unit, agents=[agent for agent in self.ledgers if agent in waiting], replaces=replaces)

    def announced(self, header: BatchHeader) -> bool:
        """Take an actor's word that the stream has a batch; False for one that was there already.

        Raises MessageError for one that can't be of this run.
        """
        agent, unit = AgentName(header.agent), Unit(header.unit)
        ledger = self.ledgers.get(agent)
        if ledger is None or not (ledger.has(unit) or self.expects(header)):
            raise MessageError(f"batch not expected: unit {unit} for {agent}")
        return self.received(header, ())

    def seen(self, stock: Stock, on_their_way: Collection[Unit]) -> Lost:
        """Take in what lies in the streams now, and which units are still being put there; return what was lost.

        Of that, units are put there again, for the agents that miss them.
        """
        for agent, unit in stock.batches:
            ledger = self.ledgers.get(agent)
            if isinstance(ledger, AnnouncedLedger) and ledger.found(unit):
                self._settle(unit, agent)
        there = set(stock.units)
        passed_over = self._passed_over(stock)
        units = {unit for _, unit in passed_over}.union(
            self._lost_batches(stock.batches),
            self._lost_units(there.union(on_their_way)),
            self._nobodys(there.difference(on_their_way), stock.units_waiting),
        )
        return Lost(units=sorted(units), passed_over=sorted(passed_over))

    def declined(self, agent: AgentName, session: str, unit: Unit) -> bool:
        """Forget a batch that a learner can't use, and have its unit done again; False if there is none."""
        known = super().declined(agent, session, unit)
        if known:
            self._stuck.add(unit)
        return known

    def not_needed(self, units: Iterable[Unit]) -> list[Unit]:
        """Return those of the units that every agent has on disk."""
        return [unit for unit in units if not self.needed(unit)]

    def _lost_units(self, out: set[Unit]) -> list[Unit]:
        now_s, leases = self._clock(), self.actors[STREAM].leases
        end = max(self._done_and_ahead, self._cursor)
        for unit in out - leases.keys():  # a broker before this one put them there
            if not self._done_and_ahead or unit < end:
                self._adopt(STREAM, unit)
        lost = []
        for unit, lease in [*leases.items()]:
            if unit in out:
                lease.deadline_s = now_s + self._lease_timeout_s
            elif lease.deadline_s <= now_s:
                self._end(STREAM, unit)
                self._give_back(unit)
                lost.append(unit)
        return lost

    def _nobodys(self, there: set[Unit], waiting: int) -> list[Unit]:
        """Find the units that neither wait in the stream nor are in an actor's hands.

        Either they are leased to one that died before it said so, or that a server still remembers, or the server
        has passed over them (known of 2.9 to 2.12: nats-server#4736, #5799, #7680). It does not say which they are:
        they are the ones that lie there for longest.
        """
        leases, in_hand = self.actors[STREAM].leases, there.intersection(set().union(*self._in_hand.values()))
        others = sorted(there & leases.keys() - in_hand, key=lambda unit: (leases[unit].begun_s, unit))
        nobodys = others[: max(0, len(there) - waiting - len(in_hand))]
        lost = self._nobodys_s.over(nobodys)
        for unit in lost:
            self._put_anew(unit)
        return lost

    def _passed_over(self, stock: Stock) -> list[tuple[AgentName, Unit]]:
        lost = self._passed_over_s.over(batch for batch in stock.batches if batch[0] in stock.idle)
        for agent, unit in lost:
            self._do_again(agent, unit)
        return lost

    def _do_again(self, agent: AgentName, unit: Unit) -> None:
        self.ledgers[agent].decline(unit)
        self._give_back(unit)
        self._stuck.add(unit)

    def _put_anew(self, unit: Unit) -> None:
        self._end(STREAM, unit)
        self._give_back(unit)
        self._stuck.add(unit)

    def _lost_batches(self, lying: Collection[tuple[AgentName, Unit]]) -> list[Unit]:
        held = {(agent, unit) for agent, ledger in self.ledgers.items() for unit in ledger.held}
        lost = self._unseen_s.over(held.difference(lying))
        for agent, unit in lost:
            self._do_again(agent, unit)
        return [unit for _, unit in lost]

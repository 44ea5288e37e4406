"""Which units are to lie in a server's stream, from which actors fetch them by themselves.

The server leases: a unit is out for as long as the stream has it. What is here decides which units are put there,
for which agents, and finds what was lost on the way. Pure, as the dispatcher is.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from broker.announced_ledger import AnnouncedLedger
from broker.dispatcher import ActorState, Dispatcher
from common.errors import MessageError
from common.messages import BatchHeader
from common.words import AgentName, Unit

STREAM = "the stream"
"""In the place of an actor: it takes any number of units, and has them until their batches are known."""
NOBODYS_S = 10.0
"""After this long a lease that no actor knows of is taken back: actors say every second what they have."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A unit to be put into the stream."""

    unit: Unit
    agents: Sequence[AgentName]
    """Those that miss it."""
    replaces: bool
    """Whether it takes the place of the message of it that is there."""


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
        self._nobodys_s: dict[Unit, float] = {}
        """Units that seem to be leased to nobody that is there: since when."""
        self._unseen_s: dict[tuple[AgentName, Unit], float] = {}
        """Batches that were announced and are neither in the stream nor stored: since when."""

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

    # The stream -----------------------------------------------------------------------------------

    def next_cut(self) -> Unit | None:
        """Return the unit that is to be put into the stream next; None while there is none."""
        return self.next_unit()

    def cut(self, unit: Unit) -> Cut:
        """Lease the unit that `next_cut` has given to the stream."""
        replaces = unit in self._stuck
        self._stuck.discard(unit)
        return Cut(unit=unit, agents=self.grant(STREAM, unit).agents, replaces=replaces)

    def announced(self, header: BatchHeader) -> bool:
        """Take an actor's word that the stream has a batch; False for one that was there already.

        Raises MessageError for one that can't be of this run.
        """
        agent, unit = AgentName(header.agent), Unit(header.unit)
        ledger = self.ledgers.get(agent)
        if ledger is None or not (ledger.has(unit) or self.expects(header)):
            raise MessageError(f"batch not expected: unit {unit} for {agent}")
        return self.received(header, ())

    def seen(
        self,
        batches: Iterable[tuple[AgentName, Unit]],
        units: Iterable[Unit],
        leased: int,
        on_their_way: Collection[Unit],
    ) -> list[Unit]:
        """Take in what lies in the streams now, and what is still being put there; return the units that were lost.

        Those are put there again, for the agents that miss them. `leased` is how many of the units the server has
        delivered to somebody: lost are, too, those that nobody has.
        """
        lying = set(batches)
        for agent, unit in lying:
            ledger = self.ledgers.get(agent)
            if isinstance(ledger, AnnouncedLedger) and ledger.found(unit):
                self._settle(unit, agent)
        there = {*units}
        lost = {*self._lost_batches(lying), *self._lost_units(there.union(on_their_way))}
        return sorted(lost.union(self._lost_leases(there.difference(on_their_way), leased)))

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

    def _lost_leases(self, there: set[Unit], leased: int) -> list[Unit]:
        """Find leases that no actor knows of: of one that died before it said so, or that a server remembers.

        A server does not say which units they are: they are the ones that lie there for longest.
        """
        now_s, leases = self._clock(), self.actors[STREAM].leases
        in_hand = there.intersection(set().union(*self._in_hand.values()))
        others = sorted(there & leases.keys() - in_hand, key=lambda unit: (leases[unit].begun_s, unit))
        nobodys = others[: max(0, leased - len(in_hand))]
        self._nobodys_s = {unit: self._nobodys_s.get(unit, now_s) for unit in nobodys}
        lost = [unit for unit, since_s in self._nobodys_s.items() if since_s <= now_s - NOBODYS_S]
        for unit in lost:
            self._put_anew(unit)
        return lost

    def _put_anew(self, unit: Unit) -> None:
        self._end(STREAM, unit)
        self._give_back(unit)
        self._stuck.add(unit)

    def _lost_batches(self, lying: set[tuple[AgentName, Unit]]) -> list[Unit]:
        now_s = self._clock()
        unseen = {(agent, unit) for agent, ledger in self.ledgers.items() for unit in ledger.held} - lying
        self._unseen_s = {key: self._unseen_s.get(key, now_s) for key in unseen}
        lost = []
        for (agent, unit), since_s in self._unseen_s.items():
            if since_s <= now_s - self._lease_timeout_s:
                self.ledgers[agent].decline(unit)
                self._give_back(unit)
                self._stuck.add(unit)
                lost.append(unit)
        return lost

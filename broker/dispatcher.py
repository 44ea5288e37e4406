"""Who works on which unit for which agents: leasing, expiry, and the window that bounds it all.

Pure state with an injected clock: no sockets, no games, no numpy. The broker's service feeds it what
arrives and carries out what it answers; a model in the tests drives the very same code.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.ledger import HeldBatch, Ledger
from common.intervals import IntervalSet
from common.messages import BatchHeader, StoredUnit, StoreTotals
from common.words import AgentName, Unit


@dataclass(slots=True)
class LeaseState:
    """A unit in an actor's hands, for the agents whose batches have not come yet."""

    agents: set[AgentName]
    begun_s: float
    deadline_s: float
    """It runs out then, unless the actor makes progress before."""


@dataclass(slots=True)
class ActorState:
    """What the dispatcher knows of one actor."""

    session: str
    capacity: int = 0
    """Leases that it can hold."""
    positions: int = 0
    """Its progress counter at the last renewal."""
    accepting: bool = True
    """False while paused or draining."""
    leases: dict[Unit, LeaseState] = field(default_factory=dict)
    overdue: set[Unit] = field(default_factory=set)
    """Units that it was late with and, for all we know, still has in hand: they take up its room."""

    @property
    def has_room(self) -> bool:
        """Whether it is to have another unit."""
        return self.accepting and len(self.leases) + len(self.overdue) < self.capacity


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease to be sent."""

    actor: str
    unit: Unit
    agents: tuple[AgentName, ...]


MAX_LEASES = 64
"""Units that an actor can hold, whatever it says."""
STRAGGLER_TIMEOUTS = 10
"""Lease timeouts after which a unit is given to an actor that has nothing else to do, progress or not."""


class Dispatcher:
    """Leases units to actors so that every agent's learner gets each unit's batch.

    Invariants:
    - A unit is leased only for agents that neither have it, nor have it held here, nor under another lease.
    - No unit at or past `window_end` is leased: memory here and in the learners is bounded by it.
    - Nothing is leased until every agent's learner has said what it has.
    - A lease lives on only while its actor makes progress and still has the unit in hand. One that others wait
      for does not live on for ever.
    - An actor gets no unit beyond its capacity, counting those that it was late with until it lets go of them.
    """

    def __init__(
        self,
        agents: Sequence[AgentName],
        *,
        max_units_ahead: int,
        lease_timeout_s: float,
        redeliver_after_s: float = 30.0,
        make_ledger: Callable[[AgentName], Ledger] = Ledger,
        clock: Callable[[], float],
    ) -> None:
        self.ledgers = {agent: make_ledger(agent) for agent in agents}
        self.actors: dict[str, ActorState] = {}
        self.units_total: int | None = None
        self._ahead = max_units_ahead
        self._done_and_ahead = 0
        """End of the window, were there no end to the units; 0 until every learner has said what it has."""
        self._lease_timeout_s = lease_timeout_s
        self._redeliver_after_s = redeliver_after_s
        self._clock = clock
        self._holders: dict[Unit, set[str]] = {}
        """Actors with a lease of a unit."""
        self._turns: dict[str, None] = {}
        """Actors that want a unit, in turn: a dict for its order."""
        self._cursor = 0
        """Units from here on are to be looked at for leasing, one after another."""
        self._returned: list[Unit] = []
        """Heap of units that were given back: some agent may miss them."""
        self._queued: set[Unit] = set()
        """Members of `_returned`."""

    # Learners ------------------------------------------------------------------------------------

    def learner_joined(
        self,
        agent: AgentName,
        session: str,
        stored: IntervalSet,
        trained_units: int,
        totals: StoreTotals,
    ) -> int:
        """Take a learner's word; return how many units its store has lost since it was last here."""
        lost = self.ledgers[agent].join(session, stored, trained_units, totals)
        self._move_window()
        for unit in [unit for unit in self._holders if unit in stored]:
            self._settle(unit, agent)
        self._cursor = min(self._cursor, stored.first_missing())
        return lost

    def learner_left(self, agent: AgentName, session: str) -> None:
        """Note that a learner has gone."""
        if self.ledgers[agent].session == session:
            self.ledgers[agent].leave()

    def acknowledged(
        self, agent: AgentName, session: str, units: Sequence[StoredUnit], totals: StoreTotals
    ) -> None:
        """Note units that a learner has on disk; word from a session that was replaced is ignored."""
        ledger = self.ledgers[agent]
        if ledger.session == session:
            ledger.acknowledge(units, totals)
            for stored in units:
                self._settle(Unit(stored.unit), agent)
            self._move_window()

    def declined(self, agent: AgentName, session: str, unit: Unit) -> bool:
        """Forget a batch that a learner can't use, and lease its unit again; False if it is not held."""
        ledger = self.ledgers[agent]
        if ledger.session != session or not ledger.decline(unit):
            return False
        self._give_back(unit)
        return True

    def trained(self, agent: AgentName, session: str, trained_units: int) -> None:
        """Note how far a learner has trained; this moves the window."""
        ledger = self.ledgers[agent]
        if ledger.session == session:
            ledger.trained_units = max(ledger.trained_units, trained_units)
            self._move_window()

    def credit(self, agent: AgentName, session: str, batches: int) -> bool:
        """Let this many batches be under way at once; False from a session that is not the agent's."""
        ledger = self.ledgers[agent]
        if ledger.session != session:
            return False
        ledger.capacity = batches
        return True

    def next_delivery(self, agent: AgentName) -> HeldBatch | None:
        """Return the next batch to deliver to the agent's learner, within its credit."""
        return self.ledgers[agent].next_delivery(self._clock())

    def redeliver(self) -> int:
        """Queue deliveries again that were not acknowledged in time; return how many."""
        before_s = self._clock() - self._redeliver_after_s
        return sum(ledger.redeliver(before_s) for ledger in self.ledgers.values())

    # Batches -------------------------------------------------------------------------------------

    def received(self, header: BatchHeader, frames: Sequence[Any]) -> bool:
        """Take in a batch from an actor; False for one that is there already (counted as a duplicate)."""
        agent, unit = AgentName(header.agent), Unit(header.unit)
        kept = self.ledgers[agent].receive(header, frames)
        self._settle(unit, agent)
        return kept

    def expects(self, header: BatchHeader) -> bool:
        """Whether the batch is for an agent of this run and a unit that can have been leased.

        By this broker, that is, or by one before it: while a learner is still to say what it has, anything goes.
        Never is more than a window's worth held for an agent, not even when its learner came back with less, and
        what was leased before lies past the window.
        """
        ledger, unit = self.ledgers.get(AgentName(header.agent)), header.unit
        if ledger is None or (self.units_total is not None and unit >= self.units_total):
            return False
        leased = unit < max(self._done_and_ahead, self._cursor) or unit in self._holders
        room = len(ledger.held) < self._ahead or ledger.has(Unit(unit))
        return room and (leased or not self._done_and_ahead)

    # Actors --------------------------------------------------------------------------------------

    def actor_joined(self, name: str, session: str, units: Iterable[Unit] = ()) -> None:
        """Take an actor in; another session of the same name gives back what the one before held.

        `units` are those it has in hand from a broker that is gone: adopted where an agent misses them.
        """
        known = self.actors.get(name)
        if known is None or known.session != session:
            self.actor_left(name)
            self.actors[name] = ActorState(session=session)
        leases = self.actors[name].leases
        for unit in units:
            can_be = not self._done_and_ahead or unit < max(self._done_and_ahead, self._cursor)
            if unit not in leases and can_be and len(leases) < MAX_LEASES:
                self._adopt(name, unit)

    def actor_left(self, name: str) -> None:
        """Give back everything that an actor held."""
        if name not in self.actors:
            return
        self.released(name, list(self.actors[name].leases))
        del self.actors[name]
        self._turns.pop(name, None)

    def capacity(self, name: str, units: int) -> None:
        """Note how many leases an actor can hold."""
        self.actors[name].capacity = units
        self._take_turn(name)

    def accept(self, name: str, accepting: bool) -> None:
        """Let an actor have units, or (paused, draining) no more."""
        self.actors[name].accepting = accepting
        self._take_turn(name)

    def renewed(self, name: str, units: Iterable[Unit], positions: int) -> None:
        """Extend the leases that the actor has in hand, if it has made progress since the last time."""
        actor = self.actors[name]
        in_hand = set(units)
        if positions > actor.positions:
            deadline_s = self._clock() + self._lease_timeout_s
            for unit in in_hand & actor.leases.keys():
                actor.leases[unit].deadline_s = deadline_s
        actor.positions = positions
        if actor.overdue:
            actor.overdue &= in_hand
            self._take_turn(name)

    def released(self, name: str, units: Iterable[Unit]) -> None:
        """Give back units that an actor will not finish."""
        actor = self.actors[name]
        for unit in units:
            actor.overdue.discard(unit)
            if unit in actor.leases:
                self._end(name, unit)
                self._give_back(unit)
        self._take_turn(name)

    def expire(self) -> list[tuple[str, Unit]]:
        """End every lease whose time has run out; return (actor, unit) of each.

        The actor may work on: whichever batch of the unit comes first is taken.
        """
        now_s = self._clock()
        stragglers_s = now_s - STRAGGLER_TIMEOUTS * self._lease_timeout_s
        expired = [
            (name, unit)
            for name, actor in self.actors.items()
            for unit, lease in actor.leases.items()
            if lease.deadline_s <= now_s or (lease.begun_s <= stragglers_s and self._others_wait_for(name))
        ]
        for name, unit in expired:
            actor = self.actors[name]
            actor.capacity = 0  # no more for it until it speaks again
            actor.overdue.add(unit)
            self._end(name, unit)
            self._give_back(unit)
        return expired

    def _others_wait_for(self, name: str) -> bool:
        """Whether there is nothing to lease to actors that want a unit, others than this one."""
        return any(other != name for other in self._turns) and self.next_unit() is None

    # Leasing -------------------------------------------------------------------------------------

    @property
    def window_end(self) -> int:
        """First unit that may not be leased yet."""
        end = self._done_and_ahead
        return end if self.units_total is None else min(end, self.units_total)

    def _move_window(self) -> None:
        ledgers = self.ledgers.values()
        done = min(ledger.done_units for ledger in ledgers)
        self._done_and_ahead = done + self._ahead if all(ledger.known for ledger in ledgers) else 0

    @property
    def throttled(self) -> bool:
        """Whether actors wait because the window is full of units to be trained, not of leased ones."""
        at_end = self.units_total is not None and self.window_end >= self.units_total
        return self.next_unit() is None and not at_end and 2 * len(self._holders) < self._ahead

    @property
    def finished(self) -> bool:
        """Whether every agent has every unit and is trained on it."""
        total = self.units_total
        return total is not None and all(ledger.done_units >= total for ledger in self.ledgers.values())

    def next_unit(self) -> Unit | None:
        """Return the smallest unit that some agent misses and that may be leased now, without taking it."""
        end = self.window_end
        while self._returned and not self.missing(self._returned[0]):
            self._queued.discard(heapq.heappop(self._returned))
        while self._cursor < end and not self.missing(Unit(self._cursor)):
            stored_by_all = min(ledger.stored.first_missing(self._cursor) for ledger in self.ledgers.values())
            self._cursor = min(end, max(self._cursor + 1, stored_by_all))
        unit = min(self._returned[0] if self._returned else self._cursor, self._cursor)
        return Unit(unit) if unit < end else None

    def next_actor(self) -> str | None:
        """Return the actor that is next in turn, of those that want a unit."""
        return next(iter(self._turns), None)

    def grant(self, actor: str, unit: Unit) -> Grant:
        """Lease `unit`, as given by `next_unit`, to `actor`, as given by `next_actor`."""
        agents = self.missing(unit)
        if self._returned and self._returned[0] == unit:
            self._queued.discard(heapq.heappop(self._returned))
        if unit == self._cursor:
            self._cursor += 1
        self._begin(actor, unit, agents)
        self._turns.pop(actor, None)
        self._take_turn(actor)
        return Grant(actor=actor, unit=unit, agents=agents)

    def missing(self, unit: Unit) -> tuple[AgentName, ...]:
        """Return the agents that neither have the unit nor are about to get it from a live lease."""
        covered: set[AgentName] = set()
        for name in self._holders.get(unit, ()):
            covered |= self.actors[name].leases[unit].agents
        return tuple(
            agent for agent, ledger in self.ledgers.items() if agent not in covered and not ledger.has(unit)
        )

    def needed(self, unit: Unit) -> bool:
        """Whether some agent has not got the unit on disk, so that its games may be needed again."""
        return any(unit not in ledger.stored for ledger in self.ledgers.values())

    def leased_for(self, agent: AgentName) -> int:
        """Return how many units are under lease for an agent."""
        return sum(agent in lease.agents for actor in self.actors.values() for lease in actor.leases.values())

    def holder(self, agent: AgentName, unit: Unit) -> tuple[str, float] | None:
        """Return which actor has the unit under lease for an agent, and for how many seconds; None for nobody."""
        now_s = self._clock()
        for name in self._holders.get(unit, ()):
            lease = self.actors[name].leases[unit]
            if agent in lease.agents:
                return name, now_s - lease.begun_s
        return None

    def _adopt(self, name: str, unit: Unit) -> None:
        agents = self.missing(unit)
        if agents:
            self._begin(name, unit, agents)

    def _begin(self, name: str, unit: Unit, agents: Iterable[AgentName]) -> None:
        # The actor may hold the unit for other agents already.
        actor, now_s = self.actors[name], self._clock()
        actor.overdue.discard(unit)
        lease = actor.leases.setdefault(unit, LeaseState(agents=set(), begun_s=now_s, deadline_s=0.0))
        lease.agents.update(agents)
        lease.deadline_s = now_s + self._lease_timeout_s
        self._holders.setdefault(unit, set()).add(name)

    def _end(self, name: str, unit: Unit) -> None:
        holders = self._holders[unit]
        holders.discard(name)
        if not holders:
            del self._holders[unit]
        del self.actors[name].leases[unit]
        self._take_turn(name)

    def _settle(self, unit: Unit, agent: AgentName) -> None:
        for name in tuple(self._holders.get(unit, ())):
            lease = self.actors[name].leases[unit]
            lease.agents.discard(agent)
            if not lease.agents:
                self._end(name, unit)

    def _take_turn(self, name: str) -> None:
        if self.actors[name].has_room:
            self._turns.setdefault(name)
        else:
            self._turns.pop(name, None)

    def _give_back(self, unit: Unit) -> None:
        if unit < self._cursor and unit not in self._queued:
            self._queued.add(unit)
            heapq.heappush(self._returned, unit)

"""One agent's books: which units its learner has, which batches the broker holds for it, and the sums.

Owned by the dispatcher. Pure: no sockets, no clock. Bodies are kept as they came and never opened.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from common.intervals import IntervalSet
from common.messages import BatchHeader, StoredUnit, StoreTotals
from common.words import AgentName, Unit


@dataclass(slots=True)
class HeldBatch:
    """A batch that the broker keeps until the learner has said that it is on disk."""

    header: BatchHeader
    frames: Sequence[Any]
    """Envelope and body as the transport gave them, to be given back to it."""
    sent_s: float | None = None
    """Clock time of the last delivery; None while it waits for credit."""


@dataclass(slots=True)
class Ledger:
    """Books of one agent. Invariant: a unit is never both in `stored` and in `held`.

    Accounting, in transitions: `produced` = `transitions_stored` + `duplicates` + `in_flight`, at all times.
    `produced` follows from what actors say in their envelopes, `transitions_stored` from what the learner
    says of each unit; `totals`, the learner's own count, has to come to the same.
    """

    agent: AgentName
    session: str | None = None
    """Session of the learner that is connected."""
    known: bool = False
    """True once a learner has said what it has; nothing is leased before."""
    stored: IntervalSet = field(default_factory=IntervalSet)
    trained_units: int = 0
    totals: StoreTotals = field(default_factory=StoreTotals)
    """The learner's last word on its store; ahead of `stored` where an acknowledgement was lost."""
    transitions_stored: int = 0
    """Transitions in the units of `stored`."""
    held: dict[Unit, HeldBatch] = field(default_factory=dict)
    waiting: deque[Unit] = field(default_factory=deque)
    """Held units not delivered yet, first come first served; may name units that are no longer held."""
    capacity: int = 0
    """Credit: batches that may be under way to the learner at once."""
    under_way: int = 0
    """Batches sent and not acknowledged."""
    produced: int = 0
    duplicates: int = 0

    @property
    def in_flight(self) -> int:
        """Transitions with the broker or under way to the learner."""
        return sum(batch.header.transitions for batch in self.held.values())

    @property
    def closed(self) -> bool:
        """Whether transitions and games add up."""
        totals = self.totals
        games = totals.games_used + totals.games_unselected + sum(totals.rejected.values())
        accounted = self.transitions_stored + self.duplicates + self.in_flight
        comparable = totals.units == self.stored.count
        return (
            self.produced == accounted
            and totals.games_read == games
            and (not comparable or totals.transitions == self.transitions_stored)
        )

    @property
    def done_units(self) -> int:
        """Units 0 to this one (excluded) are stored and trained; a store that has lost units needs them again."""
        return min(self.trained_units, self.stored.first_missing())

    def has(self, unit: Unit) -> bool:
        """Whether the unit is stored, or held here on its way to be."""
        return unit in self.held or unit in self.stored

    def join(self, session: str, stored: IntervalSet, trained_units: int, totals: StoreTotals) -> int:
        """Take a learner's word for what it has; return by how many units its store has shrunk since."""
        lost = max(0, self.stored.count - stored.count) if self.known else 0
        arrived = 0
        for unit in [unit for unit in self.held if unit in stored]:
            arrived += self.held.pop(unit).header.transitions
        # What was made before this broker counted, or was lost since, moves `produced` along with the truth.
        self.produced += totals.transitions - self.transitions_stored - arrived
        self.transitions_stored = totals.transitions
        if self.session != session:
            self.capacity = 0
        self.session, self.known = session, True
        self.stored, self.trained_units, self.totals = stored, trained_units, totals
        self._queue_all()
        return lost

    def leave(self) -> None:
        """Note that the learner has gone; what was under way to it waits for the next one."""
        self.session, self.capacity = None, 0
        self._queue_all()

    def receive(self, header: BatchHeader, frames: Sequence[Any]) -> bool:
        """Keep a batch for delivery; return False for one that is there already."""
        unit = Unit(header.unit)
        self.produced += header.transitions
        if self.has(unit):
            self.duplicates += header.transitions
            return False
        self.held[unit] = HeldBatch(header=header, frames=frames)
        self.waiting.append(unit)
        return True

    def next_delivery(self, now_s: float) -> HeldBatch | None:
        """Return the next batch to send, within the learner's credit; None when there is none."""
        while self.session is not None and self.under_way < self.capacity and self.waiting:
            batch = self.held.get(self.waiting.popleft())
            if batch is not None and batch.sent_s is None:
                self.under_way += 1
                batch.sent_s = now_s
                return batch
        return None

    def not_delivered(self, batch: HeldBatch) -> None:
        """Put a batch back whose sending failed."""
        batch.sent_s = None
        self.under_way -= 1
        self.waiting.appendleft(Unit(batch.header.unit))

    def acknowledge(self, units: Sequence[StoredUnit], totals: StoreTotals) -> None:
        """Note that these units are on disk."""
        for stored in units:
            batch = self._drop(Unit(stored.unit))
            if self.stored.add(stored.unit):
                self.transitions_stored += stored.transitions
                if batch is None:  # delivered by a broker that is gone
                    self.produced += stored.transitions
        self.totals = totals

    def decline(self, unit: Unit) -> bool:
        """Forget a batch that the learner can't use, as if it had never come; False if it is not held."""
        batch = self._drop(unit)
        if batch is not None:
            self.produced -= batch.header.transitions
        return batch is not None

    def _drop(self, unit: Unit) -> HeldBatch | None:
        batch = self.held.pop(unit, None)
        if batch is not None and batch.sent_s is not None:
            self.under_way -= 1
        return batch

    def redeliver(self, before_s: float) -> int:
        """Queue again what was sent before `before_s` and never acknowledged; return how many."""
        late = [unit for unit, batch in self.held.items() if batch.sent_s is not None and batch.sent_s < before_s]
        for unit in late:
            self.held[unit].sent_s = None
            self.under_way -= 1
            self.waiting.append(unit)
        return len(late)

    def _queue_all(self) -> None:
        for batch in self.held.values():
            batch.sent_s = None
        self.under_way = 0
        self.waiting = deque(sorted(self.held))

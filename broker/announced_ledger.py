"""Books of batches that go past the broker: through a server's stream, from the actor to the learner.

The broker hears of a batch three ways, in any order and each of them perhaps never: its actor announces it, it is
found lying in the stream, its learner has it on disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.ledger import HeldBatch, Ledger
from common.messages import BatchHeader, StoredUnit, StoreTotals
from common.words import Unit

MAX_UNANNOUNCED = 100_000
"""Units whose actor may still say so; of more, a late word counts as a duplicate."""


@dataclass(slots=True)
class AnnouncedLedger(Ledger):
    """A ledger whose `held` are batches in the stream: nothing of them is here, and nothing is delivered."""

    unannounced: dict[Unit, None] = field(default_factory=dict)
    """Units found in the stream, or stored, before their actor has said that it made them."""

    def receive(self, header: BatchHeader, frames: Sequence[Any] = ()) -> bool:
        """Take an actor's word that the stream has a batch; return False for one that was there already."""
        unit = Unit(header.unit)
        expected = unit in self.unannounced
        self.unannounced.pop(unit, None)
        if self.has(unit) and not expected:
            self.produced += header.transitions
            self.duplicates += header.transitions
            return False
        if unit not in self.stored:  # else it was counted then
            self.produced += header.transitions
            self.held[unit] = HeldBatch(header, frames)
        return True

    def found(self, unit: Unit) -> bool:
        """Note a batch that lies in the stream; return False for one that is known."""
        if self.has(unit):
            return False
        # Of how many transitions, its actor will say, or else its learner.
        header = BatchHeader(unit=unit, agent=self.agent, transitions=0, games=0, actor="unknown")
        self.held[unit] = HeldBatch(header, ())
        self._expect_word_of(unit)
        return True

    def acknowledge(self, units: Sequence[StoredUnit], totals: StoreTotals) -> None:
        """Note that these units are on disk."""
        for stored in units:
            unit = Unit(stored.unit)
            batch = self.held.pop(unit, None)
            if not self.stored.add(unit):
                continue
            self.transitions_stored += stored.transitions
            self.produced += stored.transitions - (batch.header.transitions if batch is not None else 0)
            if batch is None:
                self._expect_word_of(unit)
        self.totals = totals

    def _expect_word_of(self, unit: Unit) -> None:
        self.unannounced[unit] = None
        while len(self.unannounced) > MAX_UNANNOUNCED:
            del self.unannounced[next(iter(self.unannounced))]

"""One batch to be stored: its body as it came, and what the store keeps of it in columns."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from common.batch import Batch
from common.words import Unit
from learner.origins import Origin

UNKNOWN = Origin()


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRecord:
    """A batch's body as it came, the counts that the accounting needs, and where it came from."""

    unit: Unit
    body: bytes
    """The encoded batch (see common.batch)."""
    transitions: int
    games_read: int
    games_used: int
    games_unselected: int
    """Games that the agent's query leaves out."""
    rejected: Mapping[str, int]
    """Games rejected, by reason."""
    origin: Origin = UNKNOWN

    @classmethod
    def of(cls, batch: Batch, body: bytes, origin: Origin = UNKNOWN) -> Self:
        """Return the record of `batch`, which came as `body` from `origin`."""
        return cls(
            unit=Unit(batch.unit),
            body=body,
            transitions=len(batch),
            games_read=batch.games_read,
            games_used=batch.games_used,
            games_unselected=batch.unselected,
            rejected=batch.rejected,
            origin=origin,
        )

    def row(self, now_s: float) -> tuple[int | float | str | bytes, ...]:
        """Return its row in the table of units, stored at `now_s`, seconds since 1970."""
        return (
            self.unit,
            self.transitions,
            self.games_read,
            self.games_used,
            self.games_unselected,
            json.dumps(dict(self.rejected), sort_keys=True),
            now_s,
            zlib.crc32(self.body),
            self.body,
        )

"""Units: runs of consecutive games, cut from the sources as they are asked for.

Called by the broker's leasing, from one thread. Unit numbers follow from the sources and the settings alone:
unit u holds the games u x games_per_unit up to (u + 1) x games_per_unit, the last unit what is left. It must
never hold more than the unit that it is cutting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from broker.sources import Games
from common.messages import RawGame
from common.words import Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class RawUnit:
    """One unit's games as text."""

    unit: Unit
    games: tuple[RawGame, ...]
    """1 to games_per_unit games, numbered consecutively over all sources."""


class UnitReader:
    """Reads the units of `sources` in order, again from the start where an earlier one is asked for.

    Asking for the next unit costs reading that unit; asking for one further on costs reading up to it; asking
    for an earlier one costs opening the sources again and reading up to it. Raises SourceError where a source
    can't be read.
    """

    def __init__(self, sources: Sequence[str | Path], games_per_unit: int, limit_games: int | None = None) -> None:
        self._sources = sources
        self._games_per_unit = games_per_unit
        self._limit_games = limit_games
        self._games = Games(sources)
        self._next = 0
        self._furthest_bytes = 0
        self._furthest_games = 0
        self.games_total: int | None = None
        """Games in all sources up to the limit; None until the end has been reached once."""

    @property
    def games_cut(self) -> int:
        """Games cut into units so far, at the furthest."""
        return self._furthest_games

    @property
    def units_total(self) -> int | None:
        """Units in all sources; None until the end has been reached once."""
        return None if self.games_total is None else -(-self.games_total // self._games_per_unit)

    @property
    def fraction_read(self) -> float:
        """Share of the games read so far, in [0, 1], by bytes on disk or by the limit; 1 at the end."""
        if self.games_total is not None:
            return 1.0
        by_bytes = self._furthest_bytes / max(1, self._games.size_bytes)
        by_limit = self._furthest_games / self._limit_games if self._limit_games else 0.0
        return min(1.0, max(by_bytes, by_limit))

    def get(self, unit: Unit) -> RawUnit | None:
        """Return the unit numbered `unit`, or None where the games end before it."""
        if self.units_total is not None and unit >= self.units_total:
            return None
        if unit < self._next:
            self.close()
        while self._next < unit:
            if not self._cut():
                return None
        games = self._cut()
        return RawUnit(unit=unit, games=games) if games else None

    def close(self) -> None:
        """Close the source that is open; asking for a unit opens the sources again."""
        self._games.close()
        self._games = Games(self._sources)
        self._next = 0

    def _cut(self) -> tuple[RawGame, ...]:
        """Read the next unit's games, none at the end; a short unit is the last."""
        wanted = self._games_per_unit
        if self._limit_games is not None:
            wanted = min(wanted, self._limit_games - self._next * self._games_per_unit)
        games = tuple(islice(self._games, wanted))
        if games:
            self._next += 1
            self._furthest_games = max(self._furthest_games, games[-1].number + 1)
        self._furthest_bytes = max(self._furthest_bytes, self._games.bytes_read)
        if len(games) < self._games_per_unit:
            self.games_total = games[-1].number + 1 if games else self._furthest_games
        return games

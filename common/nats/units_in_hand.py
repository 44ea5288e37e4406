"""The units that an actor has from the server: which, for whom, and where they are acknowledged. Pure."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

FINISHED_MAX = 1000


class Arrival(Enum):
    """What a unit that comes is to an actor."""

    NEW = "new"
    """Not in hand."""
    AGAIN = "again"
    """In hand: its lease ran out, and it came to the same actor again."""
    FINISHED = "finished"
    """Done: the word of it got lost."""


@dataclass(slots=True)
class _Unit:
    place: tuple[int, int]
    reply: str
    missing: set[str]
    """Agents whose batches the server does not have yet."""


class UnitsInHand:
    """Units leased to one actor. Invariant: a unit is acknowledged only once the server has all of its batches."""

    def __init__(self) -> None:
        self._units: dict[int, _Unit] = {}
        self._finished: OrderedDict[tuple[int, int], None] = OrderedDict()
        """Places in the stream of what was acknowledged last."""

    def __len__(self) -> int:
        return len(self._units)

    def __contains__(self, unit: int) -> bool:
        return unit in self._units

    def came(self, unit: int, agents: Iterable[str], place: tuple[int, int], reply: str) -> Arrival:
        """Take a unit in hand. `place` is what the message is called in its stream, for as long as that lives."""
        if place in self._finished:
            return Arrival.FINISHED
        held = self._units.get(unit)
        if held is not None and held.place == place:
            held.reply = reply
            return Arrival.AGAIN
        # Another message of a unit in hand: it was given back, or lost by the server, and published again.
        self._units[unit] = _Unit(place, reply, set(agents))
        return Arrival.NEW if held is None else Arrival.AGAIN

    def stored(self, unit: int, agent: str) -> str | None:
        """Note that the server has a batch; return where to acknowledge the unit if it was the last."""
        held = self._units.get(unit)
        if held is None:
            return None
        held.missing.discard(agent)
        if held.missing:
            return None
        del self._units[unit]
        self._finished[held.place] = None
        while len(self._finished) > FINISHED_MAX:
            self._finished.popitem(last=False)
        return held.reply

    def replies(self, units: Iterable[int]) -> list[str]:
        """Return where to say something of those of the units that are in hand."""
        return [self._units[unit].reply for unit in units if unit in self._units]

    def give_back(self, units: Sequence[int]) -> list[str]:
        """Let go of units; return where to say so."""
        found = self.replies(units)
        for unit in units:
            self._units.pop(unit, None)
        return found

    def all(self) -> list[int]:
        """Return the units in hand."""
        return list(self._units)

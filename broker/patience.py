"""Things that may be as they are for a while, and not for longer. Pure, with an injected clock."""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Patience(Generic[T]):
    """Remembers since when each thing has been so without a break."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """`seconds` are how long a thing may be so."""
        self._seconds, self._clock = seconds, clock
        self._since_s: dict[T, float] = {}

    def over(self, things: Iterable[T]) -> list[T]:
        """Take in the things that are so now; return those that have been for too long, and forget them."""
        now_s = self._clock()
        self._since_s = {thing: self._since_s.get(thing, now_s) for thing in things}
        found = [thing for thing, since_s in self._since_s.items() if since_s <= now_s - self._seconds]
        for thing in found:
            del self._since_s[thing]
        return found

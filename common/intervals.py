"""A set of unit numbers kept as intervals: what a learner has, in a few numbers."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class IntervalSet:
    """A set of non-negative ints; memory grows with its gaps, not with its members.

    Invariant: `_firsts` and `_lasts` are ascending, and a gap of at least one number lies between intervals.
    """

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(intervals):
            if first < 0 or last < first:
                raise ValueError(f"not an interval: {first}..{last}")
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    @property
    def count(self) -> int:
        """How many numbers are in the set; not `len`, which `list` would take for the number of intervals."""
        return sum(last - first + 1 for first, last in self)

    @property
    def intervals(self) -> int:
        """How many intervals it takes: what the set costs."""
        return len(self._firsts)

    def add(self, number: int) -> bool:
        """Add `number`; return False if it was there already."""
        at = bisect_right(self._firsts, number) - 1
        if at >= 0 and number <= self._lasts[at]:
            return False
        joins_left = at >= 0 and self._lasts[at] == number - 1
        joins_right = at + 1 < len(self._firsts) and self._firsts[at + 1] == number + 1
        if joins_left and joins_right:
            self._lasts[at] = self._lasts.pop(at + 1)
            self._firsts.pop(at + 1)
        elif joins_left:
            self._lasts[at] = number
        elif joins_right:
            self._firsts[at + 1] = number
        else:
            self._firsts.insert(at + 1, number)
            self._lasts.insert(at + 1, number)
        return True

    def first_missing(self, start: int = 0) -> int:
        """Return the smallest number >= `start` that is not in the set."""
        at = bisect_right(self._firsts, start) - 1
        return self._lasts[at] + 1 if at >= 0 and start <= self._lasts[at] else start

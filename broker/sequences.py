"""The numbers of log records by their source: which have come, and how many are missing.

Called by the log collector, also to learn from its files what the one before it wrote. What a sequence keeps in
memory is bounded, however a source counts.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import field

from common.intervals import IntervalSet
from common.log_lines import NUMBER, Time

MAX_GAPS = 100
"""Gaps of one source that late records can still fill."""


class NumberSequence:
    """Numbers of one source that have come; the oldest gaps are given up for lost when there are too many."""

    def __init__(self, numbers: Sequence[int] = (), begin: int = 0) -> None:
        """`numbers` have come, in any order; those before `begin` are taken for seen."""
        seen = IntervalSet(_intervals(sorted(numbers)))
        self._seen = IntervalSet([*seen, (0, begin - 1)]) if begin else seen
        """Numbers that have come, and those given up."""
        self._end = max(numbers, default=-1) + 1
        self._given_up = 0
        if self._seen.intervals > 2 * MAX_GAPS:
            self._give_up_oldest()

    @property
    def missing(self) -> int:
        """How many numbers have been passed over."""
        return self._end - self._seen.count + self._given_up

    @property
    def intervals(self) -> int:
        """How many intervals of numbers it remembers: what it costs."""
        return self._seen.intervals

    def take(self, number: int) -> bool:
        """Note a number; return False for one that came before, or too late."""
        self._end = max(self._end, number + 1)
        new = self._seen.add(number)
        if self._seen.intervals > 2 * MAX_GAPS:
            self._give_up_oldest()
        return new

    def _give_up_oldest(self) -> None:
        intervals = list(self._seen)
        later = intervals[-MAX_GAPS:]
        first = later[0][0]
        self._given_up += first - sum(last + 1 - begin for begin, last in intervals[:-MAX_GAPS])
        self._seen = IntervalSet([(0, first - 1), *later])


def _intervals(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield ascending numbers as runs of first and last."""
    first = last = -1
    for number in numbers:
        if number > last + 1 or first < 0:
            if first >= 0:
                yield first, last
            first = number
        last = number
    if first >= 0:
        yield first, last


class _Instance(msgspec.Struct):
    service: str = field(name="service.name")
    instance: str = field(name="service.instance.id", default="")


class _Number(msgspec.Struct):
    number: int = field(name=NUMBER)


class _Written(msgspec.Struct):
    """What tells a written record from all others, and when it was made."""

    time: Time = field(name="Timestamp")
    resource: _Instance = field(name="Resource")
    attributes: _Number = field(name="Attributes")


class _WrittenBefore(msgspec.Struct):
    """The same in a line from before protocol version 3."""

    time: Time
    source: str
    number: int


_decoder = msgspec.json.Decoder(_Written)
_decoder_before = msgspec.json.Decoder(_WrittenBefore)


def sequences_in(kinds: Iterable[tuple[Sequence[Path], bool]]) -> dict[str, NumberSequence]:
    """Return what has come of each source.

    `kinds` are the files of each kind of record, the oldest first, and whether older ones are gone. What is gone
    was made before the last record of the oldest file that is left: so what a source counted up to then counts as
    seen. Gaps that came later are gaps.
    """
    kinds = list(kinds)
    unknown = max((_last_time(files[0]) for files, older_gone in kinds if older_gone), default=None)
    numbers: dict[str, array[int]] = {}
    begins: dict[str, int] = {}
    for files, _ in kinds:
        for source, number, time in _written(files):
            if source not in numbers:
                numbers[source] = array("q")
            numbers[source].append(number)
            if unknown is not None and time > unknown:
                begins[source] = min(number, begins.get(source, number))
    return {
        source: NumberSequence(found, 0 if unknown is None else begins.get(source, max(found) + 1))
        for source, found in numbers.items()
    }


def _last_time(path: Path) -> datetime:
    """Return when the last of a file's records was made; the end of all time where it has none."""
    return max((time for _, _, time in _written([path])), default=datetime.max.replace(tzinfo=UTC))


def _written(files: Iterable[Path]) -> Iterator[tuple[str, int, datetime]]:
    for path in files:
        with path.open("rb") as lines:
            for line in lines:
                written = _decoded(line)
                if written is not None and 0 <= written[1] < 2**63:
                    yield written


def _decoded(line: bytes) -> tuple[str, int, datetime] | None:
    """Return source, number and time of a record; None for a line that is none: cut off, mostly."""
    try:
        written = _decoder.decode(line)
        resource = written.resource
        source = f"{resource.service}.{resource.instance}" if resource.instance else resource.service
        return source, written.attributes.number, written.time
    except (ValueError, RecursionError):
        try:
            before = _decoder_before.decode(line)
        except (ValueError, RecursionError):
            return None
        return before.source, before.number, before.time

"""The last log records, as the lines of JSON that they are: searched for the page, handed out as they stand.

Each gets a number, `id`, which rises by one and is the dashboard's own: pages ask for what came before one.
Kept as text, a record takes less memory than decoded, and none is ever encoded again.
Appended to by one thread and searched by others.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from common.log_lines import SEVERITY_NUMBERS, LogLine, encode_line

MAX_RECORDS = 100_000
MAX_BYTES = 256 * 1024 * 1024
MAX_PAGE = 1_000
"""Records of one answer."""
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Of one answer; a record that is larger by itself comes alone."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it is kept."""

    number: int
    severity: int
    service: str
    text: bytes
    """The line as a JSON object, with `id` before its other fields."""
    said: bytes
    """What a search looks in."""

    @property
    def size_bytes(self) -> int:
        """What it takes, but for Python's own."""
        return len(self.text) + len(self.said)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogQuery:
    """Which records are wanted: the newest of those that are all of this."""

    severity: int = 0
    """OpenTelemetry's number of the least severe level."""
    services: frozenset[str] = frozenset()
    """Names of processes; none means all."""
    text: str = ""
    """Stands in the event, in a field, in the name of the process or of the logger, in whatever case."""
    before: int | None = None
    """Only records with a lower number."""
    limit: int = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a query found."""

    records: list[Record]
    """The newest first."""
    more: bool
    """Whether there may be older ones: the answer is as long as it may be."""


class LogRing:
    """The last MAX_RECORDS records, or as many of them as MAX_BYTES hold."""

    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._records: deque[Record] = deque()
        self._max_records, self._max_bytes = max_records, max_bytes
        self._bytes = 0
        self._next = 1
        self._names: dict[str, str] = {}
        self.by_severity: dict[str, int] = dict.fromkeys(SEVERITY_NUMBERS, 0)
        """Records taken since the start, by level."""

    def __len__(self) -> int:
        return len(self._records)

    @property
    def size_bytes(self) -> int:
        """Text held."""
        return self._bytes

    def take(self, line: LogLine, text: bytes | None = None) -> Record:
        """Keep a record; `text` is it as it stands in the file."""
        if text is None or not text.startswith(b'{"Timestamp"'):
            text = encode_line(line)
        record = Record(
            self._next,
            line.severity_number,
            self._names.setdefault(line.service, line.service) if len(self._names) < 10_000 else line.service,
            b'{"id":%d,' % self._next + text[1:],
            _said(line),
        )
        self._next += 1
        self._bytes += record.size_bytes
        self._records.append(record)
        while len(self._records) > self._max_records or self._bytes > self._max_bytes:
            self._bytes -= self._records.popleft().size_bytes
        self.by_severity[line.severity] = self.by_severity.get(line.severity, 0) + 1
        return record

    def services(self) -> list[str]:
        """Return the names of the processes that have said anything, sorted."""
        return sorted(self._names.copy())

    def find(self, query: LogQuery) -> Found:
        """Return the newest records that are wanted: so many, and MAX_PAGE_BYTES, at most."""
        records = tuple(self._records)  # a copy of references: the ring goes on meanwhile
        end = len(records)
        if query.before is not None and records:
            end = max(0, min(end, query.before - records[0].number))
        wanted = (
            record
            for record in islice(reversed(records), len(records) - end, None)
            if record.severity >= query.severity and (not query.services or record.service in query.services)
        )
        if query.text:
            words = query.text.casefold().encode(errors="replace")
            wanted = (record for record in wanted if words in record.said)
        limit = min(query.limit, MAX_PAGE)
        found = bounded(islice(wanted, limit + 1), MAX_PAGE_BYTES)
        return Found(records=found.records[:limit], more=found.more or len(found.records) > limit)


def bounded(records: Iterable[Record], max_bytes: int) -> Found:
    """Return the first of the records, as many as `max_bytes` hold and one at least."""
    found: list[Record] = []
    size_bytes = 0
    for record in records:
        size_bytes += len(record.text)
        if found and size_bytes > max_bytes:
            return Found(records=found, more=True)
        found.append(record)
    return Found(records=found, more=False)


def _said(line: LogLine) -> bytes:
    """Return what a record says, for a search in whatever case."""
    fields = (f"{key}={value}" for key, value in line.attributes.items())
    return "\n".join((line.event, line.service, line.host, line.logger, *fields)).casefold().encode()


def json_list(records: list[Record] | tuple[Record, ...]) -> bytes:
    """Return records as a JSON array."""
    return b"[" + b",".join(record.text for record in records) + b"]"

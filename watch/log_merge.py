"""Log files of several hosts put in order of time, each record once: an external merge sort.

A collector's file is in order of coming, which differs from order of time where records waited for a collector. So
lines are sorted a run at a time, and the runs merged; those that memory has no room for wait in temporary files.
"""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from operator import itemgetter
from typing import IO, Annotated

import msgspec
from msgspec import Meta, field

from common.errors import SettingsError
from common.log_lines import NUMBER, LogLines, decode_line, encode_line

RUN_BYTES = 32 * 1024 * 1024
"""Lines sorted at once; with what Python adds to them they take about twice that."""

_Entry = tuple[datetime, str, bytes]
"""When, which record (its source and number; empty where it has none), and its line."""


class _Resource(msgspec.Struct):
    service: str = field(name="service.name")
    instance: str = field(name="service.instance.id", default="")


class _Attributes(msgspec.Struct):
    number: int | None = field(name=NUMBER, default=None)


class _Stamp(msgspec.Struct):
    """What has to be known of a line to put it in its place."""

    time: Annotated[datetime, Meta(tz=True)] = field(name="Timestamp")
    resource: _Resource = field(name="Resource")
    attributes: _Attributes = field(name="Attributes", default_factory=_Attributes)


_decoder = msgspec.json.Decoder(_Stamp)


class LogMerge:
    """The lines of several sources in order of time; iterate once."""

    def __init__(self, sources: Iterable[LogLines], run_bytes: int = RUN_BYTES) -> None:
        self._sources, self._run_bytes = sources, run_bytes
        self.damaged = 0
        """Lines left out because they are none."""
        self.duplicates = 0
        """Lines left out because the same record came before."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield lines, each without its line feed. Raises OSError where a file can't be read or put aside."""
        with ExitStack() as stack:
            seen: set[str] = set()
            at: datetime | None = None
            for time, record, text in self._ordered(stack):
                if time != at:
                    at = time
                    seen.clear()
                if record and record in seen:
                    self.duplicates += 1
                    continue
                seen.add(record)
                yield text

    def _ordered(self, stack: ExitStack) -> Iterator[_Entry]:
        runs: list[_Run] = []
        held: list[_Entry] = []
        size = 0
        for source in self._sources:
            for entry in self._entries(source):
                held.append(entry)
                size += len(entry[2])
                if size >= self._run_bytes:
                    self._put_aside(held, runs, stack)
                    size = 0
            self.damaged += source.damaged
        held.sort(key=itemgetter(0))
        return heapq.merge(*runs, held, key=itemgetter(0))

    @staticmethod
    def _put_aside(held: list[_Entry], runs: list["_Run"], stack: ExitStack) -> None:
        """Write what is held behind the last run where it is all later, else as a new one."""
        held.sort(key=itemgetter(0))
        if not runs or held[0][0] < runs[-1].last:
            runs.append(_Run(stack.enter_context(_temporary_file())))
        try:
            runs[-1].add(held)
        except OSError as error:
            raise _no_room(error) from error
        held.clear()

    def _entries(self, source: LogLines) -> Iterator[_Entry]:
        for text in source.texts():
            try:
                yield _entry(text.rstrip(b"\n"))
            except ValueError:
                self.damaged += 1


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> SettingsError:
    return SettingsError(
        f"{tempfile.gettempdir()}: can't be written: {error.strerror or error}; make room there or set TMPDIR"
    )


class _Run:
    """Lines in order of time in a temporary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = datetime.min

    def add(self, entries: list[_Entry]) -> None:
        self._file.writelines(text + b"\n" for _, _, text in entries)
        self._file.flush()
        self.last = entries[-1][0]

    def __iter__(self) -> Iterator[_Entry]:
        self._file.seek(0)
        return (_entry(text.rstrip(b"\n")) for text in self._file)


def _entry(text: bytes) -> _Entry:
    """Return a line with its place; one of the version before is renewed. Raises ValueError for no line."""
    try:
        stamp = _decoder.decode(text)
    except msgspec.ValidationError:
        text = encode_line(decode_line(text))
        stamp = _decoder.decode(text)
    number = stamp.attributes.number
    record = "" if number is None else f"{stamp.resource.service}.{stamp.resource.instance}.{number}"
    return stamp.time, record, text

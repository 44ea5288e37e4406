"""One log record as a line of JSON in OpenTelemetry's log data model: what a log collector writes and others read.

    {"Timestamp": "2026-11-22T02:56:19.331204Z", "SeverityText": "INFO", "SeverityNumber": 9,
     "EventName": "lease ran out", "Body": "lease ran out",
     "Resource": {"service.name": "broker", "service.instance.id": "7cb1…", "host.name": "north"},
     "InstrumentationScope": {"name": "broker.dispatcher"},
     "Attributes": {"unit": 12, "log.record.number": 17}}

`DIR/logs/rookery.jsonl` holds log records and `DIR/logs/trace.jsonl` spans and game samples (common/tracing.py);
each is rotated to `.1`, `.2`, …. Field names: opentelemetry.io/docs/specs/otel/logs/data-model, those with dots its
semantic conventions. Pure but for the files it reads.
"""

import gzip
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from glob import escape
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import zstandard
from msgspec import Meta, field

from common.messages import LogRecord

SEVERITY_NUMBERS = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
"""OpenTelemetry's number of each level, of 1 to 24."""
NUMBER = "log.record.number"
STACKTRACE = "exception.stacktrace"
LOG_FILE = "rookery.jsonl"
TRACE_FILE = "trace.jsonl"
MAX_LINE_BYTES = 8 * 1024 * 1024
"""More than the largest record makes: 1 MiB on the wire, of which JSON may need six bytes for each."""

BUFFER_BYTES = 1024 * 1024

Value = str | int | float | bool | None
Time = Annotated[datetime, Meta(tz=True)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Resource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which process said it."""

    service: str = field(name="service.name")
    """Name of the process: actor-0, learner-white, broker."""
    instance: str = field(name="service.instance.id", default="")
    """The session: drawn anew at each start of the process."""
    host: str = field(name="host.name", default="")
    """Name of its host, where it is known."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the process said it."""

    name: str
    """The logger's name."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One log record of a service; python names stand for OpenTelemetry's."""

    time: Time = field(name="Timestamp")
    """To the microsecond, UTC."""
    severity: str = field(name="SeverityText")
    """DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    severity_number: int
    """SEVERITY_NUMBERS of it: the higher, the worse."""
    event: str = field(name="EventName")
    """The stable name of what happened."""
    body: str
    resource: Resource
    scope: Scope = field(name="InstrumentationScope")
    attributes: dict[str, Value] = {}
    """The record's fields, its number and, where there is one, its stack trace."""

    @property
    def service(self) -> str:
        """Name of the process."""
        return self.resource.service

    @property
    def instance(self) -> str:
        """Session of the process; empty where it is not known."""
        return self.resource.instance

    @property
    def host(self) -> str:
        """Name of the host; empty where it is not known."""
        return self.resource.host

    @property
    def source(self) -> str:
        """What the record's number counts for: service and session."""
        return f"{self.service}.{self.instance}" if self.instance else self.service

    @property
    def logger(self) -> str:
        """Name of the logger, as `broker.dispatcher`."""
        return self.scope.name

    @property
    def number(self) -> int | None:
        """The record's number in its source, from 0."""
        value = self.attributes.get(NUMBER)
        return value if isinstance(value, int) else None

    @property
    def error(self) -> str | None:
        """The stack trace, where there is one."""
        value = self.attributes.get(STACKTRACE)
        return value if isinstance(value, str) else None

    @property
    def fields(self) -> dict[str, Value]:
        """The record's own fields: the attributes without number and stack trace."""
        return {key: value for key, value in self.attributes.items() if key not in (NUMBER, STACKTRACE)}


class _OldLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line as it was written before protocol version 3."""

    time: Time
    level: str
    source: str
    number: int
    logger: str
    event: str
    fields: dict[str, Value] = {}
    error: str | None = None


def service_and_instance(source: str) -> tuple[str, str]:
    """Return the name and the session of the process that a record's `source` stands for."""
    service, _, instance = source.rpartition(".")
    return (service, instance) if service else (instance, "")


def line_of(record: LogRecord) -> LogLine:
    """Return the line that is written of a record."""
    service, instance = service_and_instance(record.source)
    attributes: dict[str, Value] = {**record.fields, NUMBER: record.number}
    if record.error:
        attributes[STACKTRACE] = record.error
    return LogLine(
        time=time_of(record.time_ns),
        severity=record.level,
        severity_number=SEVERITY_NUMBERS[record.level],
        event=record.event,
        body=record.event,
        resource=Resource(service=service, instance=instance, host=record.host),
        scope=Scope(name=record.logger),
        attributes=attributes,
    )


def time_of(time_ns: int) -> datetime:
    """Return the moment `time_ns` nanoseconds after 1970, UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LogLine)
_old_decoder = msgspec.json.Decoder(_OldLine)


def encode_line(line: LogLine) -> bytes:
    """Return a line as one JSON object, without a line feed; a number that is none becomes null."""
    return _encoder.encode(line)


def decode_line(text: bytes) -> LogLine:
    """Return the line that `text` is, also one of the version before; raises ValueError for anything else."""
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.ValidationError as error:
        try:
            return _renewed(_old_decoder.decode(text))
        except (msgspec.ValidationError, RecursionError):
            raise error from None


def line_or_none(text: bytes) -> LogLine | None:
    """Return the line that `text` is as `decode_line` does; None where it is damaged."""
    try:
        return decode_line(text)
    except ValueError:
        return None


def _renewed(old: _OldLine) -> LogLine:
    service, instance = service_and_instance(old.source)
    attributes = {**old.fields, NUMBER: old.number} | ({STACKTRACE: old.error} if old.error else {})
    return LogLine(
        time=old.time,
        severity=old.level,
        severity_number=SEVERITY_NUMBERS.get(old.level, 0),
        event=old.event,
        body=old.event,
        resource=Resource(service=service, instance=instance),
        scope=Scope(name=old.logger),
        attributes=attributes,
    )


class LogLines:
    """The lines of a log file; `read_log_lines` makes it. Each `iter` reads anew."""

    def __init__(self, paths: Callable[[], list[Path]], where: Callable[[bytes], object] | None = None) -> None:
        """`paths` returns the files, in order; only lines that `where` is true of are decoded."""
        self._paths, self._where = paths, where
        self.damaged = 0
        """Lines skipped so far: cut off, too long, or no log lines."""

    def __iter__(self) -> Iterator[LogLine]:
        for text in self.texts():
            if (line := line_or_none(text)) is None:
                self.damaged += 1
            else:
                yield line

    def texts(self) -> Iterator[bytes]:
        """Yield the lines undecoded; those that are too long are damaged."""
        with ExitStack() as stack:
            for file in self._opened(stack):
                yield from self._texts_of(file)

    def _opened(self, stack: ExitStack) -> list[BinaryIO]:
        """Open the files, again and again until none is new, as they may be rotated meanwhile; the oldest first."""
        files: dict[tuple[int, int], BinaryIO] = {}
        newest_first: list[tuple[int, int]] = []
        while True:
            known = len(files)
            found: list[tuple[int, int]] = []
            for path in reversed(self._paths()):
                with suppress(FileNotFoundError), ExitStack() as opened:  # there is none, or no more
                    raw = opened.enter_context(path.open("rb", buffering=BUFFER_BYTES))
                    about = os.fstat(raw.fileno())
                    found.append((about.st_dev, about.st_ino))
                    if found[-1] not in files:
                        files[found[-1]] = _decompressed(raw, path.suffix)
                        stack.push(opened.pop_all())
            # What a rotation hides from a listing is the oldest of it.
            newest_first = list(dict.fromkeys([*found, *newest_first]))
            if len(files) == known:
                return [files[file] for file in reversed(newest_first)]

    def _texts_of(self, file: BinaryIO) -> Iterator[bytes]:
        for text in whole_lines(file):
            if text is None:
                self.damaged += 1
            elif self._where is None or self._where(text):
                yield text


def read_log_lines(path: Path, *, rotated: bool = True, where: Callable[[bytes], object] | None = None) -> LogLines:
    """Return the lines of a log file after those of the files that it was rotated to, oldest first.

        lines = read_log_lines(directory / "logs" / LOG_FILE)
        for line in lines: ...
        lines.damaged       # how many were skipped

    `rotated` False leaves the others out. Lines of which `where` is not true are passed over undecoded: for speed.
    `path` may be compressed (.zst, .gz). A missing file has no lines.
    Iterating raises OSError where one can't be read, EOFError, zstandard.ZstdError or zlib.error where a compressed
    one is damaged.
    """
    return LogLines(lambda: rotated_files(path) if rotated else [path], where)


def rotated_files(path: Path) -> list[Path]:
    """Return the files that `path` was rotated to, the oldest first, and `path` last; those that are there."""
    numbered = {
        int(number): other
        for other in path.parent.glob(f"{escape(path.name)}.*")
        if (number := other.name.removeprefix(f"{path.name}.")).isdecimal()
    }
    older = [numbered[number] for number in sorted(numbered, reverse=True)]
    return [*older, path] if path.exists() else older


def _decompressed(raw: BinaryIO, suffix: str) -> BinaryIO:
    if suffix == ".gz":
        return gzip.open(raw, "rb")  # type: ignore[return-value]
    if suffix != ".zst":
        return raw
    reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return io.BufferedReader(reader, BUFFER_BYTES)


def whole_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of a file, each with its line feed; None for one over MAX_LINE_BYTES, which is passed over.

    A last line without a line feed comes, too: as it is.
    """
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None

"""Logging of every service: lines on standard error, and every record to the log collectors.

Records get their number before they are queued, so a lost one leaves a gap that the collector counts. A
thread of its own owns the outlet. While no collector listens, records wait in a bounded file beside the run
and are sent when one comes, also by a later process of the same name.
"""

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from socket import gethostname
from typing import BinaryIO, TextIO

from common import wire
from common.errors import MessageError, OperatorError
from common.journal import is_journal, with_priority
from common.links import LogOutlet, Transport
from common.messages import LogRecord
from common.verbosity import Verbosity
from common.whole_file import append_whole

SPOOL_LIMIT_BYTES = 16 * 1024 * 1024
TRACE_SHARE = 0.25
"""Of the spool, at most, for spans and game samples, which would else crowd out the records."""
QUEUE_RECORDS = 20_000
MAX_TEXT_CHARACTERS = 65536
MAX_FIELD_CHARACTERS = 8192
MAX_FIELDS = 256
FIELDS = "rookery_fields"
"""Key of `extra` for a dictionary of fields, which may have names that a record of `logging` has itself."""
TRACE = "trace"
"""The logger of spans and game samples: shipped at any level or not at all, and never shown."""
_LEVELS = (
    (logging.CRITICAL, "CRITICAL"), (logging.ERROR, "ERROR"), (logging.WARNING, "WARNING"),
    (logging.INFO, "INFO"),
)  # fmt: skip
"""Levels on the wire, highest first; what lies between belongs to the one below."""
_PLAIN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", FIELDS}
_LENGTH_BYTES = 4


class LineFormatter(logging.Formatter):
    """`time LEVEL service: event key=value …`, for people."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{clock} {record.levelname:<7} {self._service}: {self._text(record)}"

    def _text(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={_plain(value)}" for key, value in fields_of(record).items())
        line = f"{record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JournalFormatter(LineFormatter):
    """`<priority>event key=value …`, for systemd's journal, which knows the time and the service itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record, each line with its priority before it."""
        return with_priority(self._text(record), record.levelno)


def console_formatter(stream: TextIO, service: str, environment: Mapping[str, str] = os.environ) -> LineFormatter:
    """Return how records are written to `stream`, which may be the journal."""
    return JournalFormatter(service) if is_journal(stream, environment) else LineFormatter(service)


Field = str | int | float | bool | None


def fields_of(record: logging.LogRecord) -> dict[str, Field]:
    """Return what was given as `extra`."""
    named = ((key, value) for key, value in record.__dict__.items() if key not in _PLAIN)
    extra = chain(named, record.__dict__.get(FIELDS, {}).items())
    return {_text(key, 256): _field(value) for key, value in islice(extra, MAX_FIELDS)}


def message_of(record: logging.LogRecord, source: str, number: int, host: str = "") -> LogRecord:
    """Return a record as the message that carries it; what no message can carry is cut or spelled out."""
    return LogRecord(
        source=source,
        host=host,
        number=number,
        time_ns=max(0, int(record.created * 1e9)),
        level=next((name for least, name in _LEVELS if record.levelno >= least), "DEBUG"),
        logger=_text(record.name, 256),
        event=_text(record.getMessage()),
        fields=fields_of(record),
        error=_text(logging.Formatter().formatException(record.exc_info)) if record.exc_info else None,
    )


def _field(value: object) -> Field:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)  # numpy's is one of Python's, but no message takes it
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    return _text(str(value), MAX_FIELD_CHARACTERS)


def _text(text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    # Lone surrogates, as in file names that are not UTF-8, are spelled out.
    return text[:limit].encode(errors="backslashreplace").decode()[:limit]


class Spool:
    """A bounded file of packed records that nobody has taken yet. Invariant: whole records only.

    Spans and game samples have a share of it at most; records may have all of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.empty = not path.exists()
        self.dropped = 0
        self._trace_bytes: int | None = None
        """Of spans and game samples in the file; None where an earlier process may have left some."""

    def extend(self, frames: Sequence[bytes]) -> None:
        """Keep records; those that the file has no room for, or that can't be written, are counted as dropped."""
        kept: list[bytes] = []
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b", buffering=0) as file:
                kept, trace_bytes = self._fitting(frames, file)
                append_whole(file.fileno(), b"".join(kept))
                self._trace_bytes = trace_bytes
                self.empty = self.empty and not kept
        except OSError:
            kept.clear()
        self.dropped += len(frames) - len(kept)

    def _fitting(self, frames: Sequence[bytes], file: BinaryIO) -> tuple[list[bytes], int]:
        """Return the records that there is room for, as they are written, and the bytes of spans with them."""
        room = SPOOL_LIMIT_BYTES - file.tell()
        kept: list[bytes] = []
        if self._trace_bytes is None:
            file.seek(0)
            self._trace_bytes = sum(_LENGTH_BYTES + len(frame) for frame in _read_frames(file) if _is_trace(frame))
        trace_bytes = self._trace_bytes
        for frame in frames:
            size = _LENGTH_BYTES + len(frame)
            traced = size if _is_trace(frame) else 0
            if traced and trace_bytes + traced > TRACE_SHARE * SPOOL_LIMIT_BYTES:
                continue
            room, trace_bytes = room - size, trace_bytes + traced
            if room < 0:
                return kept, trace_bytes - traced
            kept.append(len(frame).to_bytes(_LENGTH_BYTES, "big") + frame)
        return kept, trace_bytes

    def take(self) -> list[bytes]:
        """Return all records and empty the file."""
        self.empty = True
        try:
            with self._path.open("rb") as file:
                frames = list(_read_frames(file))
            self._path.unlink()
            self._trace_bytes = 0
        except OSError:
            return []
        return frames


def _is_trace(frame: bytes) -> bool:
    try:
        return bool(wire.decode(frame, LogRecord).logger == TRACE)
    except MessageError:
        return False  # an older release's


def _read_frames(file: BinaryIO) -> list[bytes]:
    frames = []
    while len(head := file.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        length = int.from_bytes(head, "big")
        frame = file.read(min(length, SPOOL_LIMIT_BYTES))
        if len(frame) != length:
            break  # cut off when the process died
        frames.append(frame)
    return frames


class ShippingHandler(logging.Handler):
    """Numbers records and hands them to a thread that publishes them; spans whatever its level is."""

    def __init__(
        self, make_outlet: Callable[[], LogOutlet], source: str, spool: Path, level: str = "debug"
    ) -> None:
        super().__init__()
        self.least = logging.getLevelName(level.upper())
        """Least severe level shipped."""
        self.addFilter(lambda record: record.name == TRACE or record.levelno >= self.least)
        self._source = source
        self._host = _text(gethostname(), 255)
        self._number = 0
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUE_RECORDS)
        self._spool = Spool(spool)
        self._make_outlet = make_outlet
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Number a record and queue it; a full queue drops it, which shows as a gap."""
        try:
            frame = wire.encode(message_of(record, self._source, self._number, self._host))
            self._number += 1
            self._queue.put_nowait(frame)
        except queue.Full:
            pass
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Send or keep what is queued, then end the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout=5.0)
        super().close()

    def _run(self) -> None:
        try:
            outlet = self._make_outlet()
        except OperatorError:
            self._keep_all()  # the service itself says what is wrong with the address
            return
        running = True
        while running:
            frames, running = self._next_frames()
            ready = outlet.ready()
            if ready and not self._spool.empty:
                frames = self._spool.take() + frames
            for at, frame in enumerate(frames):
                if not ready or not outlet.send(frame):
                    self._spool.extend(frames[at:])
                    break
        outlet.close()

    def _keep_all(self) -> None:
        running = True
        while running:
            frames, running = self._next_frames()
            self._spool.extend(frames)

    def _next_frames(self) -> tuple[list[bytes], bool]:
        """Wait a moment for records; return them and whether to go on."""
        frames: list[bytes] = []
        try:
            frame = self._queue.get(timeout=0.1)
            while frame is not None:
                frames.append(frame)
                frame = self._queue.get_nowait()
        except queue.Empty:
            return frames, True
        return frames, False


class Logging:
    """Context manager that sets up a service's logging and takes it down last of all."""

    def __init__(
        self,
        *,
        service: str,
        session: str,
        level: str,
        transport: Transport | None,
        spool: Path,
        console: bool = True,
        verbosity: Verbosity = Verbosity.NORMAL,
        trace: bool = False,
    ) -> None:
        """`verbosity` is the console's alone; `trace` has spans shipped; without a transport nothing is."""
        self._handlers: list[logging.Handler] = []
        self._service, self._session, self._level = service, session, level
        self._transport, self._spool = transport, spool
        self._verbosity = verbosity if console else None
        self._trace = trace and transport is not None
        self._levels_before: dict[logging.Logger, int] = {}

    def __enter__(self) -> "Logging":
        root, trace = logging.getLogger(), logging.getLogger(TRACE)
        self._levels_before = {logger: logger.level for logger in (root, trace)}
        trace.setLevel(logging.DEBUG if self._trace else logging.CRITICAL + 1)
        if self._verbosity is not None:
            self._handlers.append(_Console(self._service, self._verbosity))
        if self._transport is not None:
            source, outlet = f"{self._service}.{self._session}", self._transport.log_outlet
            self._handlers.append(ShippingHandler(outlet, source, self._spool, self._level))
        for handler in self._handlers:
            root.addHandler(handler)
        set_level(self._level)
        return self

    def __exit__(self, *exception: object) -> None:
        for handler in reversed(self._handlers):
            logging.getLogger().removeHandler(handler)
            handler.close()
        for logger, level in self._levels_before.items():
            logger.setLevel(level)


class _Console(logging.StreamHandler[TextIO]):
    """Writes what is for people to standard error."""

    def __init__(self, service: str, verbosity: Verbosity) -> None:
        super().__init__(sys.stderr)
        self.verbose = verbosity is Verbosity.VERBOSE
        """Whether it shows everything, whatever is shipped."""
        self.setFormatter(console_formatter(sys.stderr, service))
        self.setLevel(logging.WARNING if verbosity is Verbosity.QUIET else logging.NOTSET)
        self.addFilter(lambda record: record.name != TRACE)


def set_level(level: str) -> None:
    """Log from `level` on, which is a setting's: at once, but for consoles that are quiet or verbose."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, ShippingHandler):
            handler.least = logging.getLevelName(level.upper())
    verbose = any(isinstance(handler, _Console) and handler.verbose for handler in root.handlers)
    root.setLevel(logging.DEBUG if verbose else level.upper())


def spool_path(directory: Path, service: str) -> Path:
    """Return where a service's records wait for a collector."""
    return directory / "logs" / "spool" / service


def _plain(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if text.isprintable() and " " not in text else repr(text)

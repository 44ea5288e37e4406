"""What a log collector does with records: numbers checked, one JSONL file with rotation, console lines.

Pure but for the files it writes. Gaps in a source's numbers are counted and reported, never silent.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from common.intervals import IntervalSet
from common.messages import LogRecord

ROTATE_BYTES = 64 * 1024 * 1024
KEEP_FILES = 8


class Written(msgspec.Struct):
    """What tells a written record from all others."""

    source: str
    number: int


class Sequence:
    """Numbers of one source that have come; memory grows with its gaps."""

    def __init__(self) -> None:
        self._seen = IntervalSet()
        self._end = 0

    @property
    def missing(self) -> int:
        """How many numbers have been passed over."""
        return self._end - self._seen.count

    def take(self, number: int) -> bool:
        """Note a number; return False for one that came before."""
        self._end = max(self._end, number + 1)
        return self._seen.add(number)

    def begin_at(self, number: int) -> None:
        """Take the numbers before this one for seen."""
        if number:
            self._seen = IntervalSet([*self._seen, (0, number - 1)])


class Collector:
    """Writes records to `DIR/logs/rookery.jsonl` and, asked for, to a plain file per service.

    Starts from what the files hold, so that a collector that is started anew neither misses nor repeats what the
    one before it wrote.
    """

    def __init__(self, directory: Path, *, per_service: bool = False) -> None:
        self._directory = directory
        self._per_service = per_service
        self._file = RotatingFile(directory / "rookery.jsonl")
        self._plain: dict[str, RotatingFile] = {}
        self._sequences = _sequences_in(self._file.files())
        self.records = 0
        self.duplicates = 0

    @property
    def missing(self) -> int:
        """Records whose numbers have been passed over, of all sources."""
        return sum(sequence.missing for sequence in self._sequences.values())

    def missing_by_source(self) -> dict[str, int]:
        """Return the number of missing records for each source that misses any."""
        return {source: sequence.missing for source, sequence in self._sequences.items() if sequence.missing}

    def take(self, record: LogRecord) -> bool:
        """Write a record; False for one that was written before."""
        if not self._sequences.setdefault(record.source, Sequence()).take(record.number):
            self.duplicates += 1
            return False
        self.records += 1
        self._file.write(to_json(record))
        if self._per_service:
            service = record.source.rsplit(".", 1)[0]
            if service not in self._plain:
                self._plain[service] = RotatingFile(self._directory / f"{_file_name(service)}.log")
            self._plain[service].write(to_line(record))
        return True

    def flush(self) -> None:
        """Write through to the files."""
        for file in (self._file, *self._plain.values()):
            file.flush()

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, *self._plain.values()):
            file.close()


class RotatingFile:
    """A text file that is renamed to `.1`, `.2`, … when it has grown to `ROTATE_BYTES`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b")
        if self._file.tell():
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":  # cut off when the process died
                self._file.write(b"\n")

    def files(self) -> list[Path]:
        """Return the files that there are, the oldest first, the one that is written to last."""
        older = [self._numbered(number) for number in range(KEEP_FILES, 0, -1)]
        return [path for path in older if path.exists()] + [self._path]

    def write(self, line: str) -> None:
        """Append a line."""
        self._file.write(line.encode() + b"\n")
        if self._file.tell() >= ROTATE_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(KEEP_FILES - 1, 0, -1):
            if self._numbered(number).exists():
                self._numbered(number).replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))
        self._file = self._path.open("a+b")

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush, sync and close; more than once does nothing."""
        if self._file.closed:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _sequences_in(files: list[Path]) -> dict[str, Sequence]:
    decoder = msgspec.json.Decoder(Written)
    sequences: dict[str, Sequence] = {}
    firsts: dict[str, int] = {}
    for path in files:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    written = decoder.decode(line)
                except msgspec.DecodeError:
                    continue  # cut off
                sequences.setdefault(written.source, Sequence()).take(written.number)
                firsts[written.source] = min(written.number, firsts.get(written.source, written.number))
    if len(files) > KEEP_FILES:  # what is older was rotated away
        for source, first in firsts.items():
            sequences[source].begin_at(first)
    return sequences


def to_json(record: LogRecord) -> str:
    """Return a record as one line of JSON."""
    content: dict[str, object] = {
        "time": _time(record),
        "level": record.level,
        "service": record.source.rsplit(".", 1)[0],
        "source": record.source,
        "number": record.number,
        "logger": record.logger,
        "event": record.event,
    }
    if record.fields:
        content["fields"] = record.fields
    if record.error:
        content["error"] = record.error
    # Not json.dumps: it writes NaN, which no other JSON reader takes.
    return msgspec.json.encode(content).decode()


def to_line(record: LogRecord) -> str:
    """Return a record as a line for people."""
    fields = "".join(f" {key}={value}" for key, value in record.fields.items())
    service = record.source.rsplit(".", 1)[0]
    return f"{_time(record)} {record.level:<7} {service}: {record.event}{fields}"


def _time(record: LogRecord) -> str:
    moment = datetime.fromtimestamp(record.time_ns / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _file_name(service: str) -> str:
    return "".join(char if char.isalnum() or char in "-_@." else "_" for char in service).lstrip(".") or "_"

"""What a log collector does with records: numbers checked, written to JSONL files with rotation.

Log records go to one file, spans and game samples (common/tracing.py) to another; the lines are those of
common/log_lines.py. Pure but for the files it writes. Gaps in a source's numbers are counted and reported, never
silent. What it keeps in memory is bounded, whatever sources there are and however they count. While the disk is
full or fails, records wait there, so many and no more; what there is no room for counts as missing.
"""

import os
from contextlib import ExitStack, suppress
from pathlib import Path

from broker.sequences import NumberSequence, sequences_in
from common.log_lines import LOG_FILE, TRACE_FILE, encode_line, line_of
from common.log_text import text_of
from common.logs import TRACE
from common.messages import LogRecord
from common.whole_file import append_whole

ROTATE_BYTES = 64 * 1024 * 1024
KEEP_FILES = 8
WAITING_BYTES = 8 * 1024 * 1024
"""Lines that may wait in memory for a disk that takes none."""
WRITE_BYTES = 256 * 1024
"""Lines are written once there are so many, and at each flush."""
MAX_SOURCES = 10_000
"""Sources whose numbers are followed; of more, the one silent for longest is forgotten."""
MAX_PLAIN_FILES = 500
"""Services with a plain file of their own; the others share OTHERS."""
OTHERS = "other-services"
MAX_MISSING = 2**53


class Collector:
    """Writes records to `DIR/logs/rookery.jsonl`, spans to `trace.jsonl`, and, asked for, a plain file per service.

    Starts from what the files hold, so that a collector that is started anew neither misses nor repeats what the
    one before it wrote.
    """

    def __init__(self, directory: Path, *, per_service: bool = False) -> None:
        self._directory = directory
        self._per_service = per_service
        self._records = RotatingFile(directory / LOG_FILE)
        self._trace = RotatingFile(directory / TRACE_FILE)
        self._plain: dict[str, RotatingFile] = {}
        files = [file.files() for file in (self._records, self._trace)]
        self._sequences = sequences_in((found, len(found) > KEEP_FILES) for found in files)
        self._missing_of_forgotten = 0
        self.records = 0
        self.duplicates = 0
        self.dropped = 0
        """Records that there was no room for, on the disk or in memory; they are missing, too."""

    @property
    def missing(self) -> int:
        """Records whose numbers have been passed over, of all sources."""
        missing = sum(sequence.missing for sequence in self._sequences.values())
        return min(MAX_MISSING, self._missing_of_forgotten + missing)

    def missing_by_source(self) -> dict[str, int]:
        """Return the number of missing records for each source that misses any."""
        return {source: sequence.missing for source, sequence in self._sequences.items() if sequence.missing}

    def take(self, record: LogRecord) -> bool:
        """Write a record; False for one that was written before, or that there is no room for."""
        file = self._trace if record.logger == TRACE else self._records
        if file.waiting_bytes >= WAITING_BYTES:
            self.dropped += 1
            return False
        if not self._sequence(record.source).take(record.number):
            self.duplicates += 1
            return False
        self.records += 1
        line = line_of(record)
        file.write(encode_line(line))
        if self._per_service and file is self._records:
            with suppress(OSError):  # no room for a new file: the line is in the other one
                self._plain_file(line.service).write(text_of(line).encode())
        return True

    def _sequence(self, source: str) -> NumberSequence:
        found = self._sequences.pop(source, None)
        if found is None:
            if len(self._sequences) >= MAX_SOURCES:  # the one that has been silent for longest is forgotten
                self._missing_of_forgotten += self._sequences.pop(next(iter(self._sequences))).missing
            found = NumberSequence()
        self._sequences[source] = found
        return found

    def _plain_file(self, service: str) -> "RotatingFile":
        if service not in self._plain and len(self._plain) >= MAX_PLAIN_FILES:
            service = OTHERS
        if service not in self._plain:
            self._plain[service] = RotatingFile(self._directory / f"{_file_name(service)}.log")
        return self._plain[service]

    def flush(self) -> None:
        """Write through to the files; raises OSError, with what could not be written kept for the next time."""
        failure: OSError | None = None
        for file in (self._records, self._trace, *self._plain.values()):
            try:
                file.flush()
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Write through, sync and close; raises OSError where that fails, with all files closed."""
        with ExitStack() as stack:
            for file in (self._records, self._trace, *self._plain.values()):
                stack.callback(file.close)


class RotatingFile:
    """A text file that is renamed to `.1`, `.2`, … when it has grown to `ROTATE_BYTES`.

    Invariants: a line is written whole or not at all; lines that can't be written wait, WAITING_BYTES of them.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, made where it is missing; raises OSError when it can't be written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._waiting: list[bytes] = []
        self.waiting_bytes = 0
        self._file = _open(path)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":  # cut off when the process died
            self._add(b"\n")

    def files(self) -> list[Path]:
        """Return the files that there are, the oldest first, the one that is written to last."""
        older = [self._numbered(number) for number in range(KEEP_FILES, 0, -1)]
        return [path for path in older if path.exists()] + [self._path]

    def write(self, line: bytes) -> None:
        """Append a line, with a flush or before; one that there is no more room for is left out."""
        if self.waiting_bytes < WAITING_BYTES:
            self._add(line + b"\n")
        if self._size + self.waiting_bytes >= ROTATE_BYTES or self.waiting_bytes >= WRITE_BYTES:
            with suppress(OSError):  # the next flush says so
                self.flush()

    def flush(self) -> None:
        """Hand what was written to the operating system; raises OSError, with the lines kept, where it fails."""
        content = b"".join(self._waiting)
        append_whole(self._file, content)
        self._size += len(content)
        self._waiting.clear()
        self.waiting_bytes = 0
        if self._size >= ROTATE_BYTES:
            self._rotate()

    def close(self) -> None:
        """Flush, sync and close; more than once does nothing. Raises OSError where that fails: closed it is."""
        if self._file < 0:
            return
        try:
            self.flush()
            os.fsync(self._file)
        finally:
            os.close(self._file)
            self._file = -1

    def _add(self, content: bytes) -> None:
        self._waiting.append(content)
        self.waiting_bytes += len(content)

    def _rotate(self) -> None:
        if self._path.exists():  # else it was renamed, and then there was no room for the next one
            for number in range(KEEP_FILES - 1, 0, -1):
                if self._numbered(number).exists():
                    self._numbered(number).replace(self._numbered(number + 1))
            self._path.replace(self._numbered(1))
        new = _open(self._path)
        os.close(self._file)
        self._file, self._size = new, 0

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def _file_name(service: str) -> str:
    return "".join(char if char.isalnum() or char in "-_@." else "_" for char in service).lstrip(".") or "_"

"""The lines that come to a log file, through its rotations: what the dashboard reads while the collector writes.

Owned by one thread. Holds one chunk and one half line at most, however large the files are. All files that are to
be read are opened at once, for one that is rotated away meanwhile keeps its content but not its name.
"""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from common.log_lines import MAX_LINE_BYTES, rotated_files

CHUNK_BYTES = 1024 * 1024
"""Read at once."""


class Tail:
    """Lines appended to `path` since the last `read`, each without its line feed.

    Begins with the last `history_bytes` of what is there, over as many rotated files as that takes. A file that is
    rotated away is read to its end before the next one is begun; one that was truncated is read from its start.
    """

    def __init__(self, path: Path, *, history_bytes: int) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._half = b""
        self._skipping = False
        """Whether the rest of a line is to be passed over."""
        self.skipped = 0
        """Lines passed over for their length, which is over MAX_LINE_BYTES."""
        self._next: deque[tuple[BinaryIO, int]] = deque(_last_bytes(path, history_bytes))
        """Files to read after this one, open, and from which byte on."""

    def read(self) -> list[bytes]:
        """Return the whole lines of the next chunk; empty once there is nothing more for now."""
        while True:
            if self._file is None and not self._open_next():
                return []
            chunk = self._chunk()
            if chunk:
                lines = self._lines(chunk)
                if lines:
                    return lines
            elif not self._move_on():
                return []

    def close(self) -> None:
        """Close all files."""
        self._close_this()
        while self._next:
            self._next.popleft()[0].close()

    def _close_this(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open_next(self) -> bool:
        file, start = self._next.popleft() if self._next else (_opened(self._path), 0)
        if file is None:
            return False
        self._file = file
        self._half, self._skipping = b"", False
        if start:
            self._file.seek(start - 1)
            self._skipping = self._file.read(1) != b"\n"
        return True

    def _chunk(self) -> bytes:
        assert self._file is not None
        chunk = self._file.read(CHUNK_BYTES)
        if not chunk and os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._half, self._skipping = b"", False
            chunk = self._file.read(CHUNK_BYTES)
        return chunk

    def _lines(self, chunk: bytes) -> list[bytes]:
        *whole, rest = chunk.split(b"\n")
        if not whole:
            if not self._skipping:
                self._half += rest
            if len(self._half) > MAX_LINE_BYTES:
                self._half, self._skipping = b"", True
                self.skipped += 1
            return []
        first, self._half = self._half + whole[0], rest
        if len(first) > MAX_LINE_BYTES:
            self.skipped += 1
            first = b""
        first, self._skipping = b"" if self._skipping else first, False
        return [line for line in (first, *whole[1:]) if line]

    def _move_on(self) -> bool:
        """Leave a file that was read to its end and is written to no more; return whether there is another one."""
        assert self._file is not None
        if not self._next:
            self._next.extend((file, 0) for file in _younger(self._path, self._file))
        if not self._next:
            return False
        if rest := self._file.read(CHUNK_BYTES):  # written between our last read and the rotation
            self._file.seek(-len(rest), os.SEEK_CUR)
            return True
        self._close_this()
        return True


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=0)
    except OSError:
        return None


def _open_files(path: Path) -> Iterator[BinaryIO]:
    """Yield `path` and what it was rotated to, open, the newest first, each once though one is rotated."""
    seen = set()
    for name in reversed(rotated_files(path)):
        if (file := _opened(name)) is None:
            continue
        if _identity(file) in seen:
            file.close()
            continue
        seen.add(_identity(file))
        yield file


def _identity(file: BinaryIO) -> tuple[int, int]:
    about = os.fstat(file.fileno())
    return about.st_dev, about.st_ino


def _last_bytes(path: Path, size_bytes: int) -> list[tuple[BinaryIO, int]]:
    """Return the files that hold the last `size_bytes`, the oldest first, and where in each to begin."""
    found: list[tuple[BinaryIO, int]] = []
    for file in _open_files(path):
        if size_bytes <= 0 and found:
            file.close()
            break
        size = os.fstat(file.fileno()).st_size
        found.append((file, max(0, size - max(0, size_bytes))))
        size_bytes -= size
    return found[::-1]


def _younger(path: Path, file: BinaryIO) -> list[BinaryIO]:
    """Return the files that were begun after `file`, the oldest first; none while `file` is the youngest."""
    found: list[BinaryIO] = []
    for other in _open_files(path):
        if _identity(other) == _identity(file):
            other.close()
            return found[::-1]
        found.append(other)
    for older in found[1:]:  # the file itself is gone: what is left of its like is not known
        older.close()
    return found[:1]


def lines_with(path: Path, word: bytes) -> Iterator[bytes]:
    """Yield the lines of `path` and of what it was rotated to that hold `word`, the oldest first.

    Reads all of them, a chunk at a time; what can't be read is left out.
    """
    for lines in chunks_with(path, word):
        yield from lines


def chunks_with(path: Path, word: bytes) -> Iterator[list[bytes]]:
    """Yield what `lines_with` does, a list for each chunk that is read, however few lines are in it."""
    with ExitStack() as stack:
        for file in [stack.enter_context(file) for file in _open_files(path)][::-1]:
            try:
                yield from _chunks_with(file, word)
            except OSError:
                continue


def _chunks_with(file: BinaryIO, word: bytes) -> Iterator[list[bytes]]:
    half = b""
    while chunk := file.read(CHUNK_BYTES):
        whole, feed, rest = (half + chunk).rpartition(b"\n")
        half = rest if len(rest) <= MAX_LINE_BYTES else b""
        yield [line for line in whole.split(b"\n") if word in line] if feed and word in whole else []

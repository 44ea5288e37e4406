"""Rows of an experience store read straight from its pages, whatever SQLite makes of the file.

For mending. A store's rows are only ever added, so a row that stands whole in any image of a page, in the file or
in its write-ahead log, is the row; which image is the latest matters to nobody. What comes out is as it was found:
the caller has to check it. The formats are those of https://sqlite.org/fileformat2.html, chapters 1.6, 2 and 4.1.
"""

import contextlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = 4096
"""Of every store: the size is set when one is made."""

_LEAF = 0x0D
_LEAF_HEADER_BYTES = 8
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_LOCAL_MAX = PAGE_BYTES - 35
"""A longer row goes on in overflow pages."""
_LOCAL_MIN = (PAGE_BYTES - 12) * 32 // 255 - 23
_TEXT_OR_BLOB = 12
"""First serial type whose length follows from its number."""
_INTEGER_BYTES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}
_IMAGES_TRIED = 4


@dataclass(frozen=True, slots=True)
class RawRow:
    """The last two columns of a row, unchecked."""

    crc32: int
    body: bytes


def log_of(path: Path) -> Path:
    """Return where the write-ahead log of the store `path` is."""
    return path.with_name(f"{path.name}-wal")


class Pages:
    """The page images of one store, mapped; a context manager. Reads only, and takes no lock.

    Leave it before SQLite opens the file: closing a file gives up all locks that the process has on it.
    """

    def __init__(self, path: Path) -> None:
        """Map the file at `path` and its write-ahead log; either may be missing or empty."""
        self._stack = contextlib.ExitStack()
        self._file = self._mapped(path)
        self._log = self._mapped(log_of(path))
        self._file_pages = len(self._file) // PAGE_BYTES
        self._logged: dict[int, list[int]] = {}
        """Where the images of each page begin in the log, the first one first."""
        step = _FRAME_HEADER_BYTES + PAGE_BYTES
        for frame in range(_LOG_HEADER_BYTES, len(self._log) - step + 1, step):
            number = int.from_bytes(self._log[frame : frame + 4], "big")
            self._logged.setdefault(number, []).append(frame + _FRAME_HEADER_BYTES)

    def __enter__(self) -> "Pages":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def cut_off(self, pages: int) -> bool:
        """Whether one of the first `pages` pages is whole neither in the file nor in the log."""
        return any(number not in self._logged for number in range(self._file_pages + 1, pages + 1))

    def rows(self) -> Iterator[RawRow]:
        """Yield the rows in the file and in its log, in no order; a row may come more than once."""
        for start in range(0, len(self._file), PAGE_BYTES):
            if self._file[start] == _LEAF:
                yield from self._rows_of(self._file[start : start + PAGE_BYTES])
        yield from self.logged_rows()

    def logged_rows(self) -> Iterator[RawRow]:
        """Yield the rows in the log alone, in no order; a row may come more than once."""
        for starts in self._logged.values():
            for start in starts:
                if self._log[start] == _LEAF:
                    yield from self._rows_of(self._log[start : start + PAGE_BYTES])

    def _mapped(self, path: Path) -> mmap.mmap | bytes:
        try:
            file = self._stack.enter_context(path.open("rb"))
            return self._stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (FileNotFoundError, ValueError):  # an empty file can't be mapped
            return b""

    def _rows_of(self, page: bytes) -> Iterator[RawRow]:
        count = int.from_bytes(page[3:5], "big")
        ends = min(_LEAF_HEADER_BYTES + 2 * count, len(page) - 1)
        for at in range(_LEAF_HEADER_BYTES, ends, 2):
            cell = int.from_bytes(page[at : at + 2], "big")
            with contextlib.suppress(IndexError):
                yield from self._row_at(page, cell)

    def _row_at(self, page: bytes, at: int) -> Iterator[RawRow]:
        """Yield the row of the cell at `at`, once for each way to read it; IndexError where there is none."""
        size, at = _varint(page, at)
        _, at = _varint(page, at)  # the row's number: the body says it, too
        local = _local(size)
        head = page[at : at + local]
        if local == size:
            yield from _columns(head)
            return
        if size > len(self._file) + len(self._log):  # no such row; overflow pages may run in a circle
            return
        follows = int.from_bytes(page[at + local : at + local + 4], "big")
        for preference in range(_IMAGES_TRIED):
            tail, more = self._overflow(follows, size - local, preference)
            if tail is not None:
                yield from _columns(head + tail)
            if not more:
                return

    def _overflow(self, page: int, size: int, preference: int) -> tuple[bytes | None, bool]:
        """Return `size` bytes from `page` on, None where it breaks off, and whether there are more images."""
        parts, more = [], False
        while size > 0:
            images = self._images(page)
            if not images:
                return None, more
            more = more or preference + 1 < len(images)
            image = images[min(preference, len(images) - 1)]
            part = image[4 : 4 + size]
            if len(part) < min(size, PAGE_BYTES - 4):
                return None, more
            parts.append(part)
            size -= len(part)
            page = int.from_bytes(image[:4], "big")
        return b"".join(parts), more

    def _images(self, page: int) -> list[bytes]:
        """Return the different images of a page, the one to be tried first first."""
        found = [self._log[start : start + PAGE_BYTES] for start in reversed(self._logged.get(page, ()))]
        start = (page - 1) * PAGE_BYTES
        if 0 <= start < len(self._file):
            found.append(self._file[start : start + PAGE_BYTES])
        return list(dict.fromkeys(found))


def _columns(payload: bytes) -> Iterator[RawRow]:
    """Yield what a row's record holds, if it is one of ours."""
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    sizes = [_INTEGER_BYTES.get(kind, (kind - _TEXT_OR_BLOB) // 2) for kind in kinds]
    if len(sizes) != 9 or min(sizes) < 0 or end + sum(sizes) != len(payload):
        return
    body_at = len(payload) - sizes[-1]
    crc32 = int.from_bytes(payload[body_at - sizes[-2] : body_at], "big")
    yield RawRow(crc32 if kinds[-2] != 9 else 1, payload[body_at:])


def _local(size: int) -> int:
    """Return how many bytes of a row of `size` bytes stand in its leaf."""
    if size <= _LOCAL_MAX:
        return size
    local = _LOCAL_MIN + (size - _LOCAL_MIN) % (PAGE_BYTES - 4)
    return local if local <= _LOCAL_MAX else _LOCAL_MIN


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the variable-length integer at `at`, and where it ends; IndexError past the end."""
    value = 0
    for place in range(8):
        byte = content[at + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    return value << 8 | content[at + 8], at + 9

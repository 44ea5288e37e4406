"""Text files that a person names: plain or compressed with zstd, read whole lines at a time, blamed by line.

Called by the readers of puzzles, EPD files and held-out games. What is wrong with a file is one line that names it.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO

import zstandard

from common.errors import SourceError

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class BadRow(ValueError):
    """One row of a file is not what it should be; says why."""


class BadRows:
    """Rows (or games) of one file that were left out: how many, and the first of them in full."""

    def __init__(self, path: Path, noun: str = "row") -> None:
        self._path, self._noun = path, noun
        self.count = 0
        self.first = ""
        """The first of them: file, line and reason; empty while there is none."""

    def add(self, line: int, reason: str) -> None:
        """Count one; `line` counts from 1."""
        self.count += 1
        if self.count == 1:
            self.first = f"{self._path}:{line}: {reason}"

    def none_good(self) -> str:
        """Say that there is nothing good in the file, and why."""
        if not self.first:
            return f"{self._path}: there is nothing in it"
        return self.first + (f" (and no other {self._noun} is any better)" if self.count > 1 else "")

    def __str__(self) -> str:
        nouns = self._noun if self.count == 1 else self._noun + "s"
        return f"left out {self.count:,} bad {nouns}, the first {self.first}"


@contextmanager
def open_text(path: Path, *, newline: str | None = "") -> Iterator[TextIO]:
    """Open a file of UTF-8 text, compressed or not; bytes that are no UTF-8 become U+FFFD.

    Raises SourceError where it is missing or can't be read, at whatever byte.
    """
    try:
        with path.open("rb") as raw:
            yield io.TextIOWrapper(_plain(raw), encoding="utf-8-sig", errors="replace", newline=newline)
    except IsADirectoryError as error:
        raise SourceError(f"{path}: is a directory, not a file") from error
    except zstandard.ZstdError as error:
        raise SourceError(f"{path}: can't be decompressed: {error}") from error
    except OSError as error:
        raise SourceError(f"{path}: can't be read: {error.strerror or error}") from error


def _plain(raw: IO[bytes]) -> IO[bytes]:
    begin = raw.read(len(_ZSTD_MAGIC))
    raw.seek(0)
    if begin != _ZSTD_MAGIC:
        return raw
    return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)

"""What is left of a damaged experience store: whether it is ours, which units check out, where it is put aside.

Called by the store alone, which holds the lock and writes the new store.
"""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from common.batch import Batch, decode
from common.errors import MessageError, StoreDamaged
from common.settings import AgentSettings
from learner.pages import PAGE_BYTES, Pages, RawRow, log_of

APPLICATION_ID = 0x524F4F4B
"""`ROOK`: how SQLite's header says whose file it is."""

_APPLICATION_ID_AT = 68
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
# How the header begins: the size of a page, the kind of journal twice (1 before the write-ahead log is switched on,
# 2 with it), and four bytes that are the same in all files.
_BEGINNINGS = {_MAGIC + PAGE_BYTES.to_bytes(2, "big") + bytes([kind, kind, 0, 64, 32, 32]) for kind in (1, 2)}


def check_header(path: Path) -> None:
    """Raise StoreDamaged for what SQLite would take for a new file, or for one to be read only."""
    if _beside(path, "-journal").exists():
        return  # killed while the file was made: SQLite takes it back
    header = _header(path)
    if not header and _size(log_of(path)):
        raise StoreDamaged(f"{path}: the file is empty, its log is not")
    if header and header[: len(min(_BEGINNINGS))] not in _BEGINNINGS:
        raise StoreDamaged(f"{path}: damaged or no store: the header is not as it was written")


def is_ours(path: Path) -> bool:
    """Whether a file that SQLite can't read is a store of Rookery, as far as its header tells."""
    header = _header(path)
    if len(header) < _HEADER_BYTES:
        return _MAGIC.startswith(header[: len(_MAGIC)])
    return header[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4] == APPLICATION_ID.to_bytes(4, "big")


def holds_units_of(path: Path, agent: AgentSettings) -> bool:
    """Whether there is a unit of `agent` in the file, whatever its header says."""
    with Pages(path) as pages:
        return next(whole_batches(pages.rows(), agent), None) is not None


def whole_batches(rows: Iterator[RawRow], agent: AgentSettings) -> Iterator[tuple[Batch, bytes]]:
    """Yield those rows whose bodies are whole batches of `agent`, with their bodies, each once."""
    seen: set[tuple[int, int]] = set()
    for row in rows:
        key = row.crc32, hash(row.body)
        if key in seen or zlib.crc32(row.body) != row.crc32:
            continue
        seen.add(key)
        try:
            batch = decode(row.body)
        except MessageError:
            continue
        if (batch.agent, batch.side) == (agent.name, agent.side):
            yield batch, row.body


def mended_copy(path: Path) -> Path:
    """Return where a mended store waits, whole, to take the place of the damaged one."""
    return _beside(path, ".mended")


def put_aside(path: Path) -> Path:
    """Keep a damaged store and its log under another name, and return it; raises OSError.

    The store's own name goes on to lead to it until it is replaced; doing it again after a kill comes to the same.
    """
    number = 1
    while (aside := _beside(path, f".damaged-{number}")).exists() and not _is_one(path, aside):
        number += 1
    if log_of(path).exists():
        log_of(path).replace(log_of(aside))  # or SQLite would take it for the new store's
    for left in (_beside(path, "-shm"), _beside(path, "-journal")):
        left.unlink(missing_ok=True)
    if path.exists() and not aside.exists():
        try:
            os.link(path, aside)
        except OSError:  # a file system without links
            path.replace(aside)
    return aside


def remove(path: Path) -> None:
    """Remove a store with all that belongs to it."""
    for end in ("", "-wal", "-shm", "-journal"):
        _beside(path, end).unlink(missing_ok=True)


def _header(path: Path) -> bytes:
    """Return SQLite's header, or less of a shorter file; nothing where there is none."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def _is_one(path: Path, other: Path) -> bool:
    return path.exists() and path.samefile(other)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)

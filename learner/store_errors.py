"""SQLite's errors as ours, one clear line each: whether the file is damaged, or only can't be used just now."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import StoreDamaged, StoreError

_NOT_THE_FILE = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip
"""SQLite's errors that do not come from what stands in the file."""


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors, and values that no column can hold, into one clear line."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _NOT_THE_FILE:
            raise StoreError(f"{path}: the experience store can't be used: {error}") from error
        raise StoreDamaged(f"{path}: the experience store is damaged or no store: {error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreDamaged(f"{path}: the experience store is damaged: {error}") from error

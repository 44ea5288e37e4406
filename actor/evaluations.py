"""Evaluations: a store of whole games' scores on this host, so that no game is evaluated twice.

Called by `actor.labels`; shared by all actors of a host, of this run and the next. It is a cache: it is
written without waiting for the disk, a damaged row counts as missing, and deleting the file costs time,
never data.
"""

import hashlib
import logging
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import zstandard

from common.errors import StoreError
from common.trouble import Trouble

log = logging.getLogger(__name__)

APPLICATION_ID = 0x526B4576
"""`RkEv`: how SQLite's header says whose file it is."""

FORMAT = 1
"""Number of the table's layout."""

_BUSY_S = 30.0
_KEYS_A_QUERY = 500
_SCHEMA = (
    "CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    "CREATE TABLE evaluations (fingerprint INTEGER NOT NULL, game BLOB NOT NULL, scores BLOB NOT NULL,"
    " PRIMARY KEY (fingerprint, game)) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)


@dataclass(frozen=True, slots=True)
class GameKey:
    """A game as the store knows it, whatever its headers and comments."""

    digest: bytes
    """BLAKE2b-128 of the start position and the moves."""
    positions: int
    """Number of its positions: the length of its scores."""


def game_key(start_fen: str | None, moves_uci: Sequence[str]) -> GameKey:
    """Return the key of the game that starts from `start_fen` (None: the start of chess)."""
    text = f"{start_fen or 'startpos'}\n{' '.join(moves_uci)}"
    return GameKey(hashlib.blake2b(text.encode(), digest_size=16).digest(), len(moves_uci) + 1)


class Evaluations:
    """The scores of games at one engine fingerprint, in one SQLite file that several processes may share.

    A context manager. One thread uses it at a time. `open` raises StoreError, saying what to do, where the file
    can't be used. Once it is open, trouble with it (a full disk, damage) is said and costs time, not the run.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, fingerprint: str) -> None:
        self._path = path
        self._connection = connection
        self._text = fingerprint
        self._fingerprint: int | None = None
        self._pack = zstandard.ZstdCompressor(level=1, write_checksum=False)
        self._unpack = zstandard.ZstdDecompressor()
        self._not_kept = Trouble(log, "evaluations not kept", "evaluations kept again")
        self._not_found = Trouble(log, "evaluations not looked up", "evaluations looked up again")

    @classmethod
    def open(cls, path: Path, fingerprint: str) -> Self:
        """Open the store at `path` for the scores at `fingerprint`, making it and its directories."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path}: can't make its directory: {error.strerror}; choose another file with --evaluations"
            ) from error
        with _explained(path):
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                _prepare(path, connection)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection, fingerprint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def get_many(self, keys: Sequence[GameKey]) -> list[npt.NDArray[np.int16] | None]:
        """Return for each key the scores of its positions, each from its side to move, or None."""
        try:
            found = self._rows(keys)
        except StoreError as error:
            self._not_found.again(str(error))
            return [None] * len(keys)
        self._not_found.over()
        return [self._decoded(found.get(key.digest), key.positions) for key in keys]

    def _rows(self, keys: Sequence[GameKey]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        with _explained(self._path):
            fingerprint = self._fingerprint_id()
            for start in range(0, len(keys), _KEYS_A_QUERY):
                part = [key.digest for key in keys[start : start + _KEYS_A_QUERY]]
                marks = ",".join("?" * len(part))
                found |= self._connection.execute(
                    f"SELECT game, scores FROM evaluations WHERE fingerprint = ? AND game IN ({marks})",
                    (fingerprint, *part),
                )
        return found

    def put_many(self, rows: Sequence[tuple[GameKey, npt.NDArray[np.int16]]]) -> None:
        """Keep the scores of these games, all in one transaction; those of a game kept before give way.

        Where the file takes nothing, they are not kept, which is said and costs the time to make them again.
        """
        if not rows:
            return
        try:
            self._put(rows)
        except StoreError as error:
            self._not_kept.again(str(error))
        else:
            self._not_kept.over()

    def _put(self, rows: Sequence[tuple[GameKey, npt.NDArray[np.int16]]]) -> None:
        encoded = [(key.digest, self._encoded(scores)) for key, scores in rows]
        with _explained(self._path):
            fingerprint = self._fingerprint_id()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?)",
                    [(fingerprint, digest, scores) for digest, scores in encoded],
                )
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def count(self) -> int:
        """Return the number of games kept at this fingerprint."""
        with _explained(self._path):
            query = "SELECT count(*) FROM evaluations WHERE fingerprint = ?"
            return int(self._connection.execute(query, (self._fingerprint_id(),)).fetchone()[0])

    def _fingerprint_id(self) -> int:
        """Return the number that stands for the fingerprint in this file."""
        if self._fingerprint is None:
            query = "SELECT id FROM fingerprints WHERE text = ?"
            row = self._connection.execute(query, (self._text,)).fetchone()
            if row is None:
                self._connection.execute("INSERT OR IGNORE INTO fingerprints (text) VALUES (?)", (self._text,))
                row = self._connection.execute(query, (self._text,)).fetchone()
            self._fingerprint = int(row[0])
        return self._fingerprint

    def _encoded(self, scores: npt.NDArray[np.int16]) -> bytes:
        """Return CRC-32 of the scores, then the scores, low bytes before high bytes, compressed."""
        raw = scores.astype("<i2", copy=False).view(np.uint8).reshape(-1, 2).T.tobytes()
        return zlib.crc32(raw).to_bytes(4, "little") + self._pack.compress(raw)

    def _decoded(self, row: bytes | None, positions: int) -> npt.NDArray[np.int16] | None:
        """Return the scores in `row`, None if there is none or it can't be a row of so many positions."""
        if not isinstance(row, bytes) or len(row) < 5:
            return None
        try:
            if zstandard.frame_content_size(row[4:]) != 2 * positions:
                return None
            raw = self._unpack.decompress(row[4:])
        except zstandard.ZstdError:
            return None
        if len(raw) != 2 * positions or zlib.crc32(raw) != int.from_bytes(row[:4], "little"):
            return None
        planes = np.frombuffer(raw, np.uint8).reshape(2, positions)
        return np.ascontiguousarray(planes.T).view("<i2").reshape(-1).astype(np.int16, copy=False)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line that says what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path}: the store of evaluations can't be used ({error}); make room or rights there, or choose"
            " another file with --evaluations"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path}: no store of evaluations, or a damaged one ({error}); it is only a cache: delete it, or"
            " choose another file with --evaluations"
        ) from error


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Make a new file a store; raise StoreError if the file is something else."""
    connection.text_factory = bytes  # a row damaged into text must not be decoded
    if _kind(connection) == (0, 0):
        connection.execute("BEGIN EXCLUSIVE")
        try:
            if _kind(connection) == (0, 0) and not _has_tables(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    application, layout = _kind(connection)
    if application != APPLICATION_ID:
        raise StoreError(f"{path}: is another program's database; choose another file with --evaluations")
    if layout != FORMAT:
        raise StoreError(
            f"{path}: is a store of evaluations of another version (layout {layout}, not {FORMAT}); it is"
            " only a cache: delete it, or choose another file with --evaluations"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _kind(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the file's application id and layout, both 0 in a new file."""
    return (
        int(connection.execute("PRAGMA application_id").fetchone()[0]),
        int(connection.execute("PRAGMA user_version").fetchone()[0]),
    )


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None

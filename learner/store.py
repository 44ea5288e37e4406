"""The experience store: every unit of one agent on disk, once, as it came.

One SQLite file (WAL journal, synchronous=FULL) that is the log, the deduplication and the exportable data
set in one. The learner writes it through ExperienceStore, from one thread; whoever only reads opens an
ExperienceReader of its own, in any thread or process, beside the writer.
"""

import json
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from common.batch import Batch, decode
from common.errors import MessageError, StoreError
from common.messages import Interval, StoreTotals
from common.rejections import Rejection
from common.settings import AgentSettings
from common.words import Unit
from learner.lock import DirectoryLock

STORE_FILE = "experience.db"
"""Name of the store in an agent's directory."""

APPLICATION_ID = 0x524F4F4B  # "ROOK", so that `file` and we know the format
FORMAT = 1

# The body stands last: SQLite reads a row's columns in order, so the counts cost no pages of bodies.
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE units (
    unit INTEGER PRIMARY KEY,
    transitions INTEGER NOT NULL,
    games_read INTEGER NOT NULL,
    games_used INTEGER NOT NULL,
    games_unselected INTEGER NOT NULL,
    rejected TEXT NOT NULL,
    stored_at REAL NOT NULL,
    crc32 INTEGER NOT NULL,
    body BLOB NOT NULL
);
"""

_INTERVALS = """
SELECT min(unit), max(unit) FROM (SELECT unit, unit - row_number() OVER (ORDER BY unit) AS run FROM units)
GROUP BY run ORDER BY 1
"""

_INSERT = "INSERT OR IGNORE INTO units VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRecord:
    """One batch to be stored: its body as it came, and the counts that the accounting needs."""

    unit: Unit
    body: bytes
    """The encoded batch (see common.batch)."""
    transitions: int
    games_read: int
    games_used: int
    games_unselected: int
    """Games that the agent's query leaves out."""
    rejected: Mapping[str, int]
    """Games rejected, by reason."""

    @classmethod
    def of(cls, batch: Batch, body: bytes) -> Self:
        """Return the record of `batch`, which came as `body`."""
        return cls(
            unit=Unit(batch.unit),
            body=body,
            transitions=len(batch),
            games_read=batch.games_read,
            games_used=len(batch.game_numbers),
            games_unselected=batch.unselected,
            rejected=batch.rejected,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """Batches dropped since the store was opened, because their units were in it already."""

    units: int = 0
    transitions: int = 0


class ExperienceReader:
    """Reads one agent's store, through a connection of its own; use it in the thread that made it."""

    def __init__(self, path: Path, agent: AgentSettings) -> None:
        """Open the store of `agent` at `path` for reading; raise StoreError if it is missing or not its."""
        self._path, self._agent = path, agent
        if not path.is_file():
            raise StoreError(f"{path}: there is no experience store")
        with _clear_errors(path):
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)
        try:
            self._check()
        except StoreError:
            self._connection.close()
            raise

    def intervals(self) -> list[Interval]:
        """Return which units are stored, ascending, neighbours joined."""
        with _clear_errors(self._path):
            return [Interval(first, last) for first, last in self._connection.execute(_INTERVALS)]

    def get(self, unit: int) -> bytes | None:
        """Return the body of `unit`, None if it isn't stored; raise StoreError if it is damaged."""
        with _clear_errors(self._path):
            row = self._connection.execute("SELECT body, crc32 FROM units WHERE unit = ?", (unit,)).fetchone()
        return None if row is None else self._checked(unit, *row)

    def read_from(self, unit: int) -> Iterator[tuple[Unit, bytes]]:
        """Yield the stored units from `unit` on with their bodies, in unit order, gaps left out."""
        while True:
            # A statement a unit: a cursor left open would keep the write-ahead log from being cut back.
            with _clear_errors(self._path):
                row = self._connection.execute(
                    "SELECT unit, body, crc32 FROM units WHERE unit >= ? ORDER BY unit LIMIT 1", (unit,)
                ).fetchone()
            if row is None:
                return
            found, body, crc32 = row
            yield Unit(found), self._checked(found, body, crc32)
            unit = found + 1

    def batch(self, unit: int) -> Batch | None:
        """Return the batch of `unit`, None if it isn't stored; raise StoreError if it is damaged."""
        body = self.get(unit)
        return None if body is None else self._decoded(unit, body)

    def batches(self, first: int, end: int | None = None) -> Iterator[Batch]:
        """Yield the stored batches of the units `first` to `end` (excluded), in unit order, gaps left out."""
        for unit, body in self.read_from(first):
            if end is not None and unit >= end:
                return
            yield self._decoded(unit, body)

    def transitions_before(self, unit: int) -> int:
        """Return how many transitions the stored units below `unit` hold."""
        with _clear_errors(self._path):
            query = "SELECT coalesce(sum(transitions), 0) FROM units WHERE unit < ?"
            return int(self._connection.execute(query, (unit,)).fetchone()[0])

    def latest_before(self, unit: int, transitions: int) -> tuple[Unit, int]:
        """Return the first of the last units below `unit` that hold `transitions`, and how many they hold.

        That is `transitions` or more, or all that there are; with none at all, `unit` itself and 0.
        """
        first, held = Unit(unit), 0
        with _clear_errors(self._path):
            rows = self._connection.execute(
                "SELECT unit, transitions FROM units WHERE unit < ? ORDER BY unit DESC", (unit,)
            )
            for found, count in rows:
                if held >= transitions:
                    break
                first, held = Unit(found), held + count
            rows.close()
        return first, held

    def totals(self) -> StoreTotals:
        """Return what the store holds, counted anew (one pass over the counts, no bodies read)."""
        with _clear_errors(self._path):
            counts = self._connection.execute(
                "SELECT count(*), total(transitions), total(games_read), total(games_used), "
                "total(games_unselected) FROM units"
            ).fetchone()
            rejected: Counter[str] = Counter()
            for (text,) in self._connection.execute("SELECT rejected FROM units WHERE rejected != '{}'"):
                rejected.update(json.loads(text))
        units, transitions, games_read, games_used, games_unselected = map(int, counts)
        return StoreTotals(
            units=units,
            transitions=transitions,
            games_read=games_read,
            games_used=games_used,
            games_unselected=games_unselected,
            rejected=dict(sorted(rejected.items())),
        )

    def rejections(self) -> Iterator[Rejection]:
        """Yield the rejected games of all stored units, in the order of their numbers."""
        with _clear_errors(self._path):
            units = self._connection.execute("SELECT unit FROM units WHERE rejected != '{}' ORDER BY unit")
            numbers = [unit for (unit,) in units]
        for unit in numbers:
            batch = self.batch(unit)
            yield from batch.rejections if batch is not None else ()

    def close(self) -> None:
        """Close the connection; more than once does nothing."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self) -> None:
        with _clear_errors(self._path):
            application = self._connection.execute("PRAGMA application_id").fetchone()[0]
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if application != APPLICATION_ID:
                raise StoreError(f"{self._path}: this is not an experience store of Rookery")
            if version != FORMAT:
                raise StoreError(f"{self._path}: the store has format {version}, this Rookery reads {FORMAT}")
            meta = dict(self._connection.execute("SELECT name, value FROM meta"))
        stored, wanted = (meta.get("agent"), meta.get("side")), (self._agent.name, str(self._agent.side))
        if stored != wanted:
            raise StoreError(
                f"{self._path}: the store belongs to the agent {stored[0]} ({stored[1]}), "
                f"not to {wanted[0]} ({wanted[1]})"
            )

    def _decoded(self, unit: int, body: bytes) -> Batch:
        try:
            return decode(body)
        except MessageError as error:
            raise StoreError(f"{self._path}: unit {unit} can't be read: {error}") from error

    def _checked(self, unit: int, body: bytes, crc32: int) -> bytes:
        if zlib.crc32(body) != crc32:
            raise StoreError(f"{self._path}: unit {unit} is damaged; restore the file from a copy")
        return body


class ExperienceStore(ExperienceReader):
    """The one writer of an agent's store; holds the lock on the agent's directory while it is open.

    Use it in the thread that made it. `totals` and `duplicates` may be read from any thread.
    """

    def __init__(self, path: Path, agent: AgentSettings) -> None:
        """Open the store of `agent` at `path`, made where it is missing.

        Raises RunDirectoryError when another learner holds the directory, StoreError when the file is
        damaged, no store, or another agent's.
        """
        self._lock = DirectoryLock(path.parent)
        try:
            self._open_for_writing(path, agent)
        except BaseException:
            self._lock.close()
            raise

    def put_many(self, records: Sequence[UnitRecord]) -> set[Unit]:
        """Store the records in one transaction, synced to disk on return; return the units that were new.

        A unit that is stored already, or stands twice in `records`, is counted as a duplicate and dropped.
        Raises StoreError, with nothing stored, when the disk is full or fails.
        """
        new: list[UnitRecord] = []
        now = time.time()
        with _clear_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for record in records:
                if self._connection.execute(_INSERT, _row(record, now)).rowcount == 1:
                    new.append(record)
        self._count(records, new)
        return {record.unit for record in new}

    def totals(self) -> StoreTotals:
        """Return what the store holds, without touching the disk."""
        return self._totals

    @property
    def duplicates(self) -> Duplicates:
        """What was dropped since the store was opened."""
        return self._duplicates

    def close(self) -> None:
        """Close the store and free the directory; more than once does nothing."""
        super().close()
        self._lock.close()

    def _open_for_writing(self, path: Path, agent: AgentSettings) -> None:
        self._path, self._agent = path, agent
        with _clear_errors(path):
            # isolation_level=None: transactions begin and end where we say so.
            self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        try:
            self._prepare()
            self._check()
            self._totals = super().totals()
        except BaseException:
            self._connection.close()
            raise
        self._duplicates = Duplicates()

    def _prepare(self) -> None:
        """Make the tables in a file without any; set the connection up."""
        with _clear_errors(self._path):
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            application = self._connection.execute("PRAGMA application_id").fetchone()[0]
            if tables == 0 and application == 0:
                self._create()
            elif application != APPLICATION_ID:
                return  # somebody else's database: left as it is, and refused by the check
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")

    def _create(self) -> None:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)
            meta = {"agent": self._agent.name, "side": str(self._agent.side)}
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _count(self, records: Sequence[UnitRecord], new: Sequence[UnitRecord]) -> None:
        """Bring totals and duplicates up to date; both are replaced whole, so that readers never see half."""
        before = self._totals
        rejected = Counter(before.rejected)
        for record in new:
            rejected.update(record.rejected)
        transitions = sum(record.transitions for record in new)
        self._totals = StoreTotals(
            units=before.units + len(new),
            transitions=before.transitions + transitions,
            games_read=before.games_read + sum(record.games_read for record in new),
            games_used=before.games_used + sum(record.games_used for record in new),
            games_unselected=before.games_unselected + sum(record.games_unselected for record in new),
            rejected=dict(sorted(rejected.items())),
        )
        self._duplicates = Duplicates(
            units=self._duplicates.units + len(records) - len(new),
            transitions=self._duplicates.transitions + sum(record.transitions for record in records) - transitions,
        )


def _row(record: UnitRecord, now: float) -> tuple[int | float | str | bytes, ...]:
    return (
        record.unit,
        record.transitions,
        record.games_read,
        record.games_used,
        record.games_unselected,
        json.dumps(dict(record.rejected), sort_keys=True),
        now,
        zlib.crc32(record.body),
        record.body,
    )


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one clear line."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path}: the experience store can't be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: the experience store is damaged or no store: {error}") from error

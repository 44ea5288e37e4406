"""The experience store: every unit of one agent on disk, once, as it came.

One SQLite file (WAL journal, synchronous=FULL) that is the log, the deduplication and the exportable data
set in one. The learner writes it through ExperienceStore, from one thread; whoever only reads opens an
ExperienceReader of its own, in any thread or process, beside the writer.

A store that is not as it was written raises StoreDamaged wherever that is met, and its writer mends it: every unit
that checks out goes into a new store, the damaged one is kept aside. What is lost, the broker leases again.
"""

import itertools
import json
import logging
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from common.batch import Batch, decode
from common.errors import MessageError, StoreDamaged, StoreError
from common.files import make_directory, sync_directory
from common.messages import Interval, StoreTotals
from common.rejections import Rejection
from common.settings import AgentSettings
from common.words import Unit
from learner import origins
from learner.lock import DirectoryLock
from learner.pages import PAGE_BYTES, Pages, log_of
from learner.salvage import (
    APPLICATION_ID,
    check_header,
    holds_units_of,
    is_ours,
    mended_copy,
    put_aside,
    remove,
    whole_batches,
)
from learner.store_errors import clear_errors
from learner.unit_record import UnitRecord

STORE_FILE = "experience.db"
"""Name of the store in an agent's directory."""

log = logging.getLogger(__name__)

FORMAT = 3
"""Version of the tables and of the batches in them; 1 held batches of format 1, 2 had no table of origins."""

READABLE = (2, FORMAT)
"""Formats that are read; with the first unit that is written a store is brought to the newest."""

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

_MENDED_TOGETHER = 32
"""Units in a transaction while a store is mended."""

_INSERT = "INSERT OR IGNORE INTO units VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """Batches dropped since the store was opened, because their units were in it already."""

    units: int = 0
    transitions: int = 0


class _Foreign(StoreError):
    """A store that seems to be another's."""


class ExperienceReader:
    """Reads one agent's store, through a connection of its own; use it in the thread that made it."""

    def __init__(self, path: Path, agent: AgentSettings) -> None:
        """Open the store of `agent` at `path` for reading; raise StoreError if it is missing or not its."""
        self._path, self._agent = path, agent
        if not path.is_file():
            raise StoreError(f"{path}: there is no experience store")
        with clear_errors(path):
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)
        try:
            self._check()
        except StoreError:
            self._connection.close()
            raise

    def intervals(self) -> list[Interval]:
        """Return which units are stored, ascending, neighbours joined."""
        with clear_errors(self._path):
            return [Interval(first, last) for first, last in self._connection.execute(_INTERVALS)]

    def get(self, unit: int) -> bytes | None:
        """Return the body of `unit`, None if it isn't stored; raise StoreDamaged if it is damaged."""
        with clear_errors(self._path):
            row = self._connection.execute("SELECT body, crc32 FROM units WHERE unit = ?", (unit,)).fetchone()
        return None if row is None else self._checked(unit, *row)

    def read_from(self, unit: int) -> Iterator[tuple[Unit, bytes]]:
        """Yield the stored units from `unit` on with their bodies, in unit order, gaps left out."""
        while True:
            # A statement a unit: a cursor left open would keep the write-ahead log from being cut back.
            with clear_errors(self._path):
                row = self._connection.execute(
                    "SELECT unit, body, crc32 FROM units WHERE unit >= ? ORDER BY unit LIMIT 1", (unit,)
                ).fetchone()
            if row is None:
                return
            found, body, crc32 = row
            if found < unit:
                raise StoreDamaged(f"{self._path}: the units are out of order")
            yield Unit(found), self._checked(found, body, crc32)
            unit = found + 1

    def batch(self, unit: int) -> Batch | None:
        """Return the batch of `unit`, None if it isn't stored; raise StoreDamaged if it is damaged."""
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
        with clear_errors(self._path):
            query = "SELECT coalesce(sum(transitions), 0) FROM units WHERE unit < ?"
            return int(self._connection.execute(query, (unit,)).fetchone()[0])

    def holds_all_before(self, unit: int) -> bool:
        """Return whether every unit below `unit` is stored."""
        with clear_errors(self._path):
            query = "SELECT count(*) FROM units WHERE unit >= 0 AND unit < ?"
            return int(self._connection.execute(query, (unit,)).fetchone()[0]) >= unit

    def verify(self, unit: int, count: int) -> int | None:
        """Read up to `count` stored units from `unit` on; return where to go on, None at the end.

        Raises StoreDamaged for one that is not as it was written.
        """
        for found, _ in itertools.islice(self.read_from(unit), count):
            unit, count = found + 1, count - 1
        return unit if count == 0 else None

    def verify_totals(self, units: int, transitions: int) -> None:
        """Raise StoreDamaged unless the store holds units 0 to `units` (excluded) with so many transitions."""
        held = self.transitions_before(units)
        if held != transitions or not self.holds_all_before(units):
            raise StoreDamaged(
                f"{self._path}: the units below {units} have {held} transitions in the store, but {transitions} "
                "were trained on"
            )

    def latest_before(self, unit: int, transitions: int) -> tuple[Unit, int]:
        """Return the first of the last units below `unit` that hold `transitions`, and how many they hold.

        That is `transitions` or more, or all that there are; with none at all, `unit` itself and 0.
        """
        first, held = Unit(unit), 0
        with clear_errors(self._path):
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
        with clear_errors(self._path):
            counts = self._connection.execute(
                "SELECT count(*), total(transitions), total(games_read), total(games_used), "
                "total(games_unselected) FROM units"
            ).fetchone()
            rejected: Counter[str] = Counter()
            for (text,) in self._connection.execute("SELECT rejected FROM units WHERE rejected != '{}'"):
                rejected.update(json.loads(text))
            units, transitions, games_read, games_used, games_unselected = map(int, counts)
            if games_read != games_used + games_unselected + sum(rejected.values()):
                raise StoreDamaged(f"{self._path}: the counts of games do not add up")
        return StoreTotals(
            units=units,
            transitions=transitions,
            games_read=games_read,
            games_used=games_used,
            games_unselected=games_unselected,
            rejected=dict(sorted(rejected.items())),
        )

    def provenance(self, unit: int) -> origins.Provenance | None:
        """Return where the batch of `unit` came from, and when; None if it isn't stored."""
        with clear_errors(self._path):
            return origins.select(self._connection, unit, kept=self._format == FORMAT)

    def rejections(self) -> Iterator[Rejection]:
        """Yield the rejected games of all stored units, in the order of their numbers."""
        with clear_errors(self._path):
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
        with clear_errors(self._path), self._connection:
            self._connection.execute("BEGIN")  # one look: the writer may bring it to another format just now
            application = self._connection.execute("PRAGMA application_id").fetchone()[0]
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if application != APPLICATION_ID:
                raise _Foreign(f"{self._path}: this is not an experience store of Rookery")
            meta = dict(self._connection.execute("SELECT name, value FROM meta"))
            self._format = version
            if version not in READABLE or meta.get("format") != str(version):
                kind = StoreDamaged if meta.get("format") in [str(number) for number in READABLE] else StoreError
                told = f"the store has format {version}, this Rookery reads {' and '.join(map(str, READABLE))}"
                raise kind(f"{self._path}: {told}: begin in a new run directory, or use the Rookery that wrote it")
        stored, wanted = (meta.get("agent"), meta.get("side")), (self._agent.name, str(self._agent.side))
        if stored != wanted:
            raise _Foreign(
                f"{self._path}: the store belongs to the agent {stored[0]} ({stored[1]}), "
                f"not to {wanted[0]} ({wanted[1]})"
            )

    def _decoded(self, unit: int, body: bytes) -> Batch:
        try:
            batch = decode(body)
        except MessageError as error:
            raise StoreDamaged(f"{self._path}: unit {unit} can't be read: {error}") from error
        if batch.unit != unit:
            raise StoreDamaged(f"{self._path}: unit {batch.unit} stands in the place of unit {unit}")
        return batch

    def _checked(self, unit: int, body: bytes, crc32: int) -> bytes:
        if not isinstance(body, bytes) or zlib.crc32(body) != crc32:
            raise StoreDamaged(
                f"{self._path}: unit {unit} is damaged; the agent's learner mends it when it is started"
            )
        return body


class _Writer(ExperienceReader):
    """Writes a store, in the thread that made it; whoever makes one holds the lock on its directory."""

    def __init__(self, path: Path, agent: AgentSettings) -> None:
        self._path, self._agent = path, agent
        with Pages(path) as pages:
            logged = list(whole_batches(pages.logged_rows(), agent))
        with clear_errors(path):
            # isolation_level=None: transactions begin and end where we say so.
            self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        try:
            is_new = self._prepare()
            self._check()
            self._totals = super().totals()
            self._duplicates = Duplicates()
            if not is_new:
                self._take_from_log(pages, logged)
        except BaseException:
            self._connection.close()
            raise

    def put_many(self, records: Sequence[UnitRecord]) -> set[Unit]:
        """Store the records in one transaction, synced to disk on return; return the units that were new.

        A unit that is stored already, or stands twice in `records`, is counted as a duplicate and dropped.
        Raises StoreError, with nothing stored, when the disk is full or fails.
        """
        new: list[UnitRecord] = []
        now = time.time()
        self._upgrade()
        with clear_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for record in records:
                if self._connection.execute(_INSERT, record.row(now)).rowcount == 1:
                    origins.insert(self._connection, record.unit, record.origin)
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

    def _take_from_log(self, pages: Pages, logged: Sequence[tuple[Batch, bytes]]) -> None:
        """Store what the write-ahead log of a killed learner still held, and SQLite does not see in it.

        SQLite leaves out all that follows a damaged place in the log, and would write over it.
        """
        with clear_errors(self._path):
            count = self._connection.execute("PRAGMA page_count").fetchone()[0]
        if pages.cut_off(count):
            raise StoreDamaged(f"{self._path}: the file is cut off")
        left = {batch.unit: UnitRecord.of(batch, body) for batch, body in logged if self.get(batch.unit) is None}
        if left:
            self.put_many(list(left.values()))
            log.warning("units found in a damaged log", extra={"store": str(self._path), "units": len(left)})

    def _prepare(self) -> bool:
        """Make the tables in a file without any; set the connection up. Return whether the file was without."""
        with clear_errors(self._path):
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            application = self._connection.execute("PRAGMA application_id").fetchone()[0]
            is_new = bool(tables == 0 and application == 0)
            if is_new:
                self._create()
            elif application != APPLICATION_ID:
                return False  # somebody else's database: left as it is, and refused by the check
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        return is_new

    def _create(self) -> None:
        self._connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in (*_SCHEMA.split(";"), origins.SCHEMA):
                self._connection.execute(statement)
            meta = {"agent": self._agent.name, "side": str(self._agent.side), "format": str(FORMAT)}
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _upgrade(self) -> None:
        """Bring a store of an older format to ours, in place: all of it or nothing.

        Not when it is opened: a full disk is no reason not to read it.
        """
        if self._format != FORMAT:
            with clear_errors(self._path), self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute(origins.SCHEMA)
                self._connection.execute("UPDATE meta SET value = ? WHERE name = 'format'", (str(FORMAT),))
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")
            self._format = FORMAT

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


class ExperienceStore(_Writer):
    """The one writer of an agent's store; holds the lock on the agent's directory while it is open.

    Use it in the thread that made it. `totals` and `duplicates` may be read from any thread.
    """

    def __init__(self, path: Path, agent: AgentSettings, *, mend: bool = False) -> None:
        """Open the store of `agent` at `path`, made where it is missing, mended where it is seen to be damaged.

        `mend` says that damage was met that opening does not see. Raises RunDirectoryError when another learner
        holds the directory, StoreError when the file is no store, another agent's, or there is no room to mend it.
        """
        make_directory(path.parent)
        self._lock = DirectoryLock(path.parent)
        try:
            if mended_copy(path).exists():
                _finish_mending(path)
            if mend and path.exists():
                _mend(path, agent, "not as it was written")
            self._open(path, agent)
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Close the store and free the directory; more than once does nothing."""
        super().close()
        self._lock.close()

    def _open(self, path: Path, agent: AgentSettings) -> None:
        try:
            check_header(path)
            super().__init__(path, agent)
        except (StoreDamaged, _Foreign) as error:
            ours = isinstance(error, StoreDamaged) and is_ours(path)
            if not ours and not holds_units_of(path, agent):
                raise
            _mend(path, agent, str(error).removeprefix(f"{path}: "))
            super().__init__(path, agent)


def _mend(path: Path, agent: AgentSettings, reason: str) -> None:
    """Put a new store with every unit that checks out in the place of a damaged one, which is kept aside.

    Raises StoreError, with the damaged store in its place, where the disk has no room for both.
    """
    new = path.with_name(f"{path.name}.mending")
    try:
        remove(new)  # left by a learner that was killed
        with closing(_Writer(new, agent)) as writer, Pages(path) as pages:
            batches = whole_batches(pages.rows(), agent)
            while group := list(itertools.islice(batches, _MENDED_TOGETHER)):
                writer.put_many([UnitRecord.of(batch, body) for batch, body in group])
            kept = writer.totals().units
        if log_of(new).exists():
            raise StoreError(f"{log_of(new)} can't be written back")
        new.replace(mended_copy(path))
    except (OSError, StoreError) as error:
        with suppress(OSError):
            remove(new)
        why = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"{path}: damaged ({reason}), and can't be mended: {why}") from error
    aside = _finish_mending(path)
    log.warning(
        "store mended: what it lacks is made again",
        extra={"store": str(path), "reason": reason, "units_kept": kept, "damaged_store": str(aside)},
    )


def _finish_mending(path: Path) -> Path:
    """Put the mended copy in the place of the damaged store, and return where that is kept.

    The copy is whole: a kill in the middle of this is made good by doing it again, at the next opening.
    """
    try:
        sync_directory(path.parent)
        aside = put_aside(path)
        mended_copy(path).replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: the mended store can't take its place: {error.strerror}") from error
    return aside

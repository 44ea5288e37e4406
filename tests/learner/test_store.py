import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import learner.store
from common.batch import encode
from common.errors import RunDirectoryError, StoreDamaged, StoreError
from common.messages import Interval, StoreTotals
from learner.origins import Origin
from learner.store import Duplicates, ExperienceReader, ExperienceStore
from tests.learner.units import BLACK, WHITE, random_batch, record, store_with


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents" / "white" / "experience.db"


def test_stored_units_come_back_as_they_came_in_unit_order(path: Path) -> None:
    batches = {unit: random_batch(unit) for unit in (5, 0, 3)}
    with store_with(path, list(batches.values())) as store:
        assert list(store.read_from(0)) == [(unit, encode(batches[unit])) for unit in (0, 3, 5)]
        assert [unit for unit, _ in store.read_from(1)] == [3, 5]
        assert [encode(batch) for batch in store.batches(0, 5)] == [encode(batches[0]), encode(batches[3])]
        assert store.get(5) == encode(batches[5])
        assert store.get(4) is None
        assert store.batch(4) is None


def test_a_unit_is_stored_once_and_its_copies_are_counted(path: Path) -> None:
    first, second = record(random_batch(0)), record(random_batch(1))
    with ExperienceStore(path, WHITE) as store:
        assert store.put_many([first, first]) == {0}
        assert store.put_many([replace(first, body=b"another"), second]) == {1}
        assert store.get(0) == first.body
        assert store.duplicates == Duplicates(units=2, transitions=2 * first.transitions)
        assert store.totals().units == 2
    with ExperienceStore(path, WHITE) as store:
        assert store.put_many([first]) == set()
        assert store.duplicates == Duplicates(units=1, transitions=first.transitions)


def test_intervals_join_neighbours(path: Path) -> None:
    with ExperienceStore(path, WHITE) as store:
        assert store.intervals() == []
        store.put_many([record(random_batch(unit, games=1)) for unit in (7, 0, 1, 2, 9, 8, 4)])
        assert store.intervals() == [Interval(0, 2), Interval(4, 4), Interval(7, 9)]


def test_totals_add_up_and_survive_the_process(path: Path) -> None:
    batches = [random_batch(unit, games=2 + unit) for unit in range(3)]
    expected = StoreTotals(
        units=3,
        transitions=sum(map(len, batches)),
        games_read=5 + 6 + 7,
        games_used=2 + 3 + 4,
        games_unselected=3,
        rejected={"no-moves": 6},
    )
    with store_with(path, batches) as store:
        assert store.totals() == expected
    with ExperienceStore(path, WHITE) as store:
        assert store.totals() == expected
    with ExperienceReader(path, WHITE) as reader:
        assert reader.totals() == expected


def test_a_reader_sees_what_the_writer_committed(path: Path) -> None:
    with ExperienceStore(path, WHITE) as store, ExperienceReader(path, WHITE) as reader:
        assert reader.intervals() == []
        batch = random_batch(0)
        store.put_many([record(batch)])
        assert reader.get(0) == encode(batch)


def test_a_reader_in_the_middle_of_reading_lets_the_writer_write(path: Path) -> None:
    with (
        store_with(path, [random_batch(unit) for unit in range(3)]) as store,
        ExperienceReader(path, WHITE) as reader,
    ):
        units = reader.read_from(0)
        assert next(units)[0] == 0
        assert store.put_many([record(random_batch(3))]) == {3}
        assert [unit for unit, _ in units] == [1, 2, 3]


def test_the_latest_units_that_hold_enough_are_found(path: Path) -> None:
    batches = [random_batch(unit) for unit in range(5)]
    counts = [len(batch) for batch in batches]
    with store_with(path, batches) as store:
        assert store.latest_before(4, 1) == (3, counts[3])
        assert store.latest_before(4, counts[3] + 1) == (2, counts[2] + counts[3])
        assert store.latest_before(4, 10**9) == (0, sum(counts[:4]))
        assert store.latest_before(0, 5) == (0, 0)
        assert store.transitions_before(4) == sum(counts[:4])
        assert store.transitions_before(0) == 0


def test_the_journal_is_a_synced_write_ahead_log(path: Path) -> None:
    with ExperienceStore(path, WHITE) as store:
        store.put_many([record(random_batch(0))])
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_units_stored_before_a_kill_are_there_afterwards(path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from tests.learner.units import random_batch, store_with
store_with(Path(sys.argv[1]), [random_batch(0), random_batch(1)])
os.kill(os.getpid(), 9)
"""
    process = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert process.returncode == -9
    with ExperienceStore(path, WHITE) as store:  # the lock died with its holder, too
        assert store.intervals() == [Interval(0, 1)]


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="can't be written"):
        ExperienceStore(tmp_path / "file" / "experience.db", WHITE)


def test_another_agents_store_is_refused(path: Path) -> None:
    ExperienceStore(path, WHITE).close()
    with pytest.raises(StoreError, match=r"belongs to the agent white \(white\), not to black \(black\)"):
        ExperienceStore(path, BLACK)
    with pytest.raises(StoreError, match="belongs to the agent white"):
        ExperienceReader(path, BLACK)
    ExperienceStore(path, WHITE).close()  # the refusal left no lock behind


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="damaged or no store"):
        ExperienceStore(path, WHITE)


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE units (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not an experience store"):
        ExperienceStore(path, WHITE)
    assert path.read_bytes() == before


def make_store_of_format(path: Path, number: int) -> None:
    ExperienceStore(path, WHITE).close()
    make_format(path, number)


def make_format(path: Path, number: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("UPDATE meta SET value = ? WHERE name = 'format'", (str(number),))
    connection.close()


def test_a_store_of_a_later_format_is_refused(path: Path) -> None:
    make_store_of_format(path, 4)
    with pytest.raises(StoreError, match="format 4, this Rookery reads 2 and 3"):
        ExperienceStore(path, WHITE)


def test_a_store_with_batches_of_the_first_format_is_refused_in_one_line_and_left_alone(path: Path) -> None:
    make_store_of_format(path, 1)
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match="format 1, this Rookery reads 2 and 3: begin in a new run directory"
    ) as caught:
        ExperienceStore(path, WHITE)
    assert not isinstance(caught.value, StoreDamaged)  # or it would be mended, and lost
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


ORIGIN = Origin(actor="actor-7", host="play3", engine="Stockfish 15.1, 1000 nodes")


def test_a_store_says_who_made_a_unit_and_when_it_was_stored(path: Path) -> None:
    begun_ns = time.time_ns()
    with ExperienceStore(path, WHITE) as store:
        store.put_many([replace(record(random_batch(0)), origin=ORIGIN), record(random_batch(1))])
        store.put_many([replace(record(random_batch(0)), origin=Origin(actor="later"))])  # a duplicate
    with ExperienceReader(path, WHITE) as reader:
        first, second = reader.provenance(0), reader.provenance(1)
        assert reader.provenance(2) is None
    assert first is not None
    assert second is not None
    assert (first.unit, first.origin, second.origin) == (0, ORIGIN, None)
    assert begun_ns - 10**6 < first.stored_ns < time.time_ns() + 10**6


@pytest.fixture
def second_format(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with unit 0 as an earlier Rookery left it: it never had a table of origins."""
    with monkeypatch.context() as before:
        before.setattr("learner.store.FORMAT", 2)
        before.setattr("learner.origins.SCHEMA", "")
        store_with(path, [random_batch(0)]).close()
    return path


def provenance(path: Path) -> list[Origin | None]:
    with ExperienceReader(path, WHITE) as reader:
        return [found.origin for unit in (0, 1) if (found := reader.provenance(unit))]


def test_a_store_of_the_second_format_is_read_as_it_is_and_brought_to_ours_when_written(
    second_format: Path,
) -> None:
    assert provenance(second_format) == [None]
    with ExperienceStore(second_format, WHITE) as store:
        assert store.batch(0) is not None
        store.put_many([replace(record(random_batch(1)), origin=ORIGIN)])
        assert store.provenance(1) is not None
    assert provenance(second_format) == [None, ORIGIN]
    with ExperienceStore(second_format, WHITE) as store:
        assert store.totals().units == 2
    assert aside(second_format) == []


def test_a_store_of_the_second_format_on_a_full_disk_is_opened(
    second_format: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = learner.store._Writer._prepare

    def prepare_full(store: ExperienceStore) -> bool:
        is_new = prepare(store)
        store._connection.execute("PRAGMA max_page_count = 1")  # no more than there are
        return is_new

    monkeypatch.setattr("learner.store._Writer._prepare", prepare_full)
    units = [replace(record(random_batch(1)), origin=ORIGIN)]
    with ExperienceStore(second_format, WHITE) as store:
        assert store.batch(0) is not None
        with pytest.raises(StoreError, match="full"):
            store.put_many(units)
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert store.put_many(units) == {1}
    assert provenance(second_format) == [None, ORIGIN]


def test_a_reader_that_comes_while_a_store_is_brought_to_ours_sees_all_of_it_or_nothing(
    second_format: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(sqlite3.Connection):
        def execute(self, statement: str, *given: Any) -> sqlite3.Cursor:
            found = super().execute(statement, *given)
            if statement == "PRAGMA user_version":
                monkeypatch.undo()
                with ExperienceStore(second_format, WHITE) as store:
                    store.put_many([record(random_batch(1))])
            return found

    connect = sqlite3.connect
    monkeypatch.setattr("sqlite3.connect", lambda *given, **named: connect(*given, factory=Interrupted, **named))
    with ExperienceReader(second_format, WHITE) as reader:
        assert reader.provenance(0) is not None
        assert reader.intervals() == [Interval(0, 1)]


def test_a_mended_store_goes_on_without_the_origins_of_its_units(path: Path) -> None:
    with ExperienceStore(path, WHITE) as store:
        store.put_many([replace(record(random_batch(0)), origin=ORIGIN)])
    with ExperienceStore(path, WHITE, mend=True) as store:
        found = store.provenance(0)
        assert found is not None
        assert found.origin is None


def test_a_missing_store_cannot_be_read(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no experience store"):
        ExperienceReader(path, WHITE)


def test_a_damaged_body_is_noticed(path: Path) -> None:
    batch = random_batch(0, games=40)
    store_with(path, [batch]).close()
    content = bytearray(path.read_bytes())
    middle = content.index(encode(batch)[100:116])
    content[middle + 8] ^= 1
    path.write_bytes(content)
    with ExperienceStore(path, WHITE) as store, pytest.raises(StoreError, match="unit 0 is damaged"):
        store.get(0)


def test_a_body_that_is_no_batch_is_noticed_when_it_is_read(path: Path) -> None:
    with ExperienceStore(path, WHITE) as store:
        store.put_many([replace(record(random_batch(0)), body=b"nonsense")])
        with pytest.raises(StoreError, match="unit 0 can't be read"):
            store.batch(0)


def test_a_full_disk_stores_nothing_of_the_group_and_says_so(path: Path) -> None:
    with store_with(path, [random_batch(0)]) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        group = [record(random_batch(unit, games=50)) for unit in (1, 2)]
        with pytest.raises(StoreError, match="full"):
            store.put_many(group)
        assert store.intervals() == [Interval(0, 0)]
        assert store.totals().units == 1
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert store.put_many(group) == {1, 2}


# Mending


def aside(path: Path) -> list[str]:
    return sorted(other.name for other in path.parent.iterdir() if "damaged" in other.name)


def damage(path: Path, at: int, by: bytes = b"\xa5\x5a") -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(by)] = by
    path.write_bytes(content)


def stored(path: Path, count: int = 12) -> dict[int, bytes]:
    """A store of units that fill some pages each, closed; return the bodies."""
    batches = [random_batch(unit, games=30) for unit in range(count)]
    store_with(path, batches).close()
    return {batch.unit: encode(batch) for batch in batches}


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (3, "SQLite's name"),
        (16, "the size of a page"),
        (18, "the kind of journal"),
        (29, "the number of pages"),
        (61, "our format"),
        (69, "our number"),
        (100, "the table of tables"),
        (8192, "the root of the units"),
    ],
)
def test_a_store_with_a_damaged_header_or_root_is_mended_without_losing_a_unit(
    path: Path, caplog: pytest.LogCaptureFixture, at: int, what: str
) -> None:
    bodies = stored(path)
    damage(path, at)
    before = path.read_bytes()
    with ExperienceStore(path, WHITE) as store:
        assert dict(store.read_from(0)) == bodies
    if aside(path):  # some of it SQLite doesn't mind
        assert [record.message for record in caplog.records] == ["store mended: what it lacks is made again"]
        assert path.with_name("experience.db.damaged-1").read_bytes() == before
        assert caplog.records[0].units_kept == len(bodies)
    else:
        assert at == 29


def test_a_store_that_was_cut_off_keeps_the_units_before_the_cut(path: Path) -> None:
    bodies = stored(path)
    os.truncate(path, path.stat().st_size * 2 // 3)
    with ExperienceStore(path, WHITE) as store:
        kept = dict(store.read_from(0))
        assert 0 < len(kept) < len(bodies)
        assert kept.items() < bodies.items()
        assert store.totals().units == len(kept)
        assert store.put_many([record(random_batch(unit, games=30)) for unit in range(12)]) == set(bodies) - set(
            kept
        )
    assert aside(path) == ["experience.db.damaged-1"]


@pytest.mark.parametrize("size", [1, 15, 50, 99, 100, 4095])
def test_of_a_store_that_was_cut_off_in_its_first_page_a_new_one_is_made(path: Path, size: int) -> None:
    stored(path)
    os.truncate(path, size)
    with ExperienceStore(path, WHITE) as store:
        assert store.intervals() == []
    assert aside(path) == ["experience.db.damaged-1"]


def killed(path: Path, to: Path) -> dict[int, bytes]:
    """Leave at `to` what a killed learner leaves, six units in the file and six in its log; return the bodies."""
    batches = [random_batch(unit, games=30) for unit in range(12)]
    with store_with(path, batches[:6]) as store:
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for batch in batches[6:]:
            store.put_many([record(batch)])
        to.parent.mkdir(parents=True)
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{to}{end}")
    return {batch.unit: encode(batch) for batch in batches}


def test_what_stands_in_the_log_behind_a_damaged_place_is_kept(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    again = tmp_path / "again" / "experience.db"
    bodies = killed(path, again)
    damage(Path(f"{again}-wal"), 40)
    with ExperienceStore(again, WHITE) as store:
        assert dict(store.read_from(0)) == bodies
    assert [record.message for record in caplog.records] == ["units found in a damaged log"]


def test_a_file_that_was_emptied_leaves_the_units_in_its_log(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again" / "experience.db"
    bodies = killed(path, again)
    os.truncate(again, 0)
    with ExperienceStore(again, WHITE) as store:
        kept = dict(store.read_from(0))
        assert kept == {unit: body for unit, body in bodies.items() if unit >= 6}
    assert aside(again) == ["experience.db.damaged-1", "experience.db.damaged-1-wal"]


def test_a_missing_part_of_the_file_that_is_not_in_the_log_is_seen_at_once(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again" / "experience.db"
    bodies = killed(path, again)
    os.truncate(again, again.stat().st_size - 4096 - 100)
    with ExperienceStore(again, WHITE) as store:
        kept = dict(store.read_from(0))
        assert kept.items() <= bodies.items()
        assert set(range(6, 12)) <= set(kept)
    assert "experience.db.damaged-1" in aside(again)


def test_a_damaged_unit_goes_when_the_store_is_mended_and_no_other(path: Path) -> None:
    bodies = stored(path)
    damage(path, path.read_bytes().index(bodies[5][200:216]))
    with ExperienceStore(path, WHITE) as store, pytest.raises(StoreDamaged, match="unit 5 is damaged"):
        store.batch(5)
    with ExperienceStore(path, WHITE, mend=True) as store:
        assert dict(store.read_from(0)) == {unit: body for unit, body in bodies.items() if unit != 5}
    with ExperienceStore(path, WHITE, mend=True) as store:
        assert store.totals().units == 11
    assert aside(path) == ["experience.db.damaged-1", "experience.db.damaged-2"]


def test_counts_that_do_not_add_up_are_set_right_from_the_units(path: Path) -> None:
    store_with(path, [random_batch(unit) for unit in range(4)]).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE units SET games_read = 999 WHERE unit = 2")
    connection.close()
    with ExperienceStore(path, WHITE) as store:
        assert store.totals().games_read == 4 * 7


def test_a_unit_in_the_place_of_another_is_noticed(path: Path) -> None:
    store_with(path, [random_batch(0)]).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE units SET unit = 7")
    connection.close()
    with ExperienceStore(path, WHITE) as store:
        with pytest.raises(StoreDamaged, match="unit 0 stands in the place of unit 7"):
            store.batch(7)
        with pytest.raises(StoreDamaged, match="the units below 1 have"):
            store.verify_totals(1, store.totals().transitions)
    with ExperienceStore(path, WHITE, mend=True) as store:
        assert store.intervals() == [Interval(0, 0)]


def test_a_store_of_another_agent_is_never_mended(path: Path) -> None:
    store_with(path, [random_batch(0)]).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = 'whitd' WHERE name = 'agent'")
    connection.close()
    with pytest.raises(StoreError, match="belongs to the agent whitd"):
        ExperienceStore(path, BLACK)
    with ExperienceStore(path, WHITE) as store:  # its units say whose it is
        assert store.intervals() == [Interval(0, 0)]


def test_a_mend_that_has_no_room_leaves_the_damaged_store_where_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(path)
    damage(path, 3)
    before = path.read_bytes()

    def full(directory: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("learner.store.put_aside", full)
    with pytest.raises(StoreError, match="the mended store can't take its place: No space left on device"):
        ExperienceStore(path, WHITE)
    assert path.read_bytes() == before
    monkeypatch.undo()
    with ExperienceStore(path, WHITE) as store:
        assert store.totals().units == 12


def test_a_whole_store_is_looked_through_in_parts(path: Path) -> None:
    with store_with(path, [random_batch(unit) for unit in range(5)]) as store:
        assert (store.verify(0, 2), store.verify(2, 2), store.verify(4, 2)) == (2, 4, None)
        assert store.verify(5, 2) is None
        store.verify_totals(5, store.totals().transitions)
        assert store.holds_all_before(5)
        assert not store.holds_all_before(6)


def test_every_directory_above_a_store_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("common.files.sync_directory", synced.append)
    ExperienceStore(tmp_path / "run" / "agents" / "white" / "experience.db", WHITE).close()
    assert {tmp_path / "run" / "agents", tmp_path / "run", tmp_path} <= set(synced)


def test_another_program_that_opens_and_closes_the_store_takes_nothing_from_under_the_learner(path: Path) -> None:
    with ExperienceStore(path, WHITE) as store:
        store.put_many([record(random_batch(0))])
    with ExperienceStore(path, WHITE) as store:
        store.put_many([record(random_batch(1))])
        other = (
            f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('SELECT unit FROM units'); c.close()"
        )
        subprocess.run([sys.executable, "-c", other], check=True)
        assert path.with_name(f"{path.name}-wal").exists()
        store.put_many([record(random_batch(2))])
    with ExperienceReader(path, WHITE) as reader:
        assert reader.totals().units == 3


@pytest.mark.parametrize("killed_at", ["put_aside", "mended_copy"])
def test_a_kill_while_a_mended_store_takes_its_place_costs_no_unit(
    path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with ExperienceStore(path, WHITE) as store:
        store.put_many([record(random_batch(unit)) for unit in range(8)])
    content = bytearray(path.read_bytes())
    content[:100] = bytes(100)
    path.write_bytes(content)
    with monkeypatch.context() as patched:
        if killed_at == "put_aside":
            patched.setattr(learner.store, "put_aside", kill)
        else:  # when the damaged store is aside, and the mended one not yet in its place
            aside = learner.store.put_aside
            patched.setattr(learner.store, "put_aside", lambda path: (aside(path), kill()))
        with pytest.raises(Killed):
            ExperienceStore(path, WHITE)
    with ExperienceStore(path, WHITE) as store:
        assert store.totals().units == 8
    assert [found.name for found in path.parent.glob("*.damaged-*")] == [f"{path.name}.damaged-1"]
    assert not path.with_name(f"{path.name}.mended").exists()

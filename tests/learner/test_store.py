import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from common.batch import encode
from common.errors import RunDirectoryError, StoreError
from common.messages import Interval, StoreTotals
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


def test_a_second_learner_on_a_directory_is_refused_and_told_who_is_there(path: Path) -> None:
    told = f"another learner \\(process {os.getpid()}\\)"
    with ExperienceStore(path, WHITE), pytest.raises(RunDirectoryError, match=told):
        ExperienceStore(path, WHITE)
    ExperienceStore(path, WHITE).close()


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


def test_a_store_of_a_later_format_is_refused(path: Path) -> None:
    ExperienceStore(path, WHITE).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreError, match="format 2, this Rookery reads 1"):
        ExperienceStore(path, WHITE)


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

from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

import pytest

from tests.torture import disks_damage, disks_full, disks_power, disks_runs
from tests.torture.disk_trace import Call, Disk
from tests.torture.outcome import Outcome, Setting


@pytest.fixture
def tried(tmp_path: Path, base_port: int) -> Callable[[Callable[[Setting], list[Outcome]]], list[Outcome]]:
    def run(part: Callable[[Setting], list[Outcome]]) -> list[Outcome]:
        try:
            return part(Setting(seed=1, short=True, folder=tmp_path, base_port=base_port, say=print))
        except SkipTest as reason:
            pytest.skip(str(reason))

    return run


def assert_passed(outcomes: list[Outcome]) -> None:
    assert outcomes
    for outcome in outcomes:
        assert outcome.passed, (outcome.part, outcome.lost, outcome.doubled, outcome.failures)


def test_training_ends_in_the_same_weights_whatever_byte_of_its_files_is_damaged(tried) -> None:
    assert_passed(tried(disks_damage.run))


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_power_cut_that_drops_every_unsynced_write(tried, stockfish: str) -> None:
    assert_passed(tried(disks_power.run))


@pytest.mark.long
def test_a_run_goes_on_when_its_disk_has_room_again(tried, stockfish: str) -> None:
    assert_passed(tried(disks_full.run))


@pytest.mark.long
def test_a_run_with_damaged_stores_and_checkpoints_ends_in_the_same_weights(tried, stockfish: str) -> None:
    assert_passed(tried(disks_runs.run))


# The disk that forgets


def left(tmp_path: Path, *calls: tuple[str, int, int, str, bytes]) -> dict[str, bytes]:
    """What a power cut leaves below /disk after these calls."""
    disk = Disk(Path("/disk"))
    for op, inode, offset, path, data in calls:
        disk.apply(Call(op, inode, offset, path, data))
    disk.after_power_cut(tmp_path / "left")
    files = [path for path in (tmp_path / "left").rglob("*") if path.is_file()]
    return {str(path.relative_to(tmp_path / "left")): path.read_bytes() for path in files}


MADE = (("o", 1, 0, "/disk", b""), ("c", 2, 0, "/disk/a", b""), ("w", 2, 0, "", b"one"))


def test_of_a_file_that_was_synced_and_whose_name_was_not_nothing_is_left(tmp_path: Path) -> None:
    assert left(tmp_path, *MADE, ("f", 2, 0, "", b"")) == {}


def test_of_a_name_that_was_synced_and_whose_file_was_not_an_empty_one_is_left(tmp_path: Path) -> None:
    assert left(tmp_path, *MADE, ("f", 1, 0, "", b"")) == {"a": b""}


def test_writes_since_the_last_sync_are_dropped(tmp_path: Path) -> None:
    synced = (*MADE, ("f", 2, 0, "", b""), ("f", 1, 0, "", b""))
    assert left(tmp_path, *synced, ("w", 2, 1, "", b"xxx"), ("t", 2, 1, "", b"")) == {"a": b"one"}
    assert left(tmp_path, *synced, ("w", 2, 5, "", b"x"), ("f", 2, 0, "", b"")) == {"a": b"one\0\0x"}


def test_a_renaming_counts_once_its_directory_is_synced(tmp_path: Path) -> None:
    synced = (*MADE, ("f", 2, 0, "", b""), ("f", 1, 0, "", b""))
    renamed = (*synced, ("r", 0, 0, "/disk/a", b"/disk/b"))
    assert left(tmp_path / "1", *renamed) == {"a": b"one"}
    assert left(tmp_path / "2", *renamed, ("f", 1, 0, "", b"")) == {"b": b"one"}

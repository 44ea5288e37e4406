from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import RookeryError, StoreError
from learner.store import ExperienceReader, ExperienceStore
from learner.supply import AHEAD, UnitSupply
from tests.learner.units import WHITE, random_batch, record, store_with

PATIENCE_S = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents" / "white" / "experience.db"


@pytest.fixture
def store(path: Path) -> Iterator[ExperienceStore]:
    with store_with(path, [random_batch(unit) for unit in (0, 1, 3)]) as store:
        yield store


def taken(supply: UnitSupply) -> int:
    batch = supply.take(PATIENCE_S)
    assert batch is not None
    return batch.unit


def test_units_come_in_unit_order_and_none_is_left_out(path: Path, store: ExperienceStore) -> None:
    with UnitSupply(path, WHITE, 0) as supply:
        assert [taken(supply) for _ in range(2)] == [0, 1]
        assert supply.take(0.05) is None
        store.put_many([record(random_batch(2))])
        supply.stored()
        assert [taken(supply) for _ in range(2)] == [2, 3]


def test_it_goes_on_from_the_first_unit_asked_for(path: Path, store: ExperienceStore) -> None:
    with UnitSupply(path, WHITE, 3) as supply:
        assert taken(supply) == 3


def test_few_units_are_decoded_ahead_and_closing_does_not_wait_for_them(
    path: Path, store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_many([record(random_batch(unit)) for unit in range(2, 20)])
    read = []
    plain = ExperienceReader.batch

    def batch(self, unit):
        read.append(unit)
        return plain(self, unit)

    monkeypatch.setattr(ExperienceReader, "batch", batch)
    with UnitSupply(path, WHITE, 0) as supply:
        assert taken(supply) == 0
    assert len(read) <= 1 + AHEAD + 2


def test_what_reading_raises_comes_to_the_trainer(path: Path, store: ExperienceStore) -> None:
    path.with_name("other.db").write_bytes(b"")
    with (
        UnitSupply(path.with_name("other.db"), WHITE, 0) as supply,
        pytest.raises(StoreError, match=r"other\.db"),
    ):
        supply.take(PATIENCE_S)


def test_a_bug_comes_to_the_trainer_instead_of_leaving_it_waiting(
    path: Path, store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(self, unit):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(ExperienceReader, "batch", bug)
    with (
        UnitSupply(path, WHITE, 0) as supply,
        pytest.raises(RookeryError, match="in the supply: ZeroDivisionError"),
    ):
        supply.take(PATIENCE_S)

from pathlib import Path

import pytest

from broker.units import UnitReader
from common.errors import SourceError
from common.words import Unit

GAME = b'[Event "a"]\n\n1. e4 e5 1-0\n\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.pgn"
    path.write_bytes(b"".join(GAME.replace(b'"a"', b'"%d"' % number) for number in range(10)))
    return path


def numbers(reader: UnitReader, unit: int) -> list[int] | None:
    found = reader.get(Unit(unit))
    if found is None:
        return None
    assert found.unit == unit
    return [game.number for game in found.games]


def test_units_are_runs_of_consecutive_games_and_the_last_is_what_is_left(source: Path) -> None:
    reader = UnitReader([source], games_per_unit=4)
    assert [numbers(reader, unit) for unit in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], None]


def test_units_run_over_the_boundaries_of_sources(source: Path) -> None:
    reader = UnitReader([source, str(source)], games_per_unit=15)
    assert numbers(reader, 0) == list(range(15))
    assert numbers(reader, 1) == list(range(15, 20))


def test_totals_are_known_once_the_end_was_reached_and_stay_known(source: Path) -> None:
    reader = UnitReader([source], games_per_unit=4)
    numbers(reader, 1)
    assert [reader.units_total, reader.games_total] == [None, None]
    numbers(reader, 2)
    assert [reader.units_total, reader.games_total] == [3, 10]
    numbers(reader, 0)
    assert [reader.units_total, reader.games_total] == [3, 10]


def test_totals_of_full_units_are_known_after_one_more_was_asked_for(source: Path) -> None:
    reader = UnitReader([source], games_per_unit=5)
    assert numbers(reader, 1) == [5, 6, 7, 8, 9]
    assert [reader.units_total, reader.games_total] == [None, None]
    assert numbers(reader, 2) is None
    assert [reader.units_total, reader.games_total] == [2, 10]
    assert numbers(reader, 1) == [5, 6, 7, 8, 9]


def test_an_earlier_unit_is_read_again_and_is_the_same(source: Path) -> None:
    reader = UnitReader([source], games_per_unit=3)
    units = [reader.get(Unit(unit)) for unit in range(4)]
    assert [reader.get(Unit(unit)) for unit in (3, 1, 1, 2, 0)] == [units[unit] for unit in (3, 1, 1, 2, 0)]


def test_a_unit_further_on_is_read_without_those_before_it(source: Path) -> None:
    assert numbers(UnitReader([source], games_per_unit=3), 2) == [6, 7, 8]


def test_a_unit_far_beyond_the_end_is_none_and_gives_the_totals(source: Path) -> None:
    reader = UnitReader([source], games_per_unit=4)
    assert numbers(reader, 1_000_000) is None
    assert (reader.units_total, reader.games_total) == (3, 10)


@pytest.mark.parametrize(("limit", "last"), [(7, [4, 5, 6]), (8, [4, 5, 6, 7]), (5, [4])])
def test_a_limit_cuts_the_last_unit(source: Path, limit: int, last: list[int]) -> None:
    reader = UnitReader([source], games_per_unit=4, limit_games=limit)
    assert numbers(reader, 0) == [0, 1, 2, 3]
    assert numbers(reader, 1) == last
    assert numbers(reader, 2) is None
    assert (reader.units_total, reader.games_total, reader.fraction_read) == (2, limit, 1.0)


def test_a_limit_beyond_the_games_changes_nothing(source: Path) -> None:
    reader = UnitReader([source], games_per_unit=4, limit_games=1000)
    assert numbers(reader, 3) is None
    assert reader.games_total == 10


def test_sources_without_games_have_no_units(tmp_path: Path) -> None:
    (tmp_path / "a.pgn").write_bytes(b"\n")
    reader = UnitReader([tmp_path / "a.pgn"], games_per_unit=4)
    assert numbers(reader, 0) is None
    assert (reader.units_total, reader.games_total, reader.fraction_read) == (0, 0, 1.0)


def test_the_fraction_read_rises_to_one_and_never_falls(tmp_path: Path) -> None:
    (tmp_path / "a.pgn").write_bytes(GAME * 40_000)
    reader = UnitReader([tmp_path / "a.pgn"], games_per_unit=4000)
    assert reader.fraction_read == 0.0
    fractions = []
    for unit in range(10):
        reader.get(Unit(unit))
        fractions.append(reader.fraction_read)
    assert fractions == sorted(fractions)
    assert 0.05 < fractions[0] < 0.5
    reader.get(Unit(0))
    assert reader.fraction_read == fractions[-1]
    assert reader.get(Unit(10)) is None
    assert reader.fraction_read == 1.0


def test_with_a_limit_the_fraction_read_counts_games(source: Path) -> None:
    reader = UnitReader([source] * 10, games_per_unit=5, limit_games=20)
    reader.get(Unit(0))
    assert reader.fraction_read == pytest.approx(0.25)


def test_a_missing_source_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        UnitReader([tmp_path / "none.pgn"], games_per_unit=4)


def test_closing_and_asking_on_reads_again(source: Path) -> None:
    reader = UnitReader([source], games_per_unit=4)
    numbers(reader, 0)
    reader.close()
    assert numbers(reader, 1) == [4, 5, 6, 7]

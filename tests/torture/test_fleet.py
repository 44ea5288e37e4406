"""Scarce units for many actors, a small storm, and the sums behind the figures."""

import pytest

from tests.torture.fleet import Load, as_outcome, jain, measure, split
from tests.torture.fleet_services import slope_of
from tests.torture.fleet_storm import run_storm
from tests.torture.outcome import Setting


@pytest.fixture
def setting(tmp_path, base_port) -> Setting:
    return Setting(seed=1, short=True, folder=tmp_path, base_port=base_port, say=print)


@pytest.mark.slow
def test_scarce_units_are_shared_out_fairly(setting):
    outcome = as_outcome(measure(Load(40, 0.0005, 2.0, 5.0, ahead=16), setting))
    assert outcome.passed, outcome
    assert outcome.stored


@pytest.mark.slow
def test_a_run_comes_to_its_end_under_storms_of_connections(setting):
    outcome = run_storm(setting)
    assert outcome.passed, outcome
    assert (outcome.stored, outcome.lost, outcome.doubled) == (outcome.expected, 0, 0)


def test_jains_index_is_one_where_all_got_the_same_and_one_nth_where_one_got_all():
    assert jain([3, 3, 3]) == pytest.approx(1.0)
    assert jain([9, 0, 0]) == pytest.approx(1 / 3)
    assert jain([0, 0]) == 0.0


@pytest.mark.parametrize("actors", [1, 30, 100, 999, 1000])
def test_every_simulated_actor_has_a_process(actors):
    assert sum(split(actors)) == actors
    assert max(split(actors)) <= 250


def test_the_slope_is_by_how_much_a_figure_grows_a_second():
    assert slope_of({0.0: 5.0, 1.0: 7.0, 2.0: 9.0}) == pytest.approx(2.0)
    assert slope_of({0.0: 5.0}) == 0.0

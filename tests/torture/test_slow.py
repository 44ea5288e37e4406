"""Short versions of a crawling learner, a stopped one and a hung engine."""

import pytest

from tests.torture.outcome import Setting
from tests.torture.slow import a_hung_engine, a_slow_learner, a_stopped_learner

pytestmark = pytest.mark.slow


@pytest.fixture
def setting(tmp_path, base_port) -> Setting:
    return Setting(seed=1, short=True, folder=tmp_path, base_port=base_port, say=print)


@pytest.mark.parametrize("part", [a_slow_learner, a_stopped_learner, a_hung_engine])
def test_what_is_slow_does_not_hold_up_the_rest(part, setting):
    outcome = part(setting)
    assert outcome.passed, outcome

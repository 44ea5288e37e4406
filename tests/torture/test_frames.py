from pathlib import Path

import pytest

from tests.torture import frames
from tests.torture.decoders import feed
from tests.torture.outcome import Setting


@pytest.fixture
def setting(tmp_path: Path, base_port: int) -> Setting:
    return Setting(seed=5, short=True, folder=tmp_path, base_port=base_port, say=print)


def test_no_decoder_lets_anything_but_message_errors_out() -> None:
    found = feed(3000, 5)
    assert found.escaped == []
    assert sum(found.reasons.values()) + found.accepted == sum(found.frames.values()) >= 3000
    assert len(found.reasons) < 60


@pytest.mark.slow
def test_hostile_games_are_read_or_rejected(setting: Setting) -> None:
    outcome = frames.feed_games(setting, frames.SHORT)
    assert outcome.failures == []
    assert outcome.faults > 100


@pytest.mark.slow
def test_a_hostile_broker_gets_nothing_into_a_store(setting: Setting, stockfish: str) -> None:
    assert frames.lie_to_services(setting, frames.SHORT).failures == []


@pytest.mark.long
def test_a_flood_with_an_actors_key_changes_nothing(setting: Setting, stockfish: str) -> None:
    games = frames.games_for(frames.SHORT.games)
    settings = frames.settings_of(setting, frames.SHORT, games)
    wanted = frames.undisturbed(settings, games, frames.SHORT.games)
    outcome = frames.flood_broker(setting, frames.SHORT, wanted, authenticated=True)
    assert outcome.failures == []
    assert outcome.passed
    assert outcome.weights_identical

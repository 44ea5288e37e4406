import resource
import time
from pathlib import Path

import pytest

from actor.engine import Engine
from common.errors import EngineNotUsable
from tests.actor.engine_games import game_of
from tests.actor.fake_engine import fake_engine, starts
from tests.actor.hostile_engines import HARMLESS, LIES, NO_ENGINES

MEMORY_BYTES = 256 * 1024 * 1024


def scored(engine: Engine, ticket: int):
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        for evaluated in engine.poll(1.0):
            if evaluated.ticket == ticket:
                return evaluated
    raise AssertionError("the engine doesn't finish")


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_engine_costs_its_game_and_is_started_again(tmp_path: Path, lie: str) -> None:
    body, failure = LIES[lie]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Engine(fake_engine(tmp_path, body), nodes=10, patience_s=0.2, back_off_s=0.001) as engine:
        evaluated = scored(engine, engine.submit(game_of(["e2e4"])))
        assert engine.stats().restarts >= 2
    assert evaluated.scores is None
    assert failure in (evaluated.failure or "")
    assert starts(tmp_path) >= 3
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY_BYTES


@pytest.mark.parametrize("oddity", HARMLESS)
def test_what_an_engine_says_beside_its_scores_does_not_matter(tmp_path: Path, oddity: str) -> None:
    with Engine(fake_engine(tmp_path, HARMLESS[oddity]), nodes=10, patience_s=5.0) as engine:
        evaluated = scored(engine, engine.submit(game_of(["e2e4", "e7e5"])))
    assert evaluated.scores is not None
    assert evaluated.scores.tolist() == [7, 7, 7]


@pytest.mark.parametrize("greeting", NO_ENGINES)
def test_a_hostile_greeting_is_one_clear_line_in_good_time(tmp_path: Path, greeting: str) -> None:
    body, refusal = NO_ENGINES[greeting]
    begun_s = time.monotonic()
    if refusal is None:
        with Engine(fake_engine(tmp_path, body), nodes=10) as engine:
            assert len(engine.fingerprint) < 500
            assert "\n" not in engine.fingerprint
    else:
        with pytest.raises(EngineNotUsable, match=refusal) as caught:
            Engine(fake_engine(tmp_path, body), nodes=10, handshake_s=1.0).__enter__()
        assert "\n" not in str(caught.value)
    assert time.monotonic() - begun_s < 30

"""Zombies and twins on small runs."""

from pathlib import Path

import pytest

from tests.torture.outcome import Setting
from tests.torture.zombies import run


@pytest.mark.long
@pytest.mark.usefixtures("nats_server_binary")
def test_zombies_and_twins_do_no_harm(tmp_path: Path, base_port: int, stockfish: str) -> None:
    outcomes = run(Setting(seed=1, short=True, folder=tmp_path, base_port=base_port, say=print))
    for outcome in outcomes:
        assert outcome.failures == [], outcome.part
        assert outcome.passed, outcome
    assert len(outcomes) == 4

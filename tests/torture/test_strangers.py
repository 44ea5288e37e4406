"""A short torture by strangers."""

from pathlib import Path

import pytest

from tests.torture.outcome import Setting
from tests.torture.strangers import run

pytestmark = pytest.mark.slow


def test_strangers_are_kept_out_of_a_run_with_keys(tmp_path: Path, base_port: int, stockfish: str) -> None:
    outcomes = run(Setting(seed=1, short=True, folder=tmp_path, base_port=base_port, say=print))
    assert [outcome.part for outcome in outcomes if not outcome.passed] == [], outcomes
    assert outcomes[-1].weights_identical

"""The audit finds what is lost, doubled or different."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from agent.weights import load_weights, save_weights
from learner.directory import AgentDirectory
from tests.deploy.runs import report_of
from tests.torture.undisturbed import _doubled, audit, games_for, settings_for, undisturbed

GAMES = 6


@pytest.mark.slow
def test_an_audit_finds_what_is_lost_doubled_or_different(tmp_path: Path, stockfish: str) -> None:
    games = games_for(GAMES)
    settings = settings_for(
        games, tmp_path / "run", limit_games=GAMES, games_per_unit=2, nodes=20, batch_size=64, device="cpu"
    )
    wanted = undisturbed(settings, games, GAMES)
    run = tmp_path / "undisturbed"
    white = AgentDirectory.of(run, "white")
    found = audit(run, wanted, report_of(run))
    assert (found.expected, found.stored, found.lost, found.doubled) == (6, 6, 0, 0)
    assert found.weights_identical
    assert found.failures == ()

    connection = sqlite3.connect(white.experience)
    with connection:
        connection.execute("DELETE FROM units WHERE unit = 1")
    connection.close()
    weights, about = load_weights(white.weights)
    name = min(weights)
    save_weights(white.weights, {**weights, name: np.nextafter(weights[name], np.float32(9))}, about)
    found = audit(run, wanted)
    assert (found.expected, found.stored, found.lost, found.doubled) == (6, 5, 1, 0)
    assert not found.weights_identical
    assert len(found.failures) == 1
    assert found.failures[0].startswith("white: stored StoreTotals(units=2, ")


def test_a_game_in_two_units_counts_as_two_doubled_units() -> None:
    assert _doubled({0: [0, 1], 1: [2, 3]}) == 0
    assert _doubled({0: [0, 1], 1: [1, 2], 2: [3]}) == 2

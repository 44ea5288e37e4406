"""What the tests of whole pipelines share: the plain run that all others must equal."""

import pytest

from tests.deploy.expected import expected_totals
from tests.deploy.reference import FLAGS, FLAWED, LIMIT_GAMES, UNITS, Reference
from tests.deploy.runs import SAMPLE, Run, weights_of


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, stockfish: str) -> Reference:
    """The same pipeline in one process without sockets, run once."""
    del stockfish
    folder = tmp_path_factory.mktemp("reference")
    flawed = folder / "flawed.pgn"
    flawed.write_text(FLAWED)
    games = (flawed, SAMPLE)
    with Run(folder / "run", *FLAGS, "--sequential", games=games) as run:
        ended = run.end()
    assert ended.code == 0, ended.err
    totals = expected_totals(games, LIMIT_GAMES, UNITS)
    return Reference(games=games, totals=totals, weights=weights_of(folder / "run"), directory=folder / "run")

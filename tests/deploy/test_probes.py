"""Probes all the way: from the weights that a learner publishes to the batches in its store."""

from pathlib import Path

import pytest

from common.settings import AgentSettings, Side
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from tests.deploy.runs import SAMPLE, Run, report_of

pytestmark = pytest.mark.slow

BOTH = AgentSettings(name="both", side=Side.BOTH)
FLAGS = (
    "--sequential", "--limit-games", "12", "--games-per-unit", "1", "--nodes", "20", "--max-units-ahead", "2",
    "--probe-rate", "0.4", "--publish-every", "2", "--batch-size", "64", "--samples-per-transition", "1",
)  # fmt: skip


def test_probes_are_of_ever_newer_weights_and_games_stay_accounted_for(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[[agents]]\nname = "both"\nside = "both"\n')
    with Run(tmp_path / "run", "--settings", str(settings), *FLAGS, games=[SAMPLE]) as run:
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    report = report_of(tmp_path / "run")
    assert report.finished
    assert report.closed
    with ExperienceReader(AgentDirectory.of(tmp_path / "run", "both").experience, BOTH) as store:
        probes = [batch.probes for batch in store.batches(0)]
        rows = sum(len(batch) for batch in store.batches(0))
    assert rows == report.agents[0].totals.transitions
    versions = [int(probe.versions.max()) for probe in probes if len(probe)]
    assert len(versions) >= 6  # the first units come before any weights
    assert versions == sorted(versions)
    assert len(set(versions)) >= 3
    probed = sum(len(batch) for batch in probes)
    assert 0.1 * rows < probed < 0.5 * rows

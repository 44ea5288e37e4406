from pathlib import Path

import pytest
from click.testing import CliRunner

from common.errors import RunDirectoryError
from common.run_files import SETTINGS_FILE
from common.settings import AgentSettings, Settings, Side, to_toml
from learner.baselines_command import baselines
from learner.directory import AgentDirectory
from learner.store import ExperienceStore
from tests.learner.units import WHITE

BOTH = AgentSettings(name="both", side=Side.BOTH)


def run_in(directory: Path, settings: Settings) -> Path:
    """A run in which white has a store and nobody else."""
    (directory / SETTINGS_FILE).write_text(to_toml(settings))
    ExperienceStore(AgentDirectory.of(directory, "white").experience, WHITE).close()
    return directory


def refusal(directory: Path) -> str:
    error = CliRunner().invoke(baselines, [str(directory)]).exception
    assert isinstance(error, RunDirectoryError), error
    return str(error)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith(f"holds no {SETTINGS_FILE}; name the --run of a `rookery up`")
    assert refusal(tmp_path / "none").endswith("no such directory")


def test_a_run_without_experience_or_with_a_table_is_refused(tmp_path: Path) -> None:
    run = run_in(tmp_path, Settings(agents=(WHITE, BOTH)))
    assert refusal(run) == f"{run}: the agent both has no experience yet: let the run begin"
    run = run_in(tmp_path, Settings(agents=(WHITE,), network="table"))
    assert refusal(run) == f"{run}: a table has no baselines: they are for networks"


@pytest.mark.parametrize("network", ["table", "mlp"])
def test_nothing_is_written_for_a_run_that_is_refused(tmp_path: Path, network: str) -> None:
    run = run_in(tmp_path, Settings(agents=(BOTH,), network=network))
    refusal(run)
    assert not (run / "baselines").exists()

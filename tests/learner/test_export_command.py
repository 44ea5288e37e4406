import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from common.errors import OperatorError
from common.settings import Settings, to_toml
from learner.directory import AgentDirectory
from learner.export_command import export
from learner.store import ExperienceStore
from tests.learner.units import WHITE, random_batch, record


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A run with three units of white's; black has stored nothing."""
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    (run / "settings.toml").write_text(to_toml(Settings(run=str(run))))
    with ExperienceStore(AgentDirectory.of(run, "white").experience, WHITE) as store:
        store.put_many([record(random_batch(unit)) for unit in range(3)])
    return run


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


def refusal(*arguments: str | Path) -> str:
    """The line of the operator's error that these arguments raise."""
    error = invoke(*arguments).exception
    assert isinstance(error, OperatorError), error
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_it_says_rows_file_and_size(run_directory: Path, tmp_path: Path, suffix: str) -> None:
    to = tmp_path / f"white.{suffix}"
    rows = sum(len(random_batch(unit)) for unit in range(3))
    result = invoke(run_directory, "--agent", "white", "--to", to)
    assert result.exit_code == 0
    assert result.output == f"{rows} rows of white in {to} ({to.stat().st_size / 1000:.1f} kB)\n"
    if suffix == "parquet":
        assert len(pd.read_parquet(to)) == rows


def test_a_directory_that_is_not_there_or_no_run_is_refused_with_the_likely_one(
    run_directory: Path, tmp_path: Path
) -> None:
    to = ("--agent", "white", "--to", tmp_path / "white.csv")
    wrong = run_directory.with_name("frist")
    assert refusal(wrong, *to) == f"{wrong}: no such directory; did you mean {run_directory}?"
    assert refusal(tmp_path / "a" / "b", *to) == f"{tmp_path / 'a' / 'b'}: no such directory"
    assert refusal(run_directory / "settings.toml", *to).endswith("settings.toml: not a directory")
    inner = run_directory / "agents" / "white"
    assert refusal(inner, *to).endswith(f"holds no settings.toml; did you mean {run_directory}?")
    assert refusal(tmp_path, *to).endswith("holds no settings.toml; name the --run of a `rookery up`")


def test_damaged_settings_are_named(run_directory: Path, tmp_path: Path) -> None:
    (run_directory / "settings.toml").write_text("nodes = many\n")
    assert "settings.toml: not valid TOML" in refusal(run_directory, "--agent", "white", "--to", tmp_path / "a.csv")


def test_an_unknown_agent_or_suffix_and_an_empty_store_are_refused(run_directory: Path, tmp_path: Path) -> None:
    csv = ("--to", tmp_path / "table.csv")
    assert refusal(run_directory, "--agent", "whyte", *csv) == (
        "no agent is called 'whyte'; the settings have: white, black; did you mean white?"
    )
    assert refusal(run_directory, "--agent", "white", "--to", tmp_path / "table.xlsx").endswith(
        "table.xlsx: the suffix must be one of .parquet, .csv, .jsonl"
    )
    assert refusal(run_directory, "--agent", "black", *csv) == (
        f"{run_directory}: nothing is stored yet for black; see how the run stands: rookery status"
    )
    assert not list(tmp_path.glob("table*"))


def test_a_store_with_units_but_no_rows_gives_an_empty_table(run_directory: Path, tmp_path: Path) -> None:
    store = AgentDirectory.of(run_directory, "white").experience
    store.unlink()
    with ExperienceStore(store, WHITE) as empty:
        empty.put_many([record(random_batch(0, games=0))])
    result = invoke(run_directory, "--agent", "white", "--to", tmp_path / "white.csv")
    assert result.output.startswith("0 rows of white")


def test_the_installed_command_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("rookery")), "export", str(tmp_path / "no"), "--agent", "white"]
    ended = subprocess.run([*command, "--to", "white.csv"], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == f"rookery: {tmp_path / 'no'}: no such directory\n"

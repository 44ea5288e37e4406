from pathlib import Path

import pytest

from common.errors import RunDirectoryError
from common.run_files import SETTINGS_FILE, is_run, settings_of, settings_of_run
from common.settings import Settings, to_toml


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    (run / SETTINGS_FILE).write_text(to_toml(Settings(nodes=77)))
    return run


def test_the_settings_of_a_run_are_those_in_it(run: Path) -> None:
    assert is_run(run)
    assert settings_of(run).nodes == 77


def test_what_is_no_run_is_refused_with_the_one_that_was_meant(run: Path) -> None:
    wrong = run.with_name("frist")
    assert not is_run(wrong)
    with pytest.raises(RunDirectoryError, match=f"no such directory; did you mean {run}"):
        settings_of(wrong)
    inner = run / "agents"
    inner.mkdir()
    with pytest.raises(RunDirectoryError, match=f"holds no {SETTINGS_FILE}; did you mean {run}"):
        settings_of(inner)
    assert not is_run(run / SETTINGS_FILE)


def test_settings_of_another_release_are_said_to_be_such(run: Path) -> None:
    (run / SETTINGS_FILE).write_text("tau = 3\n")
    with pytest.raises(RunDirectoryError, match="unknown setting tau.*of another release"):
        settings_of(run)


def test_a_run_that_keeps_no_settings_is_read_with_those_of_the_services(run: Path, tmp_path: Path) -> None:
    bare, given = tmp_path / "bare", tmp_path / "rookery.toml"
    bare.mkdir()
    given.write_text("nodes = 55\n")
    settings = settings_of_run(bare, given)
    assert (settings.nodes, settings.directory) == (55, bare)
    assert settings_of_run(run, given).nodes == 77
    with pytest.raises(RunDirectoryError, match=f"holds no {SETTINGS_FILE}; .*by --settings"):
        settings_of_run(bare, None)

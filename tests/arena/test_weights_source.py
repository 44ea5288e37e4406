import json
from pathlib import Path

import pytest
import torch

from agent.networks import Mlp
from agent.weights import save_weights
from arena.weights_source import about_weights, weights_in
from common.errors import RunDirectoryError, SettingsError, StoreError
from common.settings import AgentSettings, Settings, Side, to_toml


def write_weights(path: Path, agent: str) -> Path:
    network = Mlp()
    network.initialise(torch.Generator().manual_seed(len(agent)))
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"agent": agent, "network": "mlp", "version": 3, "step": 200}
    save_weights(path, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, about)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two agents, one of which has weights."""
    (tmp_path / "settings.toml").write_text(to_toml(Settings(games=("/secret/place.pgn",), nodes=77)))
    write_weights(tmp_path / "agents" / "white" / "weights.safetensors", "white")
    return tmp_path


def test_the_agent_of_a_run_is_named(run: Path) -> None:
    weights = run / "agents" / "white" / "weights.safetensors"
    assert weights_in(run, "white") == weights
    assert weights_in(run / "agents" / "white") == weights
    assert weights_in(weights) == weights


def test_a_run_with_one_agent_needs_no_name(run: Path) -> None:
    settings = Settings(agents=(AgentSettings(name="both", side=Side.BOTH),))
    (run / "settings.toml").write_text(to_toml(settings))
    both = write_weights(run / "agents" / "both" / "weights.safetensors", "both")
    assert weights_in(run) == both
    assert about_weights(both)["side"] == "both"


@pytest.mark.parametrize(
    ("agent", "kind", "reason"),
    [
        (None, SettingsError, "has the agents white, black: say which with --agent"),
        ("whit", SettingsError, "did you mean white"),
        ("black", RunDirectoryError, "black has no weights yet"),
    ],
)
def test_what_a_run_does_not_have_is_one_clear_line(run: Path, agent: str | None, kind: type, reason: str) -> None:
    with pytest.raises(kind, match=reason):
        weights_in(run, agent)


def test_an_agent_of_a_file_is_refused(run: Path) -> None:
    with pytest.raises(SettingsError, match="is not a run directory"):
        weights_in(run / "agents" / "white", "white")
    with pytest.raises(RunDirectoryError, match="no such file"):
        weights_in(run / "nothing")


def test_weights_in_a_run_say_whose_they_are_and_which_settings_made_them(run: Path) -> None:
    about = about_weights(weights_in(run, "white"))
    assert (about["agent"], about["side"], about["network"], about["step"]) == ("white", "white", "mlp", 200)
    settings = json.loads(str(about["settings"]))
    assert settings["nodes"] == 77
    assert "secret" not in json.dumps(about)


def test_weights_elsewhere_say_what_they_said(tmp_path: Path) -> None:
    about = about_weights(write_weights(tmp_path / "w.safetensors", "white"))
    assert "settings" not in about
    assert about["version"] == 3


def test_a_checkpoint_says_what_its_manifest_says(run: Path) -> None:
    checkpoint = run / "agents" / "white" / "checkpoints" / "step-000000300-unit-000000002"
    checkpoint.mkdir(parents=True)
    said = {"agent": "white", "network": "mlp", "step": 300, "version": 4, "next_unit": 2, "transitions": 9}
    (checkpoint / "manifest.json").write_text(json.dumps({**said, "sha256": "x", "files": {}}))
    about = about_weights(checkpoint)
    assert said.items() <= about.items()
    assert {"side", "settings", "rookery"} <= about.keys()


def test_a_directory_that_is_no_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a checkpoint"):
        about_weights(tmp_path)

import json
from pathlib import Path

import chess
import numpy as np
import pytest
import torch

from agent import loading
from agent.loading import load_network, load_player, network_of
from agent.networks import Mlp
from agent.player import Player
from agent.weights import Arrays, save_weights
from common.errors import RookeryError, RunDirectoryError, StoreError
from common.settings import AgentSettings, Settings, Side, to_toml


def small_mlp() -> Mlp:
    return Mlp(accumulator=8, width=16)


@pytest.fixture(autouse=True)
def fast_mlp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loading.NETWORKS, "mlp", small_mlp)


def arrays_of(seed: int) -> dict[str, np.ndarray]:
    made = small_mlp()
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2, generator=generator)
    return {name: tensor.numpy() for name, tensor in made.state_dict().items()}


def saved(path: Path, seed: int, **about: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, arrays_of(seed), {"network": "mlp", **about})
    return path


def run_of(path: Path, *agents: AgentSettings, trained: int) -> Path:
    """A run directory in which the first `trained` of the agents have weights, by the seeds 1, 2 and so on."""
    for number, agent in enumerate(agents[:trained], start=1):
        saved(path / "agents" / agent.name / "weights.safetensors", number)
    path.mkdir(exist_ok=True)
    (path / "settings.toml").write_text(to_toml(Settings(agents=agents)))
    return path


def checkpoint(path: Path, network: str = "mlp") -> Path:
    path.mkdir()
    save_weights(path / "network.safetensors", arrays_of(1), {})
    (path / "manifest.json").write_text(json.dumps({"network": network}))
    return path


def same(player: Player, board: chess.Board, seed: int) -> bool:
    """Whether the player judges the board by the network of that seed."""
    network = network_of("mlp", arrays_of(seed))
    expected = Player.of(white=network, black=network).judge([board])[0]
    return bool(np.allclose(player.judge([board])[0].policy, expected.policy, atol=1e-5))


START = chess.Board()
REPLY = chess.Board("rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1")
WHITE, BLACK = AgentSettings(name="white", side=Side.WHITE), AgentSettings(name="black", side=Side.BLACK)
BOTH = AgentSettings(name="all", side=Side.BOTH)


def test_a_run_joins_the_agents_of_the_two_colours(tmp_path: Path) -> None:
    player = load_player(run_of(tmp_path / "run", BLACK, WHITE, trained=2), tau=0.05)
    assert player.name == "run"
    assert (same(player, REPLY, 1), same(player, START, 2), same(player, START, 1)) == (True, True, False)


def test_an_agent_for_both_sides_plays_both(tmp_path: Path) -> None:
    player = load_player(run_of(tmp_path / "run", BOTH, trained=1))
    assert same(player, START, 1)
    assert same(player, REPLY, 1)


def test_an_agent_for_one_side_plays_the_other_where_there_is_none_for_it(tmp_path: Path) -> None:
    player = load_player(run_of(tmp_path / "run", WHITE, trained=1))
    assert same(player, START, 1)
    assert same(player, REPLY, 1)


def test_a_checkpoint_and_a_file_of_weights_play_both_colours(tmp_path: Path) -> None:
    for path in (checkpoint(tmp_path / "step-1-unit-1"), saved(tmp_path / "w.safetensors", 1)):
        player = load_player(path, tau=0.5)
        assert (player.name, player.tau) == (path.stem, 0.5)
        assert same(load_player(path), START, 1)
        assert same(load_player(path), REPLY, 1)
    agent = saved(tmp_path / "agent" / "weights.safetensors", 1).parent
    assert same(load_player(agent), START, 1)


def test_networks_are_ready_to_be_asked_and_not_to_be_trained(tmp_path: Path) -> None:
    network = load_network(saved(tmp_path / "w.safetensors", 1))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def other(**changes: np.ndarray | None) -> Arrays:
    arrays = {**arrays_of(1), **{name.replace("__", "."): array for name, array in changes.items()}}
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("name", "arrays", "told"),
    [
        ("table", {}, "network 'table' can't play; those that can are: mlp, resnet, transformer"),
        ("mlp", {}, "the arrays are not those of the network mlp"),
        ("resnet", arrays_of(1), "the arrays are not those of the network resnet"),
        ("mlp", other(value__bias=None), "the arrays are not those of the network mlp"),
        ("mlp", other(more=np.zeros(3, np.float32)), "the arrays are not those of the network mlp"),
        ("mlp", other(value__bias=np.zeros(3, np.float32)), "the arrays are not those of the network mlp"),
    ],
)
def test_arrays_that_are_no_networks_are_refused_in_one_line(name: str, arrays: Arrays, told: str) -> None:
    with pytest.raises(StoreError) as caught:
        network_of(name, arrays)
    assert str(caught.value) == told


def refusal(path: Path) -> str:
    with pytest.raises((StoreError, RunDirectoryError)) as caught:
        load_player(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def test_what_holds_no_player_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == ": there is no such file or directory"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == ": not a checkpoint: its manifest.json can't be read"
    for number, manifest in enumerate([b"", b"\xff", b"[]", b"{}", b"7", b'{"network": "table"}']):
        path = checkpoint(tmp_path / f"checkpoint-{number}")
        (path / "manifest.json").write_bytes(manifest)
        assert refusal(path)
    (tmp_path / "text").write_text("no weights")
    assert "can't read the weights" in refusal(tmp_path / "text")
    save_weights(tmp_path / "nameless", arrays_of(1), {})
    assert refusal(tmp_path / "nameless") == ": doesn't say which network its weights are of"
    assert refusal(saved(tmp_path / "table", 1, network="table")).startswith(": network 'table' can't play")
    run = run_of(tmp_path / "run", WHITE, BLACK, trained=1)
    assert refusal(run) == ": the agent black has no weights yet: let it train first"


def test_a_checkpoint_without_its_arrays_is_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "checkpoint")
    (path / "network.safetensors").unlink()
    assert "can't read the weights" in refusal(path)


def test_settings_that_are_broken_are_one_line_too(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", WHITE, trained=1)
    (run / "settings.toml").write_text("nodes = = 3")
    with pytest.raises(RookeryError) as caught:
        load_player(run)
    assert "\n" not in str(caught.value)


def test_the_manifest_of_a_learners_checkpoint_names_its_network(tmp_path: Path) -> None:
    from learner.checkpoints import CheckpointDirectory
    from learner.state import RandomState, TrainerState

    state = TrainerState(
        agent="white", network="mlp", step=1, version=0, next_unit=1, transitions=1, td_error=None,
        validation_loss=None, random_state=RandomState.of(np.random.default_rng(0)),
        arrays={"network": arrays_of(1)},
    )  # fmt: skip
    assert same(load_player(CheckpointDirectory(tmp_path, keep=1).save(state)), START, 1)

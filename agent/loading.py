"""Networks by name, and players from files: a run directory, a checkpoint, or a file of weights."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from agent.networks import Mlp, Network, ResNet, Transformer
from agent.player import TAU, Player
from agent.weights import Arrays, load_weights
from common.errors import RunDirectoryError, StoreError
from common.run_files import MANIFEST_FILE, SETTINGS_FILE, WEIGHTS_FILE, is_run
from common.settings import AgentSettings, Side, read_file

NETWORKS: dict[str, Callable[[], Network]] = {"mlp": Mlp, "resnet": ResNet, "transformer": Transformer}
"""Every network by the name that settings and weights give it."""

_CHECKPOINT_WEIGHTS = "network.safetensors"


def network_of(name: str, arrays: Arrays) -> Network:
    """Return the network called `name` with the weights `arrays`, on the CPU, ready to be asked.

    Raises StoreError when there is no such network, or the arrays are another one's.
    """
    if name not in NETWORKS:
        raise StoreError(f"network {name!r} can't play; those that can are: {', '.join(NETWORKS)}")
    network = NETWORKS[name]()
    found = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    try:
        network.load_state_dict(found)
    except RuntimeError as error:
        raise StoreError(f"the arrays are not those of the network {name}") from error
    return network.requires_grad_(False).eval()


def load_network(path: Path) -> Network:
    """Return the network in a file of weights or a checkpoint directory; raises StoreError for anything else."""
    if path.is_dir():
        try:
            name = json.loads((path / MANIFEST_FILE).read_bytes())["network"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: not a checkpoint: its {MANIFEST_FILE} can't be read") from error
        arrays, _ = load_weights(path / _CHECKPOINT_WEIGHTS)
    else:
        arrays, about = load_weights(path)
        name = about.get("network")
        if name is None:
            raise StoreError(f"{path}: doesn't say which network its weights are of")
    try:
        return network_of(str(name), arrays)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error


def load_player(path: Path, *, tau: float | None = None) -> Player:
    """Return the player in `path`: a run directory, a checkpoint directory, or a file of weights.

    Of a run the agents of the two colours are joined, the first of each in the settings; a single network plays
    both colours. Raises RunDirectoryError or StoreError, in one line, when there is none.
    """
    tau = TAU if tau is None else tau
    if not path.exists():
        raise RunDirectoryError(f"{path}: there is no such file or directory")
    if is_run(path):
        agents = read_file(path / SETTINGS_FILE).agents
        networks = {side: load_network(_weights_of(path, agents, side)) for side in (Side.WHITE, Side.BLACK)}
        return Player.of(white=networks[Side.WHITE], black=networks[Side.BLACK], name=path.name, tau=tau)
    if path.is_dir() and (path / WEIGHTS_FILE).exists():
        path = path / WEIGHTS_FILE
    network = load_network(path)
    return Player.of(white=network, black=network, name=path.stem, tau=tau)


def _weights_of(run: Path, agents: tuple[AgentSettings, ...], side: Side) -> Path:
    """Return the weights of the first agent that plays `side`; of a run without one, those of its first agent."""
    chosen = next((agent for agent in agents if side in agent.side.colours), agents[0])
    path = run / "agents" / chosen.name / WEIGHTS_FILE
    if not path.exists():
        raise RunDirectoryError(f"{run}: the agent {chosen.name} has no weights yet: let it train first")
    return path

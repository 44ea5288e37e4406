"""Where an agent's weights are, and all that is known of them: agent, step, and the settings of their run."""

import json
from importlib.metadata import version
from pathlib import Path

import msgspec

from agent.weights import load_weights
from common.errors import RunDirectoryError, SettingsError, StoreError
from common.run_files import MANIFEST_FILE, SETTINGS_FILE, WEIGHTS_FILE, is_run
from common.settings import IDENTITY, AgentSettings, Settings, read_file

_MANIFEST_SAYS = ("agent", "network", "step", "version", "next_unit", "transitions")

About = dict[str, str | int]


def weights_in(path: Path, agent: str | None = None) -> Path:
    """Return the file of weights or the checkpoint directory that `path` leads to.

    `agent` chooses among those of a run. Raises SettingsError where it must be named, or is not one of them, and
    RunDirectoryError where there is nothing, or nothing yet.
    """
    if not path.exists():
        raise RunDirectoryError(f"{path}: there is no such file or directory")
    if is_run(path):
        chosen = _chosen(path, read_file(path / SETTINGS_FILE), agent)
        weights = path / "agents" / chosen.name / WEIGHTS_FILE
        if not weights.exists():
            raise RunDirectoryError(f"{path}: the agent {chosen.name} has no weights yet: let it train first")
        return weights
    if agent is not None:
        raise SettingsError(f"--agent chooses among the agents of a run, and {path} is not a run directory")
    return path / WEIGHTS_FILE if path.is_dir() and (path / WEIGHTS_FILE).exists() else path


def about_weights(source: Path) -> About:
    """Return what a file of weights or a checkpoint says of itself, and what its run adds.

    Beside agent, network, step and version: `side`, `rookery` (this release), and `settings`, as JSON, those that
    decided the weights. Raises StoreError if `source` is no such thing.
    """
    about = _manifest(source) if source.is_dir() else dict(load_weights(source)[1])
    about["rookery"] = version("rookery")
    run = next((above for above in source.absolute().parents if is_run(above)), None)
    if run is None or source.absolute().relative_to(run).parts[0] != "agents":
        return about
    settings = read_file(run / SETTINGS_FILE)
    about["settings"] = json.dumps({name: msgspec.to_builtins(getattr(settings, name)) for name in IDENTITY})
    for agent in settings.agents:
        if agent.name == about.get("agent"):
            about["side"] = agent.side.value
    return about


def _chosen(run: Path, settings: Settings, agent: str | None) -> AgentSettings:
    if agent is not None:
        return settings.agent(agent)
    if len(settings.agents) > 1:
        names = ", ".join(each.name for each in settings.agents)
        raise SettingsError(f"{run}: has the agents {names}: say which with --agent")
    return settings.agents[0]


def _manifest(checkpoint: Path) -> About:
    try:
        manifest = json.loads((checkpoint / MANIFEST_FILE).read_bytes())
        return {name: manifest[name] for name in _MANIFEST_SAYS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{checkpoint}: not a checkpoint: its {MANIFEST_FILE} can't be read") from error

"""Baselines: the same network on the same games, by the same number of gradient steps, with a simpler objective.

`cloning` imitates the moves that were played, `value` learns what positions are worth; what SARSA and probes add
shows beside them. Reads an agent's experience store; a learner may be writing beside it.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from agent.weights import save_weights
from common.errors import RunDirectoryError, StoreError
from common.files import make_directory, write_whole
from common.run_files import SETTINGS_FILE
from common.settings import AgentSettings, Objective, Settings, to_toml
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from learner.trainer import Trainer

COOLDOWN_STEPS = 20
"""Gradient steps between two words on the progress of the cooldown."""


def baseline_directory(run: Path, objective: Objective) -> Path:
    """Return where a run's baselines of one objective are: laid out as a run directory, so that they can play."""
    return run / "baselines" / objective.value


def prepare_directory(settings: Settings, objective: Objective) -> None:
    """Make the directory of a run's baselines of one objective; raises RunDirectoryError where it can't be."""
    directory = baseline_directory(settings.directory, objective)
    make_directory(directory)
    try:
        write_whole(directory / SETTINGS_FILE, to_toml(settings).encode())
    except OSError as error:
        raise RunDirectoryError(f"{directory}: can't be written: {error.strerror}") from error


def train_baseline(
    settings: Settings, agent: AgentSettings, objective: Objective, progress: Callable[[str], None]
) -> Path:
    """Train a baseline of `agent` on every unit in its store, and return the file of its weights.

    `progress` is told how far it is. Raises StoreError when the store is missing or damaged, TrainingError when
    a loss is no finite number.
    """
    torch.set_num_threads(1)
    trainer = Trainer(settings, agent, torch.device("cpu"), objective=objective)
    home = AgentDirectory.of(settings.directory, agent.name)
    with ExperienceReader(home.experience, agent) as store:
        first = next(iter(store.intervals()), None)
        units = first.last + 1 if first is not None and first.first == 0 else 0  # as far as none is missing
        for batch in store.batches(0, units):
            trainer.train_unit(batch)
            progress(f"{trainer.next_unit}/{units} units, step {trainer.step}")
    while not trainer.cooled_down:
        trainer.cool_down(COOLDOWN_STEPS)
        progress(f"{units}/{units} units, step {trainer.step}, cooldown")
    final = trainer.final_weights()
    directory = baseline_directory(settings.directory, objective)
    path = AgentDirectory.of(directory, agent.name).weights
    make_directory(path.parent)
    about: dict[str, str | int] = {"agent": agent.name, "network": settings.network, "objective": objective.value}
    try:
        save_weights(path, final.weights, {**about, "version": final.version, "step": final.step})
    except OSError as error:
        raise StoreError(f"{path}: can't be written: {error.strerror}") from error
    return path

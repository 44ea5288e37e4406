"""`rookery baselines`: trains what a run's agents are compared with."""

import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.managers import DictProxy
from pathlib import Path

import click

from common.errors import RunDirectoryError
from common.progress_line import ProgressLine
from common.run_files import settings_of
from common.settings import AgentSettings, Objective, Settings
from learner.directory import AgentDirectory

OBJECTIVES = (Objective.CLONING, Objective.VALUE)
POLL_S = 0.5


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--objective",
    "objectives",
    type=click.Choice([objective.value for objective in OBJECTIVES]),
    multiple=True,
    help="Only this one. [default: both]",
)
@click.option("--processes", metavar="N", type=click.IntRange(1), help="Trainings at once. [default: one a core]")
def baselines(directory: Path, objectives: tuple[str, ...], processes: int | None) -> None:
    """Train, on the experience of the run in DIR, what its agents are compared with.

    For each agent a behavioural clone and a value network: the same network, games and gradient steps. They are
    kept in DIR/baselines, where `rookery evaluate` finds them.

    Example:  rookery baselines runs/first
    """
    settings = _settings_for_baselines(directory)
    wanted = [Objective(name) for name in objectives] or list(OBJECTIVES)
    tasks = [(agent, objective) for agent in settings.agents for objective in wanted]
    from learner.baselines import prepare_directory

    for objective in wanted:
        prepare_directory(settings, objective)
    context = multiprocessing.get_context("spawn")  # torch's threads don't survive a fork
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(min(len(tasks), processes or os.cpu_count() or 1), mp_context=context) as pool,
    ):
        told: DictProxy[str, str] = manager.dict()
        futures = {
            f"{objective.value} of {agent.name}": pool.submit(_train, settings, agent, objective, told)
            for agent, objective in tasks
        }
        try:
            _watch(futures, told)
            for name, future in futures.items():
                click.echo(f"{name}: {future.result()}")
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # what it would yet make nobody waits for
            raise


def _watch(futures: dict[str, Future[str]], told: "DictProxy[str, str]") -> None:
    """Show how far the trainings are until all have ended; raises what one of them raised."""
    with ProgressLine() as line:
        while not all(future.done() for future in futures.values()):
            for future in futures.values():
                if future.done():
                    future.result()  # raises what ended it
            line.show("; ".join(f"{name} {where}" for name, where in sorted(told.items())) or "starting")
            time.sleep(POLL_S)


def _train(settings: Settings, agent: AgentSettings, objective: Objective, told: "DictProxy[str, str]") -> str:
    from learner.baselines import train_baseline  # with torch, which takes seconds: not to learn of a typo

    def tell(where: str) -> None:
        told[f"{objective.value} of {agent.name}"] = where

    return str(train_baseline(settings, agent, objective, tell))


def _settings_for_baselines(directory: Path) -> Settings:
    """Return the settings of the run in `directory`; raise RunDirectoryError where baselines can't be had."""
    settings = settings_of(directory)
    for agent in settings.agents:
        if not AgentDirectory.of(directory, agent.name).experience.exists():
            raise RunDirectoryError(f"{directory}: the agent {agent.name} has no experience yet: let the run begin")
    if settings.network == "table":
        raise RunDirectoryError(f"{directory}: a table has no baselines: they are for networks")
    return settings

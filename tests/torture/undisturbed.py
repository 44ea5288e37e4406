"""What a run must come to: the same games in one process without sockets, and counted by python-chess."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.weights import digest, load_weights
from benchmarks.real_games import SHARED
from common.messages import Interval, StoreTotals
from common.settings import AgentSettings, Settings, to_toml
from deploy.report import Report
from learner.checkpoints import CheckpointDirectory
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from tests.deploy.expected import expected_totals
from tests.deploy.runs import SAMPLE, Run, weights_of

SAMPLE_GAMES = 300


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A run that nothing disturbed."""

    settings: Settings
    games: tuple[Path, ...]
    units: int
    totals: dict[str, StoreTotals]
    """By agent, counted by python-chess."""
    weights: dict[str, str]
    """Digest by agent."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What became of the units in a run that was disturbed, over all agents."""

    expected: int
    stored: int
    lost: int
    doubled: int
    weights_identical: bool
    failures: tuple[str, ...]


def games_for(count: int) -> tuple[Path, ...]:
    """Return sources with at least `count` games: real ones beside the checkout, or else the sample, repeated."""
    return (SHARED,) if SHARED.exists() else (SAMPLE,) * -(-count // SAMPLE_GAMES)


def settings_for(games: Sequence[Path], run: Path, **values: Any) -> Settings:
    """Return the settings of a run of `games` in the directory `run`."""
    return msgspec.convert({"games": [str(path) for path in games], "run": str(run), **values}, Settings)


def undisturbed(settings: Settings, games: tuple[Path, ...], limit: int) -> Undisturbed:
    """Run the first `limit` of `games` in one process, in a directory beside that of `settings`."""
    directory = settings.directory.with_name("undisturbed")
    file = directory.with_name("undisturbed.toml")
    file.write_text(to_toml(settings))
    with Run(directory, "--settings", str(file), "--sequential", games=games) as run:
        ended = run.end(timeout_s=1800.0)
    assert ended.code == 0, ended.err
    units = -(-limit // settings.games_per_unit)
    totals = expected_totals(games, limit, units)
    found = Undisturbed(settings, games, units, totals, weights_of(directory))
    own = audit(directory, found)
    assert not own.failures, own.failures
    return found


def audit(directory: Path, wanted: Undisturbed, report: Report | None = None) -> Audit:
    """Compare a run's stores, checkpoints, weights and report with what they must be."""
    failures: list[str] = []
    stored = lost = doubled = 0
    identical = True
    for agent in wanted.settings.agents:
        units = _units(directory, agent)
        stored += len(units)
        lost += len(set(range(wanted.units)) - set(units))
        doubled += _doubled(units) + len(set(units) - set(range(wanted.units)))
        identical = identical and _weights(directory, agent) == wanted.weights[agent.name]
        failures += _differences(directory, agent, wanted)
    if report is not None:
        failures += _of_report(report, wanted)
    return Audit(wanted.units * len(wanted.settings.agents), stored, lost, doubled, identical, tuple(failures))


def _units(directory: Path, agent: AgentSettings) -> dict[int, list[int]]:
    """Return the numbers of the games in each unit of a store, rejected ones included."""
    with ExperienceReader(AgentDirectory.of(directory, agent.name).experience, agent) as store:
        return {
            batch.unit: [*map(int, batch.game_numbers), *(rejection.number for rejection in batch.rejections)]
            for batch in store.batches(0)
        }


def _doubled(units: dict[int, list[int]]) -> int:
    """Return how many units hold a game that another one holds, too."""
    counts = Counter(number for numbers in units.values() for number in numbers)
    return sum(any(counts[number] > 1 for number in numbers) for numbers in units.values())


def _weights(directory: Path, agent: AgentSettings) -> str:
    return digest(load_weights(AgentDirectory.of(directory, agent.name).weights)[0])


def _differences(directory: Path, agent: AgentSettings, wanted: Undisturbed) -> list[str]:
    files = AgentDirectory.of(directory, agent.name)
    totals = wanted.totals[agent.name]
    found = []
    with ExperienceReader(files.experience, agent) as store:
        if store.totals() != totals:
            found.append(f"{agent.name}: stored {store.totals()}, by python-chess {totals}")
    state = CheckpointDirectory(files.checkpoints, wanted.settings.keep_checkpoints).load_newest()
    if state is None or (state.next_unit, state.transitions) != (wanted.units, totals.transitions):
        trained = (state.next_unit, state.transitions) if state else None
        found.append(f"{agent.name}: trained on {trained}, not ({wanted.units}, {totals.transitions})")
    return found


def _of_report(report: Report, wanted: Undisturbed) -> list[str]:
    found = []
    if not (report.finished and report.closed):
        found.append(f"the report says finished {report.finished}, accounting closed {report.closed}")
    for agent in report.agents:
        if agent.totals != wanted.totals[agent.name] or agent.units != [Interval(0, wanted.units - 1)]:
            found.append(f"the report on {agent.name} says {agent.totals} in {agent.units}")
        if agent.in_flight:
            found.append(f"{agent.name}: {agent.in_flight} transitions in flight at the end")
    return found

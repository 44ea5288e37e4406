"""A run as it lies on disk, read for looking back at it: what is there, and what is missing or damaged.

Reads report.json where it is of the last start, and the stores, checkpoints and metrics themselves where it is not:
of a run that still goes on, or was killed. Writes nothing into the run's directory;
SQLite may, beside a store, what reading it takes.
"""

import fcntl
import os
import sqlite3
import tomllib
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.weights import load_weights
from arena.report_card import ReportCard, read_card
from broker.sources import SourceFingerprint
from common.errors import RookeryError, RunDirectoryError
from common.log_lines import LOG_FILE
from common.messages import StoreTotals
from common.quantities import counted
from common.run_files import EVALUATION_FILE, MANIFEST_FILE, SETTINGS_FILE, is_run
from common.settings import AgentSettings, Side, resolve
from deploy.machine import Machine
from deploy.report import AgentReport, Report
from deploy.report_logs import Faults, LogFacts, Session, read_logs
from deploy.run_directory import ORIGIN_FILE, REPORT_FILE, RunDirectory, origin_decoder
from deploy.starts import Cost, Start, cost_of, read_starts
from learner.checkpoints import Manifest, manifest_decoder
from learner.directory import AgentDirectory
from learner.metrics import MetricsLine, last_trained, read_metrics
from learner.store import ExperienceReader

T = TypeVar("T")

_report_decoder = msgspec.json.Decoder(dict[str, Any])

_TRACES = (ORIGIN_FILE, SETTINGS_FILE, REPORT_FILE, "agents", f"logs/{LOG_FILE}")
"""What tells a run's directory: any of it."""


class AgentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's books and how far it has come; None is what is not known."""

    name: str
    side: str
    totals: StoreTotals | None = None
    units_trained: int = 0
    transitions_trained: int = 0
    step: int = 0
    weights_version: int | None = None
    weights_sha256: str | None = None
    td_error: float | None = None
    """Of the last interval, as the next two."""
    match_top1: float | None = None
    rank_correlation: float | None = None
    validation_loss: float | None = None
    """On the games that are kept out of training, when it was last taken, as the next."""
    validation_match_top1: float | None = None
    produced: int | None = None
    """Transitions, by the broker's last word, as the next two."""
    duplicates: int | None = None
    in_flight: int | None = None
    games_closed: bool | None = None
    """Whether games read = used + unselected + rejected."""
    transitions_closed: bool | None = None
    """Whether produced = stored + duplicates + in flight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InAll:
    """What the sources hold; None is what is not known."""

    games: int | None
    units: int | None

    @classmethod
    def of(cls, report: Report | None, logs: LogFacts) -> "InAll":
        """Return what the report says, else what the broker logged."""
        if report is not None and report.units_total is not None:
            return cls(games=report.games_total, units=report.units_total)
        return cls(games=logs.games_total, units=logs.units_total)


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a report says of a run, but for its curves."""

    name: str
    """Short, and another one for each run of a report."""
    directory: str
    state: str
    """finished, going on, or not finished."""
    notes: list[str]
    """What is missing or damaged."""
    rookery: str | None
    commit: str | None
    versions: dict[str, str]
    machine: Machine | None
    settings: dict[str, str]
    """As text, by name; agents and their queries, too."""
    sources: list[SourceFingerprint]
    games_total: int | None
    units_total: int | None
    starts: list[Start]
    seconds: float | None
    """Wall time of all starts; of the last one where that is all that is known."""
    restarts: int | None
    """Services started again, over all starts; of the last one where that is all that is known."""
    cost: Cost | None
    agents: list[AgentFacts]
    faults: Faults | None
    """None where there are no logs."""
    sessions: list[Session]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run with its curves."""

    facts: RunFacts
    metrics: dict[str, list[MetricsLine]]
    """By agent."""
    stored: dict[str, list[tuple[float, int]]]
    """By agent: when each unit was stored, seconds since 1970, and its transitions, in the order of time."""
    logs: LogFacts
    card: ReportCard | None


@dataclass(kw_only=True)
class _Reader:
    """Reads the pieces of a run; what is missing or damaged becomes a note."""

    path: Path
    notes: list[str] = field(default_factory=list)

    def attempt(self, what: Path, read: Callable[[], T]) -> T | None:
        """Return what `read` returns; None, with a note, where it raises."""
        try:
            return read()
        except (
            OSError,
            RookeryError,
            ValueError,
            msgspec.MsgspecError,
            sqlite3.Error,
            KeyError,
            EOFError,
        ) as error:
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            self.notes.append(f"{what}: {' '.join(reason.split()).removeprefix(f'{what}: ')}")
            return None

    def file(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Return what `read` makes of a file; None where there is no such file."""
        return self.attempt(path, lambda: read(path)) if path.exists() else None


def read_run(path: Path, name: str, settings_file: Path | None = None) -> Run:
    """Return the run in `path`, to be called `name`; its settings are those in `settings_file` if it keeps none.

    Raises RunDirectoryError where there is no run, SettingsError for a mistake in `settings_file`.
    """
    _check(path)
    directory, reader, going_on = RunDirectory(path), _Reader(path=path), is_going_on(path)
    report, settings = reader.file(directory.report_file, _read_report) or (None, {})
    settings = settings or reader.file(directory.settings_file, _toml) or _given(path, settings_file)
    if not settings and not is_run(path):
        reader.notes.append(
            f"There is no {SETTINGS_FILE}: which agents there are is guessed from their directories. "
            "Give the settings file of the services by --settings."
        )
    agents = _agent_settings(settings, path)
    metrics = {
        agent.name: reader.file(AgentDirectory.of(path, agent.name).metrics, read_metrics) or [] for agent in agents
    }
    starts = read_starts(directory.starts_file)
    current = report if report is not None and _is_current(report, starts, metrics) else None
    logs = reader.attempt(path / "logs", lambda: read_logs(path / "logs", going_on=going_on)) or LogFacts()
    reader.notes += _notes_on_logs(logs)
    if not going_on:
        reader.notes += _notes_on(report, current)
    in_all = InAll.of(report, logs)
    found = [_agent_facts(reader, agent, current, metrics[agent.name], in_all) for agent in agents]
    finished = current.finished if current is not None else _is_finished(path, found, in_all)
    facts = RunFacts(
        name=name,
        directory=str(path),
        state="going on" if going_on else "finished" if finished else "not finished",
        notes=reader.notes,
        rookery=starts[-1].rookery if starts else report.rookery if report else None,
        commit=starts[-1].commit if starts else None,
        versions=report.versions if report else {},
        machine=starts[-1].machine if starts else None,
        settings=as_text(settings),
        sources=_sources(reader, report),
        games_total=in_all.games,
        units_total=in_all.units,
        starts=starts,
        seconds=sum(start.seconds or 0.0 for start in starts) or (report.seconds if report else None),
        restarts=sum(start.restarts for start in starts) if starts else report.restarts if report else None,
        cost=cost_of(starts),
        agents=found,
        faults=logs.faults,
        sessions=logs.sessions,
    )
    return Run(
        facts=facts,
        metrics=metrics,
        stored={agent.name: _stored(reader, agent) for agent in agents},
        logs=logs,
        card=reader.file(path / EVALUATION_FILE, read_card),
    )


def _notes_on(report: Report | None, current: Report | None) -> list[str]:
    if report is None:
        return [
            f"There is no {REPORT_FILE} that can be read: `rookery up` was killed, or did not start this run. "
            "The books are by the stores, and the total by the broker's log, if it says one."
        ]
    if current is None:
        return [f"{REPORT_FILE} is older than the run: figures are from stores and metrics, as they are now."]
    return []


def _notes_on_logs(logs: LogFacts) -> list[str]:
    if logs.faults is None:
        return ["There are no logs of services: no faults can be counted."]
    return [f"{counted(logs.damaged, 'line')} of the logs can't be read."] if logs.damaged else []


def _sources(reader: _Reader, report: Report | None) -> list[SourceFingerprint]:
    origin = reader.file(
        RunDirectory(reader.path).origin_file, lambda file: origin_decoder.decode(file.read_bytes())
    )
    return origin.sources if origin else report.sources if report else []


def is_going_on(path: Path) -> bool:
    """Return whether a `rookery up` or a learner is at work on the run."""
    return any(_is_locked(file) for file in (path / "lock", *path.glob("agents/*/learner.lock")))


def _is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _check(path: Path) -> None:
    if not path.is_dir():
        raise RunDirectoryError(f"{path}: there is no such directory; name the --run of a `rookery up`")
    if not any((path / trace).exists() for trace in _TRACES):
        raise RunDirectoryError(
            f"{path}: no run of Rookery: there is none of {', '.join(_TRACES)}; name the --run of a `rookery up`"
        )


def _read_report(path: Path) -> tuple[Report | None, dict[str, Any]]:
    """Return a report and its settings as they stand: those of another release need not be ours."""
    content = _report_decoder.decode(path.read_bytes())
    settings = content.pop("settings", {})
    report = msgspec.convert({**content, "settings": {}}, type=Report)
    return report, settings if isinstance(settings, dict) else {}


def _given(path: Path, settings_file: Path | None) -> dict[str, Any]:
    """Return the settings that the services were given, by name; none where none are named."""
    if settings_file is None or is_run(path):
        return {}
    found: dict[str, Any] = msgspec.to_builtins(resolve(settings_file, {"run": str(path)}))
    return found


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def _agent_settings(settings: dict[str, Any], path: Path) -> list[AgentSettings]:
    """Return the agents of the settings; those whose directories there are, where the settings say nothing."""
    try:
        return msgspec.convert(settings["agents"], type=list[AgentSettings])
    except (KeyError, msgspec.ValidationError):
        names = sorted(entry.name for entry in path.glob("agents/*") if entry.is_dir())
        return [AgentSettings(name=name, side=Side.BOTH) for name in names]


def as_text(settings: dict[str, Any]) -> dict[str, str]:
    """Return settings as text, by name, in the order in which they are given; agents in one line."""
    found = {name: _value(value) for name, value in settings.items() if name != "agents"}
    agents = settings.get("agents")
    if isinstance(agents, list | tuple):
        found["agents"] = "; ".join(_agent(agent) for agent in agents)
    return found


def _agent(agent: object) -> str:
    if not isinstance(agent, dict):
        return str(agent)
    where = agent.get("where")
    return f"{agent.get('name')} plays {agent.get('side')}" + (f" where {where}" if where else "")


def _value(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value)


def _is_current(report: Report, starts: list[Start], metrics: dict[str, list[MetricsLine]]) -> bool:
    """Return whether a report is of how the run stands now."""
    if report.starts != starts:
        return False
    steps = {agent.name: agent.step for agent in report.agents}
    return all(not lines or lines[-1].step <= steps.get(name, 0) for name, lines in metrics.items())


def _is_finished(path: Path, agents: list[AgentFacts], in_all: InAll) -> bool:
    """Return whether every agent has stored all units, and has a checkpoint after the last one."""

    def trained(name: str) -> int:
        with suppress(OSError, msgspec.MsgspecError):
            manifest = _newest_manifest(AgentDirectory.of(path, name).checkpoints)
            return manifest.next_unit if manifest is not None else 0
        return 0

    return bool(agents) and all(
        agent.totals is not None and agent.totals.units == in_all.units == trained(agent.name) for agent in agents
    )


def _agent_facts(
    reader: _Reader, agent: AgentSettings, report: Report | None, metrics: list[MetricsLine], in_all: InAll
) -> AgentFacts:
    written = next((one for one in report.agents if one.name == agent.name), None) if report else None
    facts = _from_report(written) if written is not None else _from_disk(reader, agent, metrics, in_all)
    validation = next((line.validation for line in reversed(metrics) if line.validation is not None), None)
    if not metrics:
        reader.notes.append(f"{agent.name} has no metrics: it has no curves.")
    if validation is None:
        return facts
    return msgspec.structs.replace(
        facts, validation_loss=validation.loss, validation_match_top1=validation.match_top1
    )


def _from_report(agent: AgentReport) -> AgentFacts:
    names = {field.name for field in msgspec.structs.fields(AgentFacts)}
    return AgentFacts(**{name: value for name, value in msgspec.structs.asdict(agent).items() if name in names})


def _from_disk(reader: _Reader, agent: AgentSettings, metrics: list[MetricsLine], in_all: InAll) -> AgentFacts:
    """Return what store, checkpoints, weights and metrics say; of what the broker counted nothing is known.

    But once all units are stored nothing is under way any more, so that the books of transitions close, too.
    """
    directory = AgentDirectory.of(reader.path, agent.name)
    totals = reader.file(directory.experience, lambda path: _totals(path, agent))
    manifest = reader.attempt(directory.checkpoints, lambda: _newest_manifest(directory.checkpoints))
    about: Mapping[str, str | int] = reader.file(directory.weights, lambda path: load_weights(path)[1]) or {}
    last, trained = metrics[-1] if metrics else None, last_trained(metrics)
    accounted = totals.games_used + totals.games_unselected + sum(totals.rejected.values()) if totals else None
    in_metrics = sum(line.transitions for line in metrics)
    all_stored = totals is not None and totals.units == in_all.units
    return AgentFacts(
        name=agent.name,
        side=agent.side.value,
        totals=totals,
        units_trained=max(manifest.next_unit if manifest else 0, last.last_unit + 1 if last else 0),
        transitions_trained=max(manifest.transitions if manifest else 0, in_metrics),
        step=max(manifest.step if manifest else 0, last.step if last else 0),
        weights_version=int(about["version"]) if str(about.get("version", "")).isdigit() else None,
        td_error=trained.td_error if trained else None,
        match_top1=trained.match_top1 if trained else None,
        rank_correlation=trained.rank_correlation if trained else None,
        games_closed=totals.games_read == accounted and (not all_stored or totals.games_read == in_all.games)
        if totals
        else None,
        transitions_closed=True if all_stored else None,
    )


def _totals(path: Path, agent: AgentSettings) -> StoreTotals:
    with ExperienceReader(path, agent) as store:
        return store.totals()


def _newest_manifest(checkpoints: Path) -> Manifest | None:
    paths = sorted(checkpoints.glob("step-*-unit-*"))
    return manifest_decoder.decode((paths[-1] / MANIFEST_FILE).read_bytes()) if paths else None


def _stored(reader: _Reader, agent: AgentSettings) -> list[tuple[float, int]]:
    """Return when units were stored, and their transitions."""

    def read(path: Path) -> list[tuple[float, int]]:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)) as connection:
            return list(connection.execute("SELECT stored_at, transitions FROM units ORDER BY stored_at"))

    return reader.file(AgentDirectory.of(reader.path, agent.name).experience, read) or []

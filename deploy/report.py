"""What a run came to: report.json and rejected.jsonl, made from the stores, and the summary for a terminal."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from agent.weights import digest, load_weights
from broker.sources import SourceFingerprint
from common.messages import AgentStatus, Interval, StoreTotals
from common.quantities import counted
from common.settings import AgentSettings, Settings
from deploy.machine import Machine
from deploy.starts import Cost, Start, cost_of
from learner.checkpoints import CheckpointDirectory
from learner.directory import AgentDirectory
from learner.metrics import last_trained, read_metrics
from learner.store import ExperienceReader


class AgentReport(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's books and how far it has come."""

    name: str
    side: str
    totals: StoreTotals
    """What the store holds, counted anew from the file."""
    units: list[Interval]
    """Units stored."""
    units_trained: int
    transitions_trained: int
    step: int
    weights_version: int | None = None
    weights_sha256: str | None = None
    """Of the arrays with their names, dtypes and shapes: equal only for equal weights."""
    td_error: float | None = None
    """Of the last interval in metrics.jsonl, taken before training on it; so are the next two."""
    match_top1: float | None = None
    rank_correlation: float | None = None
    games_closed: bool
    """games_read = games_used + games_unselected + sum(rejected); once every unit is stored, all games are read."""
    transitions_closed: bool
    """produced = stored + duplicates + in flight, by the broker's last word; stored is the store's own count."""
    produced: int
    duplicates: int
    in_flight: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a run after its last start."""

    rookery: str
    finished: bool
    seconds: float
    """Wall time of the last start."""
    games_total: int | None
    units_total: int | None
    restarts: int
    """Services started again in the last start."""
    settings: Settings
    sources: list[SourceFingerprint]
    versions: dict[str, str]
    agents: list[AgentReport]
    machine: Machine | None = None
    """What the last start ran on, here as below None where an older Rookery wrote the report."""
    commit: str | None = None
    """Git commit of the software of the last start, if it is a checkout."""
    starts: list[Start] = []
    """All starts, the first one first."""
    cost: Cost | None = None
    """What they cost together."""

    @property
    def closed(self) -> bool:
        """Whether the accounting of every agent closes."""
        return all(agent.games_closed and agent.transitions_closed for agent in self.agents)


_decoder = msgspec.json.Decoder(Report)


def make_report(
    settings: Settings,
    sources: list[SourceFingerprint],
    *,
    seconds: float,
    games_total: int | None,
    units_total: int | None,
    restarts: int,
    statuses: Mapping[str, AgentStatus],
    starts: Sequence[Start] = (),
) -> Report:
    """Return the report of a run from what is on disk; `statuses` are the broker's last words, by agent."""
    in_all = games_total, units_total
    agents = [_agent_report(settings, agent, in_all, statuses.get(agent.name)) for agent in settings.agents]
    finished = units_total is not None and all(
        agent.units_trained == units_total == agent.totals.units for agent in agents
    )
    return Report(
        rookery=version("rookery"),
        finished=finished,
        seconds=round(seconds, 3),
        games_total=games_total,
        units_total=units_total,
        restarts=restarts,
        settings=settings,
        sources=sources,
        versions={
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
            "machine": platform.machine(),
        },
        agents=agents,
        machine=starts[-1].machine if starts else None,
        commit=starts[-1].commit if starts else None,
        starts=list(starts),
        cost=cost_of(starts),
    )


def _agent_report(
    settings: Settings, agent: AgentSettings, in_all: tuple[int | None, int | None], status: AgentStatus | None
) -> AgentReport:
    """Return one agent's report; `in_all` are the games and the units of the sources, as far as known."""
    directory = AgentDirectory.of(settings.directory, agent.name)
    if directory.experience.exists():
        with ExperienceReader(directory.experience, agent) as store:
            totals, units = store.totals(), store.intervals()
    else:
        totals, units = StoreTotals(), []
    state = CheckpointDirectory(directory.checkpoints, settings.keep_checkpoints).load_newest()
    weights, about = load_weights(directory.weights) if directory.weights.exists() else (None, {})
    last = last_trained(read_metrics(directory.metrics)) if directory.metrics.exists() else None
    games_total, units_total = in_all
    all_stored = units_total is not None and totals.units == units_total
    accounted = totals.games_used + totals.games_unselected + sum(totals.rejected.values())
    produced = status.produced if status else totals.transitions
    duplicates, in_flight = (status.duplicates, status.in_flight) if status else (0, 0)
    return AgentReport(
        name=agent.name,
        side=agent.side.value,
        totals=totals,
        units=units,
        units_trained=state.next_unit if state else 0,
        transitions_trained=state.transitions if state else 0,
        step=state.step if state else 0,
        weights_version=int(about["version"]) if "version" in about else None,
        weights_sha256=digest(weights) if weights is not None else None,
        td_error=last.td_error if last else None,
        match_top1=last.match_top1 if last else None,
        rank_correlation=last.rank_correlation if last else None,
        games_closed=totals.games_read == accounted and (not all_stored or totals.games_read == games_total),
        transitions_closed=produced == totals.transitions + duplicates + in_flight,
        produced=produced,
        duplicates=duplicates,
        in_flight=in_flight,
    )


def write_rejected(settings: Settings, path: Path) -> int:
    """Write every rejected game of the run to `path`, in game order, each once; return how many."""
    agent = settings.agents[0]
    experience = AgentDirectory.of(settings.directory, agent.name).experience
    count = 0
    with path.with_name(path.name + ".new").open("wb") as file:
        if experience.exists():
            with ExperienceReader(experience, agent) as store:
                for rejection in store.rejections():
                    file.write(msgspec.json.encode(msgspec.structs.asdict(rejection)) + b"\n")
                    count += 1
    path.with_name(path.name + ".new").replace(path)
    return count


def write_report(report: Report, path: Path) -> None:
    """Write the report as indented JSON, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    temporary.replace(path)


def read_report(path: Path) -> Report | None:
    """Return the report at `path`; None where there is none or it can't be read."""
    try:
        return _decoder.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def summary(report: Report, directory: Path) -> str:
    """Return the report in a few lines for a terminal."""
    head = report.agents[0].totals
    rejected: Counter[str] = Counter(head.rejected)
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.most_common())
    what = "every game learned from exactly once" if report.finished else "not finished; start it again to go on"
    lines = [
        f"{counted(head.games_read, 'game')} in {counted(head.units, 'unit')}: {what}",
        f"  rejected {rejected.total()}" + (f" ({reasons}), see {directory}/rejected.jsonl" if reasons else ""),
    ]
    for agent in report.agents:
        totals = agent.totals
        lines.append(
            f"  {agent.name}: {counted(totals.transitions, 'transition')} of {counted(totals.games_used, 'game')}, "
            f"{counted(agent.step, 'gradient step')}, weights version {agent.weights_version or 0}"
            + (f", TD error {agent.td_error:.4f}" if agent.td_error is not None else "")
            + (f", move match {agent.match_top1:.1%}" if agent.match_top1 is not None else "")
        )
    closed = "closed" if report.closed else "NOT CLOSED: see report.json"
    lines.append(f"  accounting {closed}; {report.seconds:.1f} s; report, weights and logs in {directory}")
    return "\n".join(lines)

"""The tables of a report: one column for each run, or one row for each of a run's pieces."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import msgspec

from arena.report_tables import NOTHING, Row, Table
from common.quantities import counted, duration, size
from common.settings import Settings
from deploy.report_run import AgentFacts, Run, RunFacts, as_text
from deploy.starts import Start

YES, NO, UNKNOWN = "closed", "NOT CLOSED", "not known"
DIFFERS = "≠\N{NO-BREAK SPACE}"
"""Stands before what differs."""


def summary(runs: Sequence[Run]) -> Table:
    """Return how far each run has come, its cost and its agents' last figures."""
    facts = [run.facts for run in runs]
    rows = [
        _row("state", facts, lambda run: run.state),
        _row(
            "games",
            facts,
            lambda run: _of(_first(run, _games_read), run.games_total),
        ),
        _row("wall time", facts, lambda run: NOTHING if run.seconds is None else duration(run.seconds)),
        _row("core time", facts, lambda run: NOTHING if run.cost is None else core_time(run.cost.cpu_total_s)),
        _row("engine nodes", facts, lambda run: NOTHING if run.cost is None else f"{run.cost.engine_nodes:,}"),
        _row("accounting", facts, lambda run: _closed(_all_closed(run))),
    ]
    for name in _agent_names(facts):
        rows += _agent_rows(facts, name)
    return Table(title="Summary", note="", columns=("", *(run.name for run in facts)), rows=tuple(rows))


def _agent_rows(facts: Sequence[RunFacts], name: str) -> list[Row]:
    prefix = f"{name}: " if len(_agent_names(facts)) > 1 else ""

    def row(label: str, text: Callable[[AgentFacts], str]) -> Row:
        cells = tuple(text(agent) if (agent := _agent(run, name)) is not None else NOTHING for run in facts)
        return Row(label=prefix + label, cells=cells)

    return [
        row("transitions stored", lambda agent: f"{agent.totals.transitions:,}" if agent.totals else NOTHING),
        row("transitions trained on", lambda agent: f"{agent.transitions_trained:,}"),
        row("gradient steps", lambda agent: f"{agent.step:,}"),
        row(
            "weights version",
            lambda agent: NOTHING if agent.weights_version is None else str(agent.weights_version),
        ),
        row("TD error", lambda agent: _number(agent.td_error, ".4f")),
        row("moves matched", lambda agent: _number(agent.match_top1, ".1%")),
        row("… in games kept out", lambda agent: _number(agent.validation_match_top1, ".1%")),
        row("loss on games kept out", lambda agent: _number(agent.validation_loss, ".3f")),
    ]


def accounting(runs: Sequence[Run]) -> Iterator[Table]:
    """Yield the two identities in numbers: of games and of transitions."""
    pairs = [(run.facts, agent) for run in runs for agent in run.facts.agents]
    several = len(runs) > 1
    yield Table(
        title="Games",
        note="read = used + unselected + rejected",
        columns=("agent", "read", "used", "unselected", "rejected", ""),
        rows=tuple(
            Row(label=_who(run, agent, several), cells=(*_games(agent), _closed(agent.games_closed)))
            for run, agent in pairs
        ),
    )
    yield Table(
        title="Transitions",
        note="produced = stored + duplicates + in flight",
        columns=("agent", "produced", "stored", "duplicates", "in flight", ""),
        rows=tuple(
            Row(label=_who(run, agent, several), cells=(*_transitions(agent), _closed(agent.transitions_closed)))
            for run, agent in pairs
        ),
    )
    reasons = sorted({reason for _, agent in pairs if agent.totals for reason in agent.totals.rejected})
    if reasons:
        yield Table(
            title="Rejected games by reason",
            note="each one is in the run's rejected.jsonl",
            columns=("agent", *reasons),
            rows=tuple(
                Row(
                    label=_who(run, agent, several),
                    cells=tuple(
                        f"{agent.totals.rejected.get(reason, 0):,}" if agent.totals else NOTHING
                        for reason in reasons
                    ),
                )
                for run, agent in pairs
            ),
        )


def settings(runs: Sequence[Run]) -> tuple[Table, Table]:
    """Return the settings that differ between the runs, or of one from the defaults, marked, and the others."""
    given = [run.facts.settings for run in runs]
    names = list(dict.fromkeys(name for one in given for name in one))
    compared: dict[str, tuple[str, ...]]
    if len(runs) == 1:
        defaults = default_settings()
        compared = {name: (given[0][name], defaults.get(name, NOTHING)) for name in names}
        columns: tuple[str, ...] = ("setting", "here", "default")
    else:
        compared = {name: tuple(one.get(name, NOTHING) for one in given) for name in names}
        columns = ("setting", *(run.facts.name for run in runs))
    rows = [Row(label=name, cells=cells, baseline=len(set(cells)) == 1) for name, cells in compared.items()]
    marked = tuple(replace(row, label=DIFFERS + row.label) for row in rows if not row.baseline)
    alike = tuple(row for row in rows if row.baseline)
    what = "differ between the runs" if len(runs) > 1 else "are not the defaults"
    others = "the same in all runs" if len(runs) > 1 else "the defaults"
    return (
        Table(
            title="Settings", note=f"{counted(len(marked), 'setting')} that {what}", columns=columns, rows=marked
        ),
        Table(title=f"{len(alike)} more, {others}", note="", columns=columns, rows=alike),
    )


def default_settings() -> dict[str, str]:
    """Return the defaults, as text."""
    return as_text(msgspec.to_builtins(Settings()))


def software(runs: Sequence[Run]) -> Table:
    """Return versions, commit and machine of each run, as of its last start."""
    facts = [run.facts for run in runs]
    kinds = sorted({name for run in facts for name in run.versions} - {"machine"})
    rows = [
        _row("Rookery", facts, lambda run: run.rookery or UNKNOWN),
        _row("git commit", facts, lambda run: run.commit or UNKNOWN),
        *(_row(kind, facts, lambda run, kind=kind: run.versions.get(kind, UNKNOWN)) for kind in kinds),  # type: ignore[misc]
        _row("host", facts, lambda run: run.machine.host if run.machine else UNKNOWN),
        _row("system", facts, lambda run: run.machine.system if run.machine else UNKNOWN),
        _row(
            "processor", facts, lambda run: run.machine.cpu if run.machine else run.versions.get("machine", UNKNOWN)
        ),
        _row("cores", facts, lambda run: str(run.machine.cores) if run.machine else UNKNOWN),
        _row("memory", facts, lambda run: size(run.machine.memory_bytes) if run.machine else UNKNOWN),
        _row("GPU", facts, lambda run: (", ".join(run.machine.gpus) or "none") if run.machine else UNKNOWN),
    ]
    return Table(
        title="Software and machine",
        note="of the last start",
        columns=("", *(run.name for run in facts)),
        rows=tuple(rows),
    )


def sources(runs: Sequence[Run]) -> Table:
    """Return the files of games with their fingerprints."""
    rows = [
        Row(
            label=source.name,
            cells=(*((run.facts.name,) if len(runs) > 1 else ()), size(source.size_bytes), source.sha256),
        )
        for run in runs
        for source in run.facts.sources
    ]
    columns = ("file", *(("run",) if len(runs) > 1 else ()), "size", "SHA-256")
    note = "of a file over 64 MiB the hash is of its size and of parts"
    return Table(title="Sources", note=note, columns=columns, rows=tuple(rows))


def starts(runs: Sequence[Run]) -> Table:
    """Return the starts of each run, in their order."""
    rows = [
        Row(
            label=f"{run.facts.name} {number}" if len(runs) > 1 else str(number),
            cells=_start(
                start, is_last_of_going_on=run.facts.state == "going on" and start is run.facts.starts[-1]
            ),
        )
        for run in runs
        for number, start in enumerate(run.facts.starts, start=1)
    ]
    return Table(
        title="Starts",
        note="times in UTC; each rookery up on the directory is a start",
        columns=(
            "start",
            "begun",
            "ended",
            "took",
            "outcome",
            "restarts",
            "core time",
            "engine nodes",
            "host",
            "commit",
        ),
        rows=tuple(rows),
    )


def _start(start: Start, *, is_last_of_going_on: bool) -> tuple[str, ...]:
    cost = start.cost
    return (
        _moment(start.started),
        _moment(start.ended) if start.ended else NOTHING,
        NOTHING if start.seconds is None else duration(start.seconds),
        start.outcome or ("going on" if is_last_of_going_on else "killed"),
        str(start.restarts) if start.ended else NOTHING,
        NOTHING if cost is None else core_time(cost.cpu_total_s),
        NOTHING if cost is None else f"{cost.engine_nodes:,}",
        start.machine.host if start.machine else NOTHING,
        (start.commit or NOTHING)[:12] + ("-dirty" if (start.commit or "").endswith("-dirty") else ""),
    )


def faults(runs: Sequence[Run]) -> Table:
    """Return what each run has survived."""
    facts = [run.facts for run in runs]

    def row(label: str, name: str) -> Row:
        return _row(label, facts, lambda run: _count(getattr(run.faults, name)) if run.faults else UNKNOWN)

    rows = [
        _row("services started again", facts, lambda run: UNKNOWN if run.restarts is None else f"{run.restarts:,}"),
        row("processes that ended without a word", "killed"),
        row("services that the broker missed", "services_lost"),
        row("leases that ran out", "leases_ran_out"),
        row("deliveries repeated", "deliveries_repeated"),
        row("engine deaths", "engine_deaths"),
        row("messages dropped (at least)", "messages_dropped"),
        row("log records missing", "records_missing"),
    ]
    note = "counted from the logs, of all starts"
    return Table(title="Faults survived", note=note, columns=("", *(run.name for run in facts)), rows=tuple(rows))


def warnings(run: Run) -> Table:
    """Return the warnings and errors of one run, the most frequent first."""
    events = run.facts.faults.events if run.facts.faults else []
    rows = tuple(
        Row(label=event.event, cells=(event.severity.lower(), f"{event.count:,}", _some(event.services)))
        for event in events
    )
    columns = ("event", "level", "times", "services")
    return Table(title=f"Warnings and errors: {run.facts.name}", note="", columns=columns, rows=rows)


def cost(runs: Sequence[Run]) -> Table:
    """Return core time by role, and engine nodes."""
    facts = [run.facts for run in runs]
    roles = sorted({role for run in facts if run.cost for role in run.cost.cpu_s})
    rows = [
        _row(role, facts, lambda run, role=role: core_time(run.cost.cpu_s.get(role, 0.0)) if run.cost else NOTHING)  # type: ignore[misc]
        for role in roles
    ]
    rows.append(_row("all", facts, lambda run: core_time(run.cost.cpu_total_s) if run.cost else NOTHING))
    rows.append(_row("engine nodes", facts, lambda run: f"{run.cost.engine_nodes:,}" if run.cost else NOTHING))
    note = "processor time of the starts that have ended; an actor's engine is counted with it"
    return Table(title="Cost", note=note, columns=("role", *(run.name for run in facts)), rows=tuple(rows))


def core_time(seconds: float) -> str:
    """Return processor time in core hours, or in smaller units where it is short."""
    if seconds < 120:
        return f"{seconds:.1f} core seconds"
    if seconds < 7200:
        return f"{seconds / 60:.1f} core minutes"
    return f"{seconds / 3600:,.1f} core hours"


def headline(run: RunFacts) -> str:
    """Return in a sentence what came of a run."""
    read = _first(run, _games_read)
    done = {"finished": "every game learned from exactly once", "going on": "still going on"}.get(
        run.state, _not_finished(run)
    )
    games = "no games known" if read is None else counted(read, "game")
    return f"{games}: {done}; accounting {_closed(_all_closed(run))}"


def _not_finished(run: RunFacts) -> str:
    trained = min((agent.units_trained for agent in run.agents), default=0)
    if trained and run.units_total is None:
        return f"trained on {counted(trained, 'unit')}; the total is not known here"
    return "not finished"


def _row(label: str, facts: Sequence[RunFacts], text: Callable[[RunFacts], str]) -> Row:
    return Row(label=label, cells=tuple(text(run) for run in facts))


def _agent_names(facts: Sequence[RunFacts]) -> list[str]:
    return list(dict.fromkeys(agent.name for run in facts for agent in run.agents))


def _agent(run: RunFacts, name: str) -> AgentFacts | None:
    return next((agent for agent in run.agents if agent.name == name), None)


def _first(run: RunFacts, value: Callable[[AgentFacts], int | None]) -> int | None:
    return next((found for agent in run.agents if (found := value(agent)) is not None), None)


def _of(count: int | None, total: int | None) -> str:
    if count is None:
        return NOTHING
    return f"{count:,}" if total is None or total == count else f"{count:,} of {total:,}"


def _all_closed(run: RunFacts) -> bool | None:
    found = [closed for agent in run.agents for closed in (agent.games_closed, agent.transitions_closed)]
    if any(closed is False for closed in found):
        return False
    return None if None in found or not found else True


def _closed(closed: bool | None) -> str:
    return UNKNOWN if closed is None else YES if closed else NO


def _games(agent: AgentFacts) -> tuple[str, ...]:
    totals = agent.totals
    if totals is None:
        return (NOTHING,) * 4
    counts = (totals.games_read, totals.games_used, totals.games_unselected, sum(totals.rejected.values()))
    return tuple(f"{count:,}" for count in counts)


def _games_read(agent: AgentFacts) -> int | None:
    return agent.totals.games_read if agent.totals else None


def _transitions(agent: AgentFacts) -> tuple[str, ...]:
    stored = agent.totals.transitions if agent.totals else None
    return tuple(_count(count) for count in (agent.produced, stored, agent.duplicates, agent.in_flight))


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _number(value: float | None, figures: str) -> str:
    return NOTHING if value is None else f"{value:{figures}}"


def _who(run: RunFacts, agent: AgentFacts, several: bool) -> str:
    return f"{run.name}: {agent.name}" if several else agent.name


def _moment(text: str) -> str:
    return text.partition(".")[0].replace("T", " ").removesuffix("Z")


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""The four tables of `rookery top`, by their columns: agents, actors, the other services, and the accounting."""

from typing import Any

from common.messages import AgentStatus, ServiceStatus
from watch.top_cells import (
    UNKNOWN,
    count,
    decimal,
    fine_share,
    mebibytes,
    rate,
    share,
    span,
    sparkline,
)
from watch.top_columns import Column
from watch.top_view import ActorRow, AgentRow

CURVE_CELLS = 10
VALIDATION = "validation_match_top1"
"""Share of the moves in games kept out of training that the agent ranks first."""
WARNING, TROUBLE, GOOD = "yellow", "red", "green"


def _agent(title: str, width: int, priority: int, text: Any, **others: Any) -> Column[AgentRow]:
    return Column(title=title, width=width, priority=priority, text=text, **others)


def _curve(title: str, priority: int, of: str) -> Column[AgentRow]:
    def text(row: AgentRow) -> str:
        return sparkline(row.curve(of), CURVE_CELLS)

    return _agent(title, CURVE_CELLS, priority, text, left=True, style="cyan")


def _units(done: int, total: int | None) -> str:
    return f"{done}/{'?' if total is None else total}"


def _learner_style(row: AgentRow) -> str:
    return "" if row.state == "connected" else GOOD if row.state == "finished" else TROUBLE


def _last(values: Any) -> float | None:
    return values[-1] if values else None


def _td_error(row: AgentRow) -> float | None:
    return _newest(row, row.learner.td_error if row.learner is not None else None, "td_error")


def _move_match(row: AgentRow) -> float | None:
    return _newest(row, row.learner.move_match if row.learner is not None else None, "match_top1")


def _newest(row: AgentRow, reported: float | None, curve: str) -> float | None:
    """Return what the learner reports, of its last unit; where it does not, what it logged last, of an interval."""
    return _last(row.curve(curve)) if reported is None else reported


AGENTS: list[Column[AgentRow]] = [
    _agent("agent", 5, 0, lambda row: row.agent.name, most=12, left=True),
    _agent("learner", 7, 6, lambda row: row.state, most=10, left=True, style=_learner_style),
    _agent("trained", 7, 1, lambda row: _units(row.agent.units_trained, row.units_total), most=13),
    _agent("stored", 6, 9, lambda row: str(row.agent.units_stored), most=7),
    _agent("stored/s", 8, 5, lambda row: rate(row.rates.stored_per_s)),
    _agent("trained/s", 9, 4, lambda row: rate(row.rates.trained_per_s)),
    _agent("step", 5, 12, lambda row: str(row.agent.step), most=9),
    _agent("loss", 6, 1, lambda row: decimal(_newest(row, row.agent.loss, "q_loss"))),
    _curve("", 3, "q_loss"),
    _agent("TD", 6, 2, lambda row: decimal(_td_error(row))),
    _curve("", 8, "td_error"),
    _agent("match", 5, 2, lambda row: fine_share(_move_match(row))),
    _curve("", 7, "match_top1"),
    _agent("valid.", 6, 5, lambda row: fine_share(_last(row.curve(VALIDATION)))),
    _curve("", 10, VALIDATION),
    _agent("v", 3, 3, lambda row: str(row.agent.version), most=6),
    _agent("lag", 3, 11, lambda row: UNKNOWN if row.lag is None else str(row.lag), most=6),
    _agent("age", 4, 6, lambda row: span(row.weights_age_s), most=6),
]
"""Version: of the latest weights; lag and age: of those that the actors have, at worst."""


def _actor(title: str, width: int, priority: int, text: Any, **others: Any) -> Column[ActorRow]:
    return Column(title=title, width=width, priority=priority, text=text, **others)


def _state_style(row: ActorRow) -> str:
    if row.service.state == "away":
        return TROUBLE
    return WARNING if row.state.endswith("stuck") or row.service.state in ("paused", "draining") else ""


def _restarts_style(row: ActorRow) -> str:
    return WARNING if row.report.engine_restarts else ""


ACTORS: list[Column[ActorRow]] = [
    _actor("actor", 7, 0, lambda row: row.service.name, most=20, left=True),
    _actor("host", 4, 5, lambda row: row.service.host, most=20, left=True),
    _actor("state", 7, 1, lambda row: row.state, most=14, left=True, style=_state_style),
    _actor("pos/s", 6, 1, lambda row: rate(row.rates.positions_per_s), key=lambda row: row.rates.positions_per_s),
    _actor("engine", 6, 2, lambda row: share(row.report.engine_share), key=lambda row: row.report.engine_share),
    _actor("waits", 5, 9, lambda row: share(row.report.lease_wait_share),
           key=lambda row: row.report.lease_wait_share),
    _actor("units", 5, 3, lambda row: str(len(row.service.units)), key=lambda row: len(row.service.units)),
    _actor("progress", 8, 3, lambda row: span(row.service.progress_s), key=lambda row: row.service.progress_s),
    _actor("seen", 6, 8, lambda row: span(row.service.seen_s), key=lambda row: row.service.seen_s),
    _actor("games", 6, 7, lambda row: count(row.report.games), key=lambda row: row.report.games),
    _actor("cached", 6, 10, lambda row: count(row.report.cached_games), key=lambda row: row.report.cached_games),
    _actor("rejected", 8, 5, lambda row: str(row.report.rejected), key=lambda row: row.report.rejected),
    _actor("restarts", 8, 11, lambda row: str(row.report.engine_restarts),
           key=lambda row: row.report.engine_restarts, style=_restarts_style),
    _actor("lag", 3, 6, lambda row: UNKNOWN if row.lag is None else str(row.lag), key=lambda row: row.lag),
    _actor("memory", 6, 4, lambda row: mebibytes(_memory_bytes(row)), key=lambda row: _memory_bytes(row)),
]  # fmt: skip
"""Progress and seen: the time since; lag: versions that its weights are behind, at worst."""


def _memory_bytes(row: ActorRow) -> int:
    return row.report.memory_bytes + row.report.engine_memory_bytes


def _service(title: str, width: int, priority: int, text: Any, **others: Any) -> Column[ServiceStatus]:
    return Column(title=title, width=width, priority=priority, text=text, **others)


def _service_memory(row: ServiceStatus) -> str:
    return UNKNOWN if row.learner is None else mebibytes(row.learner.memory_bytes)


def _details(row: ServiceStatus) -> str:
    if row.learner is not None:
        return f"{rate(row.learner.samples_per_second)} samples/s, training {share(row.learner.train_share)}"
    if row.collector is not None:
        return f"{row.collector.records} records, {row.collector.missing} missing"
    return ""


SERVICES: list[Column[ServiceStatus]] = [
    _service("service", 7, 0, lambda row: row.name, most=20, left=True),
    _service("role", 9, 5, lambda row: str(row.role), left=True),
    _service("host", 4, 3, lambda row: row.host, most=20, left=True),
    _service("state", 8, 1, lambda row: row.state, most=10, left=True,
             style=lambda row: TROUBLE if row.state == "away" else ""),
    _service("progress", 8, 4, lambda row: span(row.progress_s)),
    _service("seen", 6, 4, lambda row: span(row.seen_s)),
    _service("memory", 6, 4, _service_memory),
    _service("", 1, 2, _details, most=48, left=True),
]  # fmt: skip


def _account(title: str, width: int, priority: int, text: Any, **others: Any) -> Column[AgentStatus]:
    return Column(title=title, width=width, priority=priority, text=text, **others)


def _transitions(agent: AgentStatus) -> str:
    return f"{agent.produced} = {agent.stored} + {agent.duplicates} + {agent.in_flight}"


def _games(agent: AgentStatus) -> str:
    totals = agent.totals
    rejected = sum(totals.rejected.values())
    return f"{totals.games_read} = {totals.games_used} + {totals.games_unselected} + {rejected}"


ACCOUNTING: list[Column[AgentStatus]] = [
    _account("agent", 5, 0, lambda row: row.name, most=12, left=True),
    _account("closed", 6, 1, lambda row: "yes" if row.closed else "NO",
             style=lambda row: GOOD if row.closed else TROUBLE),
    _account("produced = stored + duplicates + in flight", 42, 2, _transitions, left=True),
    _account("games = used + unselected + rejected", 36, 3, _games, left=True),
]  # fmt: skip

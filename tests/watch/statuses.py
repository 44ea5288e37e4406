"""Statuses as a broker sends them, of runs of any size, and a source that hands them out."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from common import wire
from common.errors import BrokerUnreachable
from common.log_lines import SEVERITY_NUMBERS, LogLine, Resource, Scope
from common.messages import (
    Action,
    ActorReport,
    AgentStatus,
    CollectorReport,
    FromBroker,
    LearnerReport,
    Role,
    ServiceStatus,
    Status,
    StoreTotals,
)
from watch.forecast import fraction_trained
from watch.rates import ActorRates, AgentRates, Rates
from watch.top_view import View

BEGIN = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def actor(number: int, *, state: str = "working", progress_s: float = 0.5, **report: object) -> ServiceStatus:
    figures = ActorReport(
        positions=1000 * number,
        engine_positions=900 * number,
        games=10 * number,
        rejected=number % 3,
        engine_share=0.97,
        memory_bytes=60 * 2**20,
        engine_memory_bytes=140 * 2**20,
        weights={"white": 10},
        weights_age_s={"white": 12.0},
    )
    return ServiceStatus(
        name=f"actor-{number}",
        role=Role.ACTOR,
        host=f"host{number % 6}",
        pid=100 + number,
        state=state,
        seen_s=0.2,
        progress_s=progress_s,
        units=[number, number + 1],
        actor=msgspec.structs.replace(figures, **report),
    )


def learner(agent: str, *, trained: int = 40) -> ServiceStatus:
    return ServiceStatus(
        name=f"learner-{agent}",
        role=Role.LEARNER,
        host="train1",
        pid=7,
        state="working",
        seen_s=0.1,
        progress_s=0.4,
        learner=LearnerReport(
            agent=agent,
            session="s",
            totals=StoreTotals(),
            trained_units=trained,
            transitions_trained=900 * trained,
            step=1000,
            version=12,
            loss=0.0412,
            td_error=0.0561,
            move_match=0.312,
            samples_per_second=5200.0,
            train_share=0.8,
            memory_bytes=450 * 2**20,
        ),
    )


def agent(name: str, *, trained: int = 40, closed: bool = True) -> AgentStatus:
    return AgentStatus(
        name=name,
        learner="connected",
        leased=4,
        units_stored=trained + 5,
        units_trained=trained,
        produced=900,
        stored=800,
        duplicates=60,
        in_flight=40,
        step=1000,
        version=12,
        loss=0.0412,
        closed=closed,
        totals=StoreTotals(units=trained + 5, games_read=720, games_used=700, rejected={"illegal-move": 20}),
    )


def status(actors: Sequence[ServiceStatus] = (), **changes: object) -> Status:
    """Return a status that has been over the wire."""
    collector = ServiceStatus(
        name="logs",
        role=Role.COLLECTOR,
        host="train1",
        pid=3,
        state="collecting",
        seen_s=0.1,
        progress_s=0.1,
        collector=CollectorReport(records=1234, missing=0),
    )
    made = Status(
        broker="b",
        software="0.1.0",
        uptime_s=3723.0,
        units_total=100,
        games_total=1600,
        games_cut=1600,
        fraction_read=1.0,
        services=[*actors, learner("white"), learner("black"), collector],
        agents=[agent("white"), agent("black")],
        bottleneck="Stockfish-bound: engines are busy 97% of the time",
        dropped={},
        broker_share=0.04,
        memory_bytes=60 * 2**20,
        finished=False,
    )
    made = msgspec.structs.replace(made, **changes)
    received = wire.decode(wire.encode(made), FromBroker, wire.MAX_STATUS_BYTES)
    assert isinstance(received, Status)
    return received


def view(shown: Status | None, *, trouble: str = "", points: int = 40) -> View:
    curve = [
        {
            "step": at,
            "q_loss": 0.1 / (at + 1),
            "td_error": 0.2 / (at + 1),
            "match_top1": at / 100,
            "validation_match_top1": at / 200,
        }
        for at in range(points)
    ]
    actors = [] if shown is None else [one for one in shown.services if one.role == Role.ACTOR]
    return View(
        status=shown,
        age_s=0.3,
        trouble=trouble,
        rates=Rates(
            positions_per_s=5210.0,
            transitions_per_s=1234.0,
            actors={one.name: ActorRates(positions_per_s=float(at)) for at, one in enumerate(actors)},
            agents={"white": AgentRates(stored_per_s=617.0, trained_per_s=600.0)},
        ),
        done=0.0 if shown is None else fraction_trained(shown),
        left_s=3723.0,
        curves={"white": curve, "black": curve[:1]},
    )


def line(event: str, *, level: str = "INFO", service: str = "broker", second: int = 0, **fields: object) -> LogLine:
    return LogLine(
        time=BEGIN + timedelta(seconds=second),
        severity=level,
        severity_number=SEVERITY_NUMBERS[level],
        event=event,
        body=event,
        resource=Resource(service=service, instance="s"),
        scope=Scope(name="broker.router"),
        attributes=fields,
    )


class Shown:
    """A source of the views that a test gives; notes the orders."""

    def __init__(self, first: View, lines: Sequence[LogLine] = (), absent: str = "") -> None:
        self.view, self.new, self.absent = first, list(lines), absent
        self.orders: list[tuple[Action, list[str]]] = []

    def look(self) -> View:
        return self.view

    def lines(self) -> list[LogLine]:
        new, self.new = self.new, []
        return new

    def order(self, action: Action, names: Sequence[str]) -> str:
        if self.view.trouble:
            raise BrokerUnreachable(self.view.trouble)
        self.orders.append((action, list(names)))
        return f"{action.value}: {', '.join(names) or 'all'}"

"""Statuses as a broker sends them, of runs of any size, and a source that hands them out."""

from collections.abc import Sequence

from common import wire
from common.bottlenecks import BottleneckKind
from common.errors import BrokerUnreachable
from common.log_lines import LogLine
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
from watch.pace import Pace
from watch.rates import ActorRates, AgentRates, Rates
from watch.top_view import View

AGENTS = ("white", "black")
MIB = 2**20
LEARNED = {"step": 1000, "version": 12, "loss": 0.0412}
"""What a learner says, and the broker of its agent."""


def service(name: str, role: Role, **others: object) -> ServiceStatus:
    given = {"host": "train1", "pid": 7, "state": "working", "seen_s": 0.2, "progress_s": 0.5} | others
    return ServiceStatus(name=name, role=role, **given)


def actor(number: int, *, state: str = "working", progress_s: float = 0.5, **report: object) -> ServiceStatus:
    figures = {
        "positions": 1000 * number, "engine_positions": 900 * number, "games": 10 * number, "rejected": number % 3,
        "engine_share": 0.97, "memory_bytes": 60 * MIB, "engine_memory_bytes": 140 * MIB,
        "weights": {"white": 10}, "weights_age_s": {"white": 12.0},
    }  # fmt: skip
    return service(
        f"actor-{number}", Role.ACTOR, host=f"host{number % 6}", pid=100 + number, state=state,
        progress_s=progress_s, units=[number, number + 1], actor=ActorReport(**figures | report),
    )  # fmt: skip


def learner(agent: str, *, trained: int = 40, **report: object) -> ServiceStatus:
    figures = {
        "session": "s", "totals": StoreTotals(), "trained_units": trained, "transitions_trained": 900 * trained,
        "td_error": 0.0561, "move_match": 0.312, "samples_per_second": 5200.0, "train_share": 0.8,
        "memory_bytes": 450 * MIB, **LEARNED,
    }  # fmt: skip
    return service(f"learner-{agent}", Role.LEARNER, learner=LearnerReport(agent=agent, **figures | report))


def agent(name: str, *, trained: int = 40, **changes: object) -> AgentStatus:
    stored = trained + 5
    books = {
        "units_stored": stored, "produced": 900, "stored": 800, "duplicates": 60, "in_flight": 40, "closed": True,
        "totals": StoreTotals(units=stored, games_read=720, games_used=700, rejected={"illegal-move": 20}),
    }  # fmt: skip
    given = {"learner": "connected", "leased": 4, "units_trained": trained, **books, **LEARNED}
    return AgentStatus(name=name, **given | changes)


def status(actors: Sequence[ServiceStatus] = (), **changes: object) -> Status:
    """Return a status that has been over the wire."""
    collected = CollectorReport(records=1234, missing=0)
    others = [*map(learner, AGENTS), service("logs", Role.COLLECTOR, state="collecting", collector=collected)]
    kind = BottleneckKind.STOCKFISH
    given = {
        "broker": "b", "software": "0.1.0", "uptime_s": 3723.0, "units_total": 100, "games_total": 1600,
        "games_cut": 1600, "fraction_read": 1.0, "services": [*actors, *others], "agents": [*map(agent, AGENTS)],
        "bottleneck": f"{kind}: engines are busy 97% of the time", "bottleneck_kind": kind, "dropped": {},
        "broker_share": 0.04, "memory_bytes": 60 * MIB, "finished": False,
    }  # fmt: skip
    received = wire.decode(wire.encode(Status(**given | changes)), FromBroker, wire.MAX_STATUS_BYTES)
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
    rates = Rates(
        positions_per_s=5210.0,
        transitions_per_s=1234.0,
        actors={one.name: ActorRates(positions_per_s=float(at)) for at, one in enumerate(actors)},
        agents={"white": AgentRates(stored_per_s=617.0, trained_per_s=600.0)},
    )
    done = 0.0 if shown is None else fraction_trained(shown)
    return View(
        status=shown,
        age_s=0.3,
        trouble=trouble,
        pace=Pace(rates=rates, done=done, left_s=3723.0),
        curves={"white": curve, "black": curve[:1]},
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

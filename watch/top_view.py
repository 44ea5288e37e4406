"""What `rookery top` shows at a moment: the broker's word, rates, curves, and the rows that are made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.messages import ActorReport, AgentStatus, LearnerReport, ServiceStatus, Status
from watch.curves import Point
from watch.pace import Pace
from watch.rates import ActorRates, AgentRates

STUCK_S = 30.0
"""An actor that has units in hand and made no progress for so long is shown as stuck."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One moment."""

    status: Status | None = None
    """The broker's last word; None where it has not answered yet."""
    age_s: float = 0.0
    """Seconds since it came."""
    trouble: str = ""
    """Why the broker does not answer now; empty where it does."""
    pace: Pace = field(default_factory=Pace)
    curves: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    """Points of the learning curves, by agent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentRow:
    """A row of the table of agents."""

    agent: AgentStatus
    learner: LearnerReport | None
    units_total: int | None
    rates: AgentRates
    points: Sequence[Point]
    """Of its learning curves."""
    weights_age_s: float | None
    """Seconds since an actor got its latest weights, the greatest of all; None where none has any."""
    lag: int | None
    """Versions that the actors' weights are behind, the most."""

    def curve(self, name: str) -> list[float]:
        """Return the figures called `name` in its points, the oldest first."""
        return [float(value) for one in self.points if isinstance(value := one.get(name), int | float)]

    @property
    def state(self) -> str:
        """What its learner does, in a word."""
        if self.agent.learner != "connected":
            return self.agent.learner
        return "finished" if self.learner is not None and self.learner.finished else "connected"


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorRow:
    """A row of the table of actors."""

    service: ServiceStatus
    rates: ActorRates
    lag: int | None
    """Versions that its weights are behind, the most of all agents; None where it has none."""

    @property
    def report(self) -> ActorReport:
        """Its own figures; zeros where it has not reported yet."""
        return self.service.actor or ActorReport()

    @property
    def state(self) -> str:
        """What it does, in a word or two."""
        stuck = self.service.units and self.service.progress_s > STUCK_S and self.service.state != "away"
        return f"{self.service.state}, stuck" if stuck else self.service.state


def agent_rows(view: View) -> list[AgentRow]:
    """Return a row for each agent."""
    if view.status is None:
        return []
    reports = {one.learner.agent: one.learner for one in view.status.services if one.learner is not None}
    return [_agent_row(view, view.status, agent, reports.get(agent.name)) for agent in view.status.agents]


def _agent_row(view: View, status: Status, agent: AgentStatus, learner: LearnerReport | None) -> AgentRow:
    actors = [one.actor for one in status.services if one.actor is not None and one.state != "away"]
    held = [actor.weights[agent.name] for actor in actors if agent.name in actor.weights]
    ages_s = [actor.weights_age_s[agent.name] for actor in actors if agent.name in actor.weights_age_s]
    return AgentRow(
        agent=agent,
        learner=learner,
        units_total=status.units_total,
        rates=view.pace.rates.agents.get(agent.name, AgentRates()),
        points=view.curves.get(agent.name, ()),
        weights_age_s=max(ages_s, default=None),
        lag=max((max(0, agent.version - version) for version in held), default=None),
    )


def actor_rows(view: View) -> list[ActorRow]:
    """Return a row for each actor."""
    if view.status is None:
        return []
    versions = {agent.name: agent.version for agent in view.status.agents}
    return [
        ActorRow(
            service=service,
            rates=view.pace.rates.actors.get(service.name, ActorRates()),
            lag=_lag(service.actor, versions),
        )
        for service in view.status.services
        if service.role == "actor"
    ]


def _lag(report: ActorReport | None, versions: Mapping[str, int]) -> int | None:
    held = {} if report is None else report.weights
    return max((max(0, versions[agent] - held[agent]) for agent in held if agent in versions), default=None)


def service_rows(view: View) -> list[ServiceStatus]:
    """Return a row for each service that is not an actor."""
    return [] if view.status is None else [one for one in view.status.services if one.role != "actor"]

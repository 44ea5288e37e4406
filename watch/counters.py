"""What has been counted over the run, from successive statuses: totals that no restart of a service sets back.

An actor counts from 0 at each start, so a count that falls goes on from what it had. What an agent has stored or
trained on is a state: it falls to nothing while a broker that was started anew has not heard from its learner, and
a little where a learner resumes from a checkpoint, so the highest counts. Where another start of its learner has
fewer units stored than the one before it, the agent begins anew: another run is watched now. Rates are of the
states themselves, `present_states`. Owned by one thread.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from common.messages import AgentStatus, ServiceStatus, Status

MAX_KEYS = 100_000
"""Counts kept; of more, the one that was longest out of any status is forgotten."""

Key = tuple[str, str, str]
"""What is counted, of whom (an actor, an agent, or nobody), and by which reason, or nothing."""

ACTOR_COUNTS = (
    "positions", "engine_positions", "cached_games", "games", "transitions", "units", "rejected", "engine_restarts",
)  # fmt: skip
AGENT_COUNTS = ("produced", "stored", "duplicates", "units_stored", "units_trained", "step")
TOTALS = ("games_read", "games_used", "games_unselected")


class Counters:
    """Totals by key: those of services that restart added up, those of states at their highest."""

    def __init__(self) -> None:
        self._last: OrderedDict[Key, tuple[str, float]] = OrderedDict()
        """The epoch and the value last seen."""
        self._totals: dict[Key, float] = {}
        self._learners: OrderedDict[str, tuple[str, int]] = OrderedDict()
        """Of each agent the session of its learner, and the most units that it had stored."""

    def take(self, status: Status) -> Mapping[Key, float]:
        """Note what a status counts; return the totals of all that is in it."""
        found: dict[Key, float] = {}
        self._forget_former_runs(status)
        for key, epoch, value in _added_up(status):
            found[key] = self._add_up(key, epoch, value)
        for key, value in _states(status):
            found[key] = self._highest(key, value)
        while len(self._last) > MAX_KEYS:
            key, _ = self._last.popitem(last=False)
            del self._totals[key]
        return found

    def _add_up(self, key: Key, epoch: str, value: float) -> float:
        before = self._last.pop(key, None)
        self._last[key] = (epoch, value)
        grown = value if before is None or before[0] != epoch or value < before[1] else value - before[1]
        self._totals[key] = self._totals.get(key, 0.0) + grown
        return self._totals[key]

    def _forget_former_runs(self, status: Status) -> None:
        sessions = {found.learner.agent: found.learner.session for found in status.services if found.learner}
        for agent in status.agents:
            session = sessions.get(agent.name)
            if agent.learner != "connected" or session is None:
                continue
            before, units = self._learners.pop(agent.name, (session, 0))
            if before != session and agent.units_stored < units:
                self._begin_anew(agent.name)
                units = 0
            self._learners[agent.name] = (session, max(units, agent.units_stored))
        while len(self._learners) > MAX_KEYS:
            self._learners.popitem(last=False)

    def _begin_anew(self, agent: str) -> None:
        for key in list(self._totals):
            if (key[0].startswith("agent_") and key[1] == agent) or key[0] == "games_cut":
                del self._totals[key], self._last[key]

    def _highest(self, key: Key, value: float) -> float:
        self._last.pop(key, None)
        self._last[key] = ("", value)
        self._totals[key] = max(value, self._totals.get(key, 0.0))
        return self._totals[key]


def _added_up(status: Status) -> Iterator[tuple[Key, str, float]]:
    """Yield what counts from 0 at each start of a process: the key, which start it is, and the count."""
    for service in status.services:
        if service.actor is not None:
            for name in ACTOR_COUNTS:
                yield (f"actor_{name}", service.name, ""), _start(service), getattr(service.actor, name)
        if service.collector is not None:
            yield ("log_records", service.name, ""), _start(service), service.collector.records
            yield ("log_missing", service.name, ""), _start(service), service.collector.missing
    for reason, count in status.dropped.items():
        yield ("dropped", "", reason), status.broker, count


def present_states(status: Status) -> dict[Key, float]:
    """Return the states in a status as they are, which may be lower than they were: what rates are made of."""
    return dict(_states(status))


def _states(status: Status) -> Iterator[tuple[Key, float]]:
    """Yield what only grows over the run but for what a restart has not heard or done yet."""
    yield ("games_cut", "", ""), status.games_cut
    for agent in status.agents:
        if agent.learner == "never seen":  # by this broker: its counts are none
            continue
        yield from _states_of(agent)
    for service in status.services:
        if service.learner is not None:
            yield ("agent_trained", service.learner.agent, ""), service.learner.transitions_trained


def _states_of(agent: AgentStatus) -> Iterator[tuple[Key, float]]:
    for name in AGENT_COUNTS:
        yield (f"agent_{name}", agent.name, ""), getattr(agent, name)
    for name in TOTALS:
        yield (f"agent_{name}", agent.name, ""), getattr(agent.totals, name)
    for reason, count in agent.totals.rejected.items():
        yield ("agent_rejected", agent.name, reason), count


def _start(service: ServiceStatus) -> str:
    return f"{service.host} {service.pid}"

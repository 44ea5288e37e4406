"""What lies in a run's streams at one moment, as the broker sees it every few seconds. Pure."""

from dataclasses import dataclass

from common.words import AgentName, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Read one after another: what changes meanwhile shows at the next look."""

    batches: frozenset[tuple[AgentName, Unit]]
    """Of which the server has a part or all."""
    units: frozenset[Unit]
    """Waiting for an actor, or with one."""
    games: frozenset[Unit]
    """Units whose games are in the object store."""
    units_waiting: int
    """Of the units, those that have never been delivered."""
    idle: frozenset[AgentName]
    """Agents for whose learner nothing waits and nothing is under way: what lies there for them never comes."""

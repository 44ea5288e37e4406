"""How fast a run goes: rates per second over the last while, from totals at successive moments."""

import math
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from watch.counters import Key

WINDOW_S = 10.0
"""Services report about once a second, at their own moments: over less, rates jump."""


class ActorRates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of one actor."""

    positions_per_s: float = 0.0
    engine_positions_per_s: float = 0.0
    games_per_s: float = 0.0


class AgentRates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of one agent, in transitions."""

    stored_per_s: float = 0.0
    trained_per_s: float = 0.0


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of the run; those of actors and agents by name. None is ever below 0."""

    positions_per_s: float = 0.0
    games_per_s: float = 0.0
    transitions_per_s: float = 0.0
    """Made by actors."""
    units_per_s: float = 0.0
    """Sent in whole by actors."""
    trained_per_s: float = 0.0
    """Transitions trained on, of all agents together."""
    actors: dict[str, ActorRates] = {}
    agents: dict[str, AgentRates] = {}


class RateMeter:
    """Holds the totals of the last WINDOW_S."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._moments: deque[tuple[float, Mapping[Key, float]]] = deque()

    def take(self, now_s: float, totals: Mapping[Key, float]) -> Rates:
        """Note the totals at a moment, and return the rates up to it.

        A state may fall, where a run begins anew or a learner goes back to a checkpoint: it is then counted from
        the first moment on at which it was no higher than now.
        """
        self._moments.append((now_s, totals))
        while now_s - self._moments[0][0] > self._window_s:
            self._moments.popleft()
        found = {key: self._rate(key, now_s, value) for key, value in totals.items() if key[0] in _USED}
        return _rates(found)

    def _rate(self, key: Key, now_s: float, value: float) -> float:
        for then_s, totals in self._moments:
            if totals.get(key, math.inf) <= value:
                return (value - totals[key]) / (now_s - then_s) if now_s > then_s else 0.0
        return 0.0


_USED = (
    "actor_positions", "actor_engine_positions", "actor_games", "actor_transitions", "actor_units", "agent_stored",
    "agent_trained",
)  # fmt: skip


def _rates(found: Mapping[Key, float]) -> Rates:
    actors = [name for what, name, _ in found if what == "actor_positions"]
    agents = [name for what, name, _ in found if what == "agent_stored"]
    return Rates(
        positions_per_s=_sum(found, "actor_positions", actors),
        games_per_s=_sum(found, "actor_games", actors),
        transitions_per_s=_sum(found, "actor_transitions", actors),
        units_per_s=_sum(found, "actor_units", actors),
        trained_per_s=_sum(found, "agent_trained", agents),
        actors={
            name: ActorRates(
                positions_per_s=found["actor_positions", name, ""],
                engine_positions_per_s=found["actor_engine_positions", name, ""],
                games_per_s=found["actor_games", name, ""],
            )
            for name in actors
        },
        agents={
            name: AgentRates(
                stored_per_s=found["agent_stored", name, ""],
                trained_per_s=found.get(("agent_trained", name, ""), 0.0),
            )
            for name in agents
        },
    )


def _sum(found: Mapping[Key, float], what: str, names: Sequence[str]) -> float:
    return sum(found.get((what, name, ""), 0.0) for name in names)

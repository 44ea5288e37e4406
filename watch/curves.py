"""Learning curves: what each learner said of its intervals, thinned to so many points an agent.

An interval that was trained on again, after a resume from a checkpoint, takes the place of what was said of it and
of what came after it. Owned by one thread; `points` returns copies.
"""

from collections import OrderedDict
from collections.abc import Mapping

from common.log_lines import LogLine

EVENT = "interval trained"
MAX_POINTS = 2_000
"""Of one agent's curve; and as many again of the points at which it was validated, which are few."""
MAX_AGENTS = 1_024
MAX_SOURCES = 10_000
"""Starts of learners of which it is known how far they were heard."""

Value = str | int | float | bool | None
Point = Mapping[str, Value]
"""The figures of one interval by name, as the learner logs them, and `time`, ISO 8601."""


class Curve:
    """One agent's points in the order of their steps; of a long run each second one, each fourth one, and so on.

    The newest point is always among them.
    """

    def __init__(self, max_points: int = MAX_POINTS) -> None:
        self._max_points = max_points
        self._kept: list[tuple[int, Point]] = []
        """Points by how many came before them."""
        self._newest: tuple[int, Point] | None = None
        self._stride, self._count = 1, 0

    def take(self, point: Point) -> None:
        """Add the next point; those that it says anew are forgotten."""
        self._forget_from(point)
        self._newest = (self._count, point)
        self._count += 1
        if self._newest[0] % self._stride == 0:
            self._kept.append(self._newest)
        if len(self._kept) > self._max_points:
            self._stride *= 2
            self._kept = [kept for kept in self._kept if kept[0] % self._stride == 0]

    def points(self) -> list[Point]:
        """Return the points."""
        points = [point for _, point in self._kept]
        if self._newest is not None and (not self._kept or self._kept[-1] is not self._newest):
            points.append(self._newest[1])
        return points

    def _forget_from(self, point: Point) -> None:
        first, step = _number(point, "first_unit"), _number(point, "step")
        while self._kept and _is_said_anew(self._kept[-1][1], first, step):
            self._count, _ = self._kept.pop()  # the newest, kept or not, is about to be replaced


def _is_said_anew(old: Point, first_unit: float, step: float) -> bool:
    return _number(old, "last_unit") >= first_unit and _number(old, "step") >= step


def _number(point: Point, name: str) -> float:
    value = point.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


class Curves:
    """The curves of all agents."""

    def __init__(self) -> None:
        self._all: dict[str, Curve] = {}
        self._validated: dict[str, Curve] = {}
        self._heard: OrderedDict[str, int] = OrderedDict()
        """Number of the newest record that was taken of each start of a learner; clocks may be set back."""
        self._times: dict[str, str] = {}
        """When the newest point of each agent was said: for records that tell neither start nor number."""

    def take(self, line: LogLine) -> Point | None:
        """Add the point of a log line; None for one that is no interval, or that was taken before."""
        agent = line.attributes.get("agent")
        if line.event != EVENT or not isinstance(agent, str):
            return None
        time = line.time.isoformat(timespec="microseconds").replace("+00:00", "Z")
        if self._was_taken(line, agent, time) or (agent not in self._times and len(self._times) >= MAX_AGENTS):
            return None
        self._times[agent] = time
        point = {**line.fields, "time": time}
        self._all.setdefault(agent, Curve()).take(point)
        if point.get("validation_loss") is not None:
            self._validated.setdefault(agent, Curve()).take(point)
        return point

    def _was_taken(self, line: LogLine, agent: str, time: str) -> bool:
        """Whether a line was heard before; notes that it is heard now."""
        number = line.number
        if number is None or not line.instance:
            return time <= self._times.get(agent, "")
        if number <= self._heard.get(line.source, -1):
            return True
        self._heard[line.source] = number
        self._heard.move_to_end(line.source)
        while len(self._heard) > MAX_SOURCES:
            self._heard.popitem(last=False)
        return False

    def points(self) -> dict[str, list[Point]]:
        """Return the points of each agent, by step."""
        return {agent: self._joined(agent) for agent in sorted(self._all)}

    def newest(self, name: str) -> dict[str, float]:
        """Return the newest figure called `name` of each agent that has one."""
        found = {}
        for agent in sorted(self._all):
            curve = self._validated.get(agent) if name.startswith("validation") else self._all[agent]
            value = curve.points()[-1].get(name) if curve is not None and curve.points() else None
            if isinstance(value, int | float):
                found[agent] = float(value)
        return found

    def _joined(self, agent: str) -> list[Point]:
        points = self._all[agent].points()
        validated = self._validated.get(agent)
        if validated is None:
            return points
        known = {id(point) for point in points}
        extra = [point for point in validated.points() if id(point) not in known]
        return sorted(points + extra, key=lambda point: (_number(point, "step"), _number(point, "last_unit")))

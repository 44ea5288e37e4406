"""Positions a second of an actor, against the bare engine and against python-chess, on the same games.

The actor is all of it but its sockets: leases come from memory, and each unit goes through reading, engine,
store of evaluations, and encoding to both agents' batches. Clocked from the first lease to the last batch.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from actor.games import read_games
from actor.service import ActorService
from actor.work import open_desk
from benchmarks.engine import asked, bare, python_chess
from benchmarks.figure import Figure, interleaved, rate_figure
from benchmarks.real_games import raw_games, units
from benchmarks.scale import Scale
from common.links import ActorEvent, LeasedUnit
from common.messages import ActorReport, BatchHeader, Lease, RawGame
from common.settings import Settings
from common.signals import StopSignal

GAMES = {100: 160, 1000: 48}
"""Games of a round, by nodes."""
OF_PYTHON_CHESS = {100: 3.0, 1000: 1.4}
OF_BARE = 0.95


class Stop(StopSignal):
    """A stop that no signal sets."""

    def __init__(self) -> None:
        self._set = False


class MemoryLink:
    """An actor's link that leases the units given, up to the actor's capacity, and counts batches."""

    def __init__(self, raw: Sequence[Sequence[RawGame]], agents: Sequence[str], stop: Stop) -> None:
        self._left = deque(enumerate(raw))
        self._agents, self._stop = list(agents), stop
        self._batches_due = len(raw) * len(agents)
        self._capacity = self._out = 0
        self.begun_s = self.ended_s = 0.0

    def poll(self, timeout_s: float) -> list[ActorEvent]:
        del timeout_s
        events: list[ActorEvent] = []
        while self._left and self._out < self._capacity:
            unit, games = self._left.popleft()
            self._out += 1
            self.begun_s = self.begun_s or time.perf_counter()
            events.append(LeasedUnit(Lease(unit=unit, agents=self._agents), games))
        return events

    def capacity(self, units: int) -> None:
        self._capacity = units

    def renew(self, units: Sequence[int], report: ActorReport) -> None:
        del units, report

    def release(self, units: Sequence[int]) -> None:
        del units

    def send(self, header: BatchHeader, body: bytes) -> bool:
        del body
        self._batches_due -= 1
        self._out -= header.agent == self._agents[-1]
        if self._batches_due == 0:
            self.ended_s = time.perf_counter()
            self._stop.set()
        return True

    def close(self) -> None:
        pass


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure at 100 and at 1,000 nodes."""
    games_per_unit = Settings().games_per_unit
    for nodes, count in GAMES.items():
        raw = raw_games(scale.of(count, games_per_unit))
        cut = units(raw, games_per_unit)
        games = read_games(raw, comments=False)[0]
        positions = asked(games)

        taken = interleaved(
            scale.of(5, 1),
            {
                "ours": partial(acted, scale, cut, nodes, positions),
                "bare": partial(bare, scale.engine, games, nodes),
                "python-chess": partial(python_chess, scale.engine, games, nodes),
            },
        )
        name = f"positions/s of an actor, {nodes} nodes"
        yield rate_figure(
            name,
            "positions/s",
            taken["ours"],
            taken["bare"],
            against="the bare engine",
            at_least=OF_BARE,
            note=f"{positions} positions",
        )
        yield rate_figure(
            name,
            "positions/s",
            taken["ours"],
            taken["python-chess"],
            against="python-chess SimpleEngine",
            at_least=OF_PYTHON_CHESS[nodes],
        )


def acted(scale: Scale, cut: list[list[RawGame]], nodes: int, positions: int) -> float:
    """Return the positions/s of an actor over units, its engine being up and its store of evaluations empty."""
    with TemporaryDirectory(dir=scale.work) as directory:
        settings = Settings(nodes=nodes, engine=scale.engine, evaluations=str(Path(directory, "evaluations.db")))
        stop = Stop()
        link = MemoryLink(cut, [agent.name for agent in settings.agents], stop)
        with open_desk(settings) as desk:
            ActorService(settings, "actor-0", link, desk, stop).run()
    return positions / (link.ended_s - link.begun_s)

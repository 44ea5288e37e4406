"""Many actors in one process, each a thread: everything real but the engine, in whose place a delay stands.

    python -m tests.torture.fleet_actors SETTINGS FIRST COUNT DELAY_S

Each has an ActorService, a Desk, Labels and a link of its own: it says hello, leases, reads the games,
makes batches, sends them and reports every second. The engine that stands behind its labels gives a game's scores
once DELAY_S for each of its positions have passed, one game after another.

On standard input, `begin` starts a measurement; `end` ends it and prints what came of it, as one line of JSON. At
the end of the input all actors stop at once, as if their host had died.
"""

import functools
import json
import os
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq

from actor.engine import Engine, EngineStats, Evaluated
from actor.engine_commands import EngineGame
from actor.labels import Labels
from actor.service import REPORT_INTERVAL_S, ActorService
from actor.work import Desk
from common import session
from common.keys import KeyHolder
from common.links import ActorEvent, LeasedUnit, Transport
from common.messages import ActorReport, BatchHeader, Role
from common.security import reach
from common.session import new_session
from common.settings import EvaluationSource, Settings, identity, read_file
from common.signals import StopSignal

HUNGRY_BELOW = 1024
"""Positions outstanding below which a real engine, too, asks for more games."""
SOCKETS_EACH = 16
"""More than an actor's link takes, monitors included."""
STACK_BYTES = 512 * 1024


class Stop(StopSignal):
    """A flag of its own for each actor, which no signal sets."""

    def __init__(self) -> None:
        self._set = False


class WatchedLink:
    """An actor's link that notes how long there was room until a lease came, and the units that went out whole."""

    def __init__(self, transport: Transport, name: str, settings: Settings) -> None:
        self._link = transport.actor(name, new_session(), identity(settings))
        self._logs = transport.log_outlet()  # a real actor has a connection for its log records, too
        self._came: list[ActorEvent] = []
        """Events that came while something else was waited for."""
        self._room: deque[float] = deque()
        """When each lease that it could hold and does not was first wanted."""
        self._to_send: dict[int, int] = {}
        """Batches that are still to be sent, by unit."""
        self._asked = False
        self.latencies_s: list[float] = []
        self.units_sent = 0
        self.joined_s: float | None = None
        """How long it took from the first word to the first lease."""
        self._begun_s = time.monotonic()

    def wait(self, timeout_s: float) -> None:
        """Return when something has come, or after `timeout_s`."""
        if not self._came:
            self._came = self._noted(timeout_s)

    def poll(self, timeout_s: float) -> list[ActorEvent]:
        """Poll, noting the leases."""
        came, self._came = self._came, []
        return came + self._noted(0.0 if came else timeout_s)

    def _noted(self, timeout_s: float) -> list[ActorEvent]:
        events = self._link.poll(timeout_s)
        now_s = time.monotonic()
        for event in events:
            if isinstance(event, LeasedUnit):
                if self.joined_s is None:
                    self.joined_s = now_s - self._begun_s
                self._to_send[event.lease.unit] = len(event.lease.agents)
                if self._room:
                    self.latencies_s.append(now_s - self._room.popleft())
        return events

    def capacity(self, units: int) -> None:
        """Ask for units, noting since when."""
        if not self._asked:
            self._asked = True
            self._room.extend([time.monotonic()] * units)
        self._link.capacity(units)

    def renew(self, units: Sequence[int], report: ActorReport) -> None:
        """Renew."""
        self._link.renew(units, report)

    def release(self, units: Sequence[int]) -> None:
        """Release."""
        self._link.release(units)

    def send(self, header: BatchHeader, body: bytes) -> bool:
        """Send, noting units that are out whole: there is room for another."""
        sent = self._link.send(header, body)
        if sent:
            left = self._to_send.get(header.unit, 1) - 1
            self._to_send[header.unit] = left
            if not left:
                del self._to_send[header.unit]
                self.units_sent += 1
                self._room.append(time.monotonic())
        return sent

    def close(self) -> None:
        """Close, the logs' connection too."""
        self._logs.close()
        self._link.close()


@dataclass(frozen=True, slots=True)
class Search:
    """A game that the delay stands for."""

    ticket: int
    positions: int
    due_s: float


class DelayedEngine(Engine):
    """An engine whose every position takes a set time; its scores follow from the number of positions alone."""

    def __init__(self, delay_s: float, link: WatchedLink) -> None:
        self._delay_s, self._link = delay_s, link
        self._searches: deque[Search] = deque()
        self._tickets = self._answered = 0
        self._worked_s = 0.0
        """Seconds that all searches take together, those to come included."""
        self._free_s = time.monotonic()
        """When all of them are through."""

    @property
    def pid(self) -> int | None:
        """There is no process."""
        return None

    @property
    def label(self) -> str:
        """What batches say of it."""
        return "a delay"

    @property
    def hungry(self) -> bool:
        """As a real one is."""
        return sum(search.positions for search in self._searches) < HUNGRY_BELOW

    @property
    def busy_s(self) -> float:
        """Seconds in which it had something to do, up to now."""
        return self._worked_s - max(0.0, self._free_s - time.monotonic())

    def submit(self, game: EngineGame) -> int:
        """Take a game; its scores are due once all before it are through, and it."""
        self._tickets += 1
        positions = len(game.positions)
        takes_s = positions * self._delay_s
        self._worked_s += takes_s
        self._free_s = max(time.monotonic(), self._free_s) + takes_s
        self._searches.append(Search(self._tickets, positions, self._free_s))
        return self._tickets

    def poll(self, timeout_s: float) -> list[Evaluated]:
        """Return the games that are due.

        Waits for longer than a real one, up to the next game, message or report: a turn of the actor's loop every
        20 ms is nothing for one actor, and too much for hundreds of them on one core.
        """
        if timeout_s and self._searches:
            next_s = self._searches[0].due_s - time.monotonic()
            self._link.wait(min(max(0.001, next_s), REPORT_INTERVAL_S / 2))
        done = []
        while self._searches and self._searches[0].due_s <= time.monotonic():
            search = self._searches.popleft()
            self._answered += search.positions
            done.append(Evaluated(ticket=search.ticket, scores=np.arange(search.positions, dtype=np.int16)))
        return done

    def reset(self) -> None:
        """Forget all searches."""
        self._searches.clear()
        self._worked_s = self.busy_s
        self._free_s = time.monotonic()

    def stats(self) -> EngineStats:
        """Return the figures that an actor reports."""
        return EngineStats(
            positions=self._answered, nodes=0, games=0, failed=0, outstanding=0, ahead=0,
            busy_s=self.busy_s, idle_s=0.0, dry=0, restarts=0,
        )  # fmt: skip


class SimulatedActor:
    """One actor and its thread."""

    def __init__(self, settings: Settings, name: str, delay_s: float) -> None:
        self.link = WatchedLink(reach(settings, KeyHolder(Role.ACTOR, name)), name, settings)
        self.engine = DelayedEngine(delay_s, self.link)
        source = EvaluationSource.ENGINE
        desk = Desk(Labels(source, self.engine), self.engine, source)
        self._service = ActorService(settings, name, self.link, desk, Stop())
        self._before_s = 0.0
        self._units_before = self._latencies_before = 0
        threading.Thread(target=self._service.run, name=name, daemon=True).start()

    def begin(self) -> None:
        """Begin to measure."""
        self._before_s, self._units_before = self.engine.busy_s, self.link.units_sent
        self._latencies_before = len(self.link.latencies_s)

    @property
    def busy_s(self) -> float:
        """Seconds since `begin` in which the engine had something to do."""
        return self.engine.busy_s - self._before_s

    @property
    def units(self) -> int:
        """Units sent since `begin`."""
        return self.link.units_sent - self._units_before

    @property
    def latencies_s(self) -> list[float]:
        """Seconds from having room until a lease came, of the leases since `begin`."""
        return self.link.latencies_s[self._latencies_before :]


def main() -> None:
    """Run the actors, and measure as told."""
    settings = read_file(Path(sys.argv[1]))
    first, count, delay_s = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    threading.stack_size(STACK_BYTES)
    # A real actor looks this up on its disk once; hundreds at once in one process would be at nothing else.
    session.version = functools.cache(session.version)
    zmq.Context.instance().set(zmq.MAX_SOCKETS, SOCKETS_EACH * count + 64)
    actors = [SimulatedActor(settings, f"actor-{first + index}", delay_s) for index in range(count)]
    begun_s = time.monotonic()
    for line in sys.stdin:
        if line.strip() == "begin":
            begun_s = time.monotonic()
            for actor in actors:
                actor.begin()
            continue
        passed_s = time.monotonic() - begun_s
        figures = {
            "busy_share": [min(1.0, actor.busy_s / passed_s) for actor in actors],
            "units": [actor.units for actor in actors],
            "latencies_s": [seconds for actor in actors for seconds in actor.latencies_s],
            "joined_s": [actor.link.joined_s for actor in actors],
        }
        print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

"""Fleets on each transport: what an actor costs the broker, the servers and itself.

The actors are simulated, all of it real but the engine, in whose place a delay stands: those of the torture tests
(tests/torture/fleet_actors.py), each a thread with an ActorService and links of its own, 250 to a process. A
thousand of them on NATS, where each link has an event loop in a thread more, are too much for two cores: there the
thousand are those of benchmarks/nats_crowd.py, which say the same over one loop. The broker is a real process; the
learners only store (benchmarks/nats_peers.py). A unit of four games takes 21 s. Measured once everybody is at work.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, quantiles

import psutil

from benchmarks.figure import Figure
from benchmarks.nats_figures import Measured, beside, in_turns
from benchmarks.nats_peers import learners
from benchmarks.nats_sites import ALL, NATS, ZMQ, Site, site
from benchmarks.nats_through import cpu_s
from benchmarks.real_games import games_file
from benchmarks.scale import ROOT, Scale
from benchmarks.services import service, wait_for
from common.links import Transport
from common.messages import Role, Status
from common.security import reach_as_operator
from tests.torture.fleet import GAMES_PER_UNIT, ask_for_figures, split, tell

UNIT_S = 21.0
POSITIONS = 420
"""Of a unit of four games, about."""
CROWD = 4000
"""Actors in one loop."""
JOIN_S = 400.0
ASK_S = 2.0
"""Between two questions to the broker, which cost it something, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """How many actors, of which kind, and for how long they are looked at."""

    actors: int
    crowd: bool
    """Whether actors on NATS are in one loop."""
    unit_s: float
    """What a unit of four games takes."""
    report_s: float = 1.0
    """Between two reports of an actor; others than in a second there are in crowds only."""
    window: int = 12
    """Units that may be leased, for each actor."""
    there: float = 1.0
    """Share of the actors that have to have a unit before they are looked at."""
    warm_s: float
    measured_s: float


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure links as actors have them, and then a thousand actors."""
    unit_s = 1.0 if scale.quick else UNIT_S
    times = {"warm_s": scale.of(25, 3), "measured_s": scale.of(30, 5)}
    real = Fleet(actors=scale.of(250, 20), crowd=False, unit_s=unit_s, **times)
    yield from figures(real, in_turns(1, (ZMQ, NATS), partial(fleet, real, scale)))
    many = Fleet(actors=scale.of(1000, 40), crowd=True, unit_s=unit_s, **times)
    yield from figures(many, in_turns(1, ALL, partial(fleet, many, scale)))


def figures(load: Fleet, found: dict[str, Measured]) -> Iterator[Figure]:
    """Yield what fleets of one kind came to."""
    who = f"{load.actors:,} actors"
    yield from beside(found, "at work", f"{who}: at work", "%", more_is_better=True)
    if not load.crowd:  # else it is not the same actors whose side of it this is
        yield from beside(found, "joined", f"{who}: from the first word to a unit, the last", "s")
        yield from beside(found, "lease", f"{who}: room to next lease, median", "ms")
        yield from beside(found, "lease p99", f"{who}: room to next lease, 99th percentile", "ms")
    for key in ("broker", "broker and servers", *(["actors"] if not load.crowd else [])):
        yield from beside(found, f"cpu {key}", f"{who}: CPU of {key}", "% of a core")
        yield from beside(found, f"memory {key}", f"{who}: memory of {key}", "MB")
    yield from beside(found, "loop", f"{who}: broker's loop busy", "%")
    yield from beside(found, "bytes", f"{who}: bytes on all ways", "bytes an actor and second")


def fleet(load: Fleet, scale: Scale, name: str) -> Measured:
    """Return what a fleet on one site comes to."""
    with site(name, scale) as here:
        settings = here.settings(
            games=(str(games_file()),) * 16, games_per_unit=GAMES_PER_UNIT,
            max_units_ahead=max(64, load.window * load.actors),
        )  # fmt: skip
        operator = reach_as_operator(settings)
        with (
            service("broker", settings) as broker, learners(settings),
            actors_of(load, here, Path(settings.run, "settings.toml")) as processes,
        ):  # fmt: skip
            wait_for(operator, lambda status: all_there(status, load.there * load.actors), JOIN_S, every_s=ASK_S)
            time.sleep(load.warm_s)
            return watched(load, here, psutil.Process(broker.pid), processes, operator)


def watched(
    load: Fleet, here: Site, broker: psutil.Process, processes: Sequence["subprocess.Popen[bytes]"],
    operator: Transport,
) -> Measured:  # fmt: skip
    """Look at a fleet for a while; return what it comes to."""
    who = {
        "broker": [broker], "broker and servers": [broker, *here.servers],
        "actors": [psutil.Process(process.pid) for process in processes],
    }  # fmt: skip
    for process in processes:
        tell(process, "begin")
    begun_s, carried = time.monotonic(), here.wire_bytes()
    used, loop = {key: cpu_s(each) for key, each in who.items()}, []
    while time.monotonic() - begun_s < load.measured_s:
        time.sleep(min(ASK_S, load.measured_s))
        loop.append(wait_for(operator, bool).broker_share)
    passed_s = time.monotonic() - begun_s
    cpu = {f"cpu {key}": 100 * (cpu_s(each) - used[key]) / passed_s for key, each in who.items()}
    memory = {f"memory {key}": sum(one.memory_info().rss for one in each) / 1e6 for key, each in who.items()}
    carried_each = (here.wire_bytes() - carried) / passed_s / load.actors
    said = [ask_for_figures(process) for process in processes]
    latencies_s = sorted(seconds for one in said for seconds in one["latencies_s"])
    return cpu | memory | {
        "at work": 100 * fmean(share for one in said for share in one["busy_share"]),
        "joined": max(seconds for one in said for seconds in one["joined_s"] if seconds is not None),
        "lease": 1000 * latencies_s[len(latencies_s) // 2],
        "lease p99": 1000 * quantiles(latencies_s, n=100)[98],
        "loop": 100 * fmean(loop),
        "bytes": carried_each,
        "lost": float(sum(lost for one in said for lost in one.get("lost", ()))),
        "units/s": sum(units for one in said for units in one["units"]) / passed_s,
    }  # fmt: skip


@contextmanager
def actors_of(load: Fleet, here: Site, settings_file: Path) -> Iterator[Sequence["subprocess.Popen[bytes]"]]:
    """Run the processes of a fleet's actors."""
    if load.crowd and here.name != ZMQ:
        command = ["benchmarks.nats_crowd", str(settings_file)]
        takes, sizes = [str(load.unit_s), str(load.report_s)], cut(load.actors, CROWD)
    else:
        command = ["tests.torture.fleet_actors", str(settings_file)]
        takes, sizes = [str(load.unit_s / POSITIONS)], split(load.actors)
    with ExitStack() as stack:
        processes = []
        for at, size in enumerate(sizes):
            process = subprocess.Popen(
                [sys.executable, "-m", *command, str(sum(sizes[:at])), str(size), *takes],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def cut(actors: int, most: int) -> list[int]:
    """Return the sizes of as few processes as will do."""
    processes = -(-actors // most)
    return [actors // processes + (at < actors % processes) for at in range(processes)]


def all_there(status: Status, actors: float) -> bool:
    """Whether so many actors have a unit."""
    return sum(bool(each.units) for each in status.services if each.role is Role.ACTOR) >= actors

"""How many actors one broker carries: fleets of 10 to 1,000, and connections by the thousand.

The actors are simulated (tests/torture/fleet_actors.py): all of it real but the engine, which is a delay. Broker
and learners are real processes, their training as cheap as can be: this is about what lies between.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles

import psutil
import zstandard

from common.messages import Role, Status
from common.settings import Settings
from tests.deploy.runs import SAMPLE, ask, wait_for_status
from tests.torture.fleet_services import Services, Usage, rss_of, stored_units
from tests.torture.outcome import Outcome, Setting

GAMES_PER_UNIT = 4
THREADS_MAX = 250
"""Simulated actors in one process."""
FAIR = 0.9
"""Least Jain's index of the units that the actors get."""
THROUGHPUT = 0.95
"""Least share of what the delays allow."""


@dataclass(frozen=True, slots=True)
class Load:
    """A fleet, and for how long it is looked at."""

    actors: int
    delay_s: float
    """Of each position."""
    warm_s: float
    """From all actors' being there to the measurement."""
    measured_s: float
    ahead: int | None = None
    """Units that may be leased; None for as many as all actors can hold."""

    def __str__(self) -> str:
        return f"{self.actors} actors" + (f", {self.ahead} units at a time" if self.ahead else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What a fleet came to."""

    load: Load
    busy_shares: Sequence[float]
    """Share of the measured time in which each actor's engine had work: 1 is what the delay allows."""
    units: Sequence[int]
    """Units that each actor finished."""
    latencies_s: Sequence[float]
    """From an actor's having room until a lease came."""
    joined_s: float
    """From the first word of all actors at once until each had a lease."""
    stored: int
    """Units that the slower learner stored meanwhile."""
    broker_share: float
    """Of a core, all of its threads together."""
    loop_share: float
    """Share of the time in which the broker's loop was busy, as it says itself."""
    broker_rss: int
    learner_share: float
    """Of a core, the busiest learner's."""
    actors_share: float
    """Of a core, all simulated actors' together."""
    lease_ran_out: int
    doubled: int
    """Units that stand in a store more than once."""
    status: Status

    @property
    def throughput(self) -> float:
        """Share of what the delays allow; less where fewer units come in than go out, while stocks last."""
        return fmean(self.busy_shares) * min(1.0, len(self.latencies_s) / max(1, sum(self.units)))


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index of fairness: 1 where all got the same, 1/n where one of n got all."""
    squares = sum(share * share for share in shares)
    return float(sum(shares) ** 2 / (len(shares) * squares)) if squares else 0.0


def run(setting: Setting) -> list[Outcome]:
    """Run fleets of all sizes, and one under a storm of connections."""
    from tests.torture.fleet_storm import run_storm

    if setting.short:
        loads = [Load(40, 0.0005, 2.0, 5.0, ahead=16)]
    else:
        loads = [Load(actors, 0.05, 25.0, 60.0) for actors in (10, 30, 100, 300, 500, 1000)]
        loads.append(Load(100, 0.001, 5.0, 20.0, ahead=32))
    outcomes = []
    for load in loads:
        setting.say(str(load))
        outcomes.append(as_outcome(measure(load, setting)))
        setting.say(str(outcomes[-1].figures))
    return [*outcomes, run_storm(setting)]


def as_outcome(figures: Figures) -> Outcome:
    """Judge a fleet's figures."""
    load, status = figures.load, figures.status
    late = quantiles(figures.latencies_s, n=100) if len(figures.latencies_s) > 1 else [0.0] * 99
    failures = []
    # Where there is a unit for everybody it is the time at work that is to be equal: units are not equally long.
    fairness = jain(figures.units if load.ahead else figures.busy_shares)
    if fairness < FAIR:
        failures.append(f"leases are unfair: Jain's index {fairness:.3f}")
    if figures.throughput < THROUGHPUT and not load.ahead:
        failures.append(f"throughput is {figures.throughput:.1%} of what the delays allow")
    if figures.lease_ran_out:
        failures.append(f"{figures.lease_ran_out} leases ran out")
    failures += [f"{agent.name}'s accounting is open" for agent in status.agents if not agent.closed]
    stored = sum(agent.units_stored for agent in status.agents)
    sent_each_s, stored_each_s = sum(figures.units) / load.measured_s, figures.stored / load.measured_s
    shares = (min(figures.units), fmean(figures.units), max(figures.units))
    return Outcome(
        part=f"fleet: {load}", tries=load.actors, unit="actors", faults=0, stored=stored,
        doubled=figures.doubled,
        memory_max_bytes=figures.broker_rss,
        failures=failures,
        figures={
            "delay, ms a position": load.delay_s * 1000,
            "of what the delays allow, %": round(100 * figures.throughput, 1),
            "units/s sent / stored": f"{sent_each_s:.1f} / {stored_each_s:.1f}",
            "units an actor, min / mean / max": " / ".join(f"{share:.3g}" for share in shares),
            "Jain's index of units": round(jain(figures.units), 3),
            "Jain's index of time at work": round(jain(figures.busy_shares), 3),
            "lease latency, ms, median / p99": f"{1000 * late[49]:.0f} / {1000 * late[98]:.0f}",
            "all joined within, s": round(figures.joined_s, 1),
            "broker CPU, % of a core": round(100 * figures.broker_share, 1),
            "broker loop busy, %": round(100 * figures.loop_share, 1),
            "broker RSS, MB": round(figures.broker_rss / 1e6),
            "busiest learner / all actors CPU, % of a core":
                f"{100 * figures.learner_share:.0f} / {100 * figures.actors_share:.0f}",
        },
    )  # fmt: skip


def measure(load: Load, setting: Setting) -> Figures:
    """Run a fleet and measure it once it has got going."""
    folder = setting.folder / f"fleet-{load.actors}-{load.ahead or 'all'}"
    with fleet(load, setting, folder) as (services, actors):
        broker, learners = services.broker, services.learners
        for process in actors:
            tell(process, "begin")
        used = [Usage(process) for process in (broker, *learners)]
        used_actors = [Usage(psutil.Process(process.pid)) for process in actors]
        before, loop_shares = status_of(services), []
        end_s = time.monotonic() + load.measured_s
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(5.0, left_s))
            status = status_of(services)
            loop_shares.append(status.broker_share)
        shares = [usage.cpu_share for usage in used]
        actors_share = sum(usage.cpu_share for usage in used_actors)
        said = [ask_for_figures(process) for process in actors]
        in_stores = [stored_units(services.settings, agent.name) for agent in services.settings.agents]
        joined_s = [seconds for one in said for seconds in one["joined_s"]]
        return Figures(
            load=load,
            busy_shares=[share for one in said for share in one["busy_share"]],
            units=[round(units) for one in said for units in one["units"]],
            latencies_s=[seconds for one in said for seconds in one["latencies_s"]],
            joined_s=max(float("inf") if seconds is None else seconds for seconds in joined_s),
            stored=least_stored(status) - least_stored(before),
            broker_share=shares[0],
            loop_share=fmean(loop_shares),
            broker_rss=rss_of(broker),
            learner_share=max(shares[1:]),
            actors_share=actors_share,
            lease_ran_out=services.log_of("broker").count("lease ran out"),
            doubled=sum(len(numbers) - len(set(numbers)) for numbers in in_stores),
            status=status,
        )


class FleetServices(Services):
    """A broker and two learners."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        super().__init__(folder, settings)
        self.broker = self.service("broker")
        self.learners = [
            self.service("learner", "--agent", agent.name, name=f"learner-{agent.name}")
            for agent in settings.agents
        ]


@contextmanager
def fleet(
    load: Load, setting: Setting, folder: Path, limit_games: int | None = None
) -> Iterator[tuple[FleetServices, list[subprocess.Popen[bytes]]]]:
    """Run broker, learners and simulated actors; entered, all are there and have been for `warm_s`."""
    settings = Settings(
        games=(str(many_games(folder, load, limit_games)),), limit_games=limit_games, games_per_unit=GAMES_PER_UNIT,
        network="table", samples_per_transition=0.01, publish_every=1_000_000, checkpoint_every=1_000_000,
        max_units_ahead=load.ahead or max(64, 12 * load.actors), run=str(folder / "run"),
        base_port=setting.base_port,
    )  # fmt: skip
    with FleetServices(folder, settings) as services:
        wait_for_status(services.transport, learners_there, "the learners' hello")
        sizes = split(load.actors)
        actors = [
            services.module(
                "tests.torture.fleet_actors", str(services.settings_file), str(sum(sizes[:at])), str(size),
                str(load.delay_s), name=f"actors-{at}",
            )
            for at, size in enumerate(sizes)
        ]  # fmt: skip
        wait_for_status(
            services.transport, lambda status: all_there(status, load), "the actors' work",
            alive=lambda: all(process.poll() is None for process in actors), timeout_s=300.0,
        )  # fmt: skip
        time.sleep(load.warm_s)
        yield services, actors


def split(actors: int) -> list[int]:
    """Return the sizes of the processes that run so many actors."""
    processes = max(1 if actors < 100 else 2, -(-actors // THREADS_MAX))
    return [actors // processes + (at < actors % processes) for at in range(processes)]


def many_games(folder: Path, load: Load, limit_games: int | None) -> Path:
    """Write the sample's games, over and over, for as long as the fleet will run."""
    text = zstandard.ZstdDecompressor().stream_reader(SAMPLE.open("rb")).read()
    needed = (
        limit_games
        or round(load.actors * (load.warm_s + load.measured_s + 60) / (90 * load.delay_s)) + 40 * load.actors
    )
    path = folder / "games.pgn.zst"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as writer:
        for _ in range(needed // 300 + 1):
            writer.write(text)
    return path


def status_of(services: Services) -> Status:
    """Ask the broker; it has to answer."""
    status = ask(services.transport, 30.0)
    assert status is not None, "the broker does not answer"
    return status


def least_stored(status: Status) -> int:
    """Return the units that every agent's learner has stored."""
    return min(agent.units_stored for agent in status.agents)


def learners_there(status: Status) -> bool:
    """Whether every agent's learner has said hello."""
    return all(agent.learner == "connected" for agent in status.agents)


def all_there(status: Status, load: Load) -> bool:
    """Whether all actors have said hello and, where there are units for all, have some."""
    actors = [service for service in status.services if service.role is Role.ACTOR]
    return len(actors) >= load.actors and (bool(load.ahead) or all(service.units for service in actors))


def tell(process: subprocess.Popen[bytes], word: str) -> None:
    """Say a word to a process of simulated actors."""
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())
    process.stdin.flush()


def ask_for_figures(process: subprocess.Popen[bytes]) -> dict[str, list[float]]:
    """End a measurement; return what came of it."""
    assert process.stdout is not None
    tell(process, "end")
    figures: dict[str, list[float]] = json.loads(process.stdout.readline())
    return figures

"""Slow parts: a learner that crawls, a learner that stands still, engines that hang or never get done.

What is slow may hold the others back only as far as the settings say, costs no memory, and keeps no unit to itself.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import zstandard

from common.messages import AgentStatus, Role, ServiceStatus, Status
from common.settings import Settings
from tests.actor.fake_engine import fake_engine
from tests.deploy.runs import SAMPLE, stopped, wait_for_status
from tests.torture.fleet import status_of
from tests.torture.fleet_services import Services, rss_of, slope_of, stored_units
from tests.torture.outcome import Outcome, Setting

FAST, SLOW = "white", "black"
SPEED_KEPT = 0.95
"""Share of its speed that the fast learner keeps while the other is ten times slower."""
GROWTH_MAX_BYTES = 8 * 1024 * 1024
"""By how much a process may grow while a learner is stopped, by the slope of its memory."""
CHEAP = {"network": "table", "samples_per_transition": 0.01, "publish_every": 1_000_000}
PATIENCE_S = 240.0


def run(setting: Setting) -> list[Outcome]:
    """Run all parts."""
    parts = [a_slow_learner, a_stopped_learner, a_hung_engine]
    if not setting.short:
        parts += [a_slow_engine, a_stopped_stockfish]
    return [part(setting) for part in parts]


# Learners ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Race:
    """How two learners fared."""

    fast_units_s: float
    """Units a second that the fast one trained, up to nine tenths of the bound."""
    fast_train_share: float
    """Share of that time that it spent in training; in the rest it waited for units."""
    lead_max: int
    """The most units that it was ahead by."""


def a_slow_learner(setting: Setting) -> Outcome:
    """One learner ten times slower than the other: the fast one keeps its speed up to the bound."""
    ahead = 24 if setting.short else 250
    setting.say(f"two learners alike, then one ten times slower; up to {ahead} units ahead")
    both_fast = race(setting, "both fast", ahead, slow=False)
    one_slow = race(setting, "one slow", ahead, slow=True)
    kept = one_slow.fast_units_s / both_fast.fast_units_s
    share_kept = one_slow.fast_train_share / both_fast.fast_train_share
    lead_max = max(both_fast.lead_max, one_slow.lead_max)
    failures = []
    if lead_max > ahead:
        failures.append(f"one learner was {lead_max} units ahead; the bound is {ahead}")
    if one_slow.lead_max < 0.9 * ahead:
        failures.append(f"the fast learner came no further than {one_slow.lead_max} units ahead of {ahead}")
    # A machine with other work slows it down, too; then it has not been waiting for units.
    if not setting.short and kept < SPEED_KEPT and share_kept < SPEED_KEPT:
        failures.append(f"the fast learner kept {kept:.0%} of its speed, and waited for units")
    return Outcome(
        part="slow: one learner ten times slower", tries=2, unit="runs", faults=1, failures=failures,
        figures={
            "units/s of the fast one, both fast": round(both_fast.fast_units_s, 2),
            "units/s of the fast one, other slow": round(one_slow.fast_units_s, 2),
            "speed kept, %": round(100 * kept, 1),
            "its time in training, both fast, %": round(100 * both_fast.fast_train_share, 1),
            "its time in training, other slow, %": round(100 * one_slow.fast_train_share, 1),
            "greatest lead, units": one_slow.lead_max,
            "max_units_ahead": ahead,
        },
    )  # fmt: skip


def race(setting: Setting, name: str, ahead: int, *, slow: bool) -> Race:
    """Train both agents until the fast one is nearly as far ahead as it may be, or trained on as many units."""
    settings = Settings(
        games=(str(many_games(setting.folder, 8 * ahead)),), games_per_unit=2, max_units_ahead=ahead,
        samples_per_transition=1.0 if setting.short else 4.0, publish_every=1_000_000, checkpoint_every=1_000_000,
        run=str(setting.folder / name / "run"), base_port=setting.base_port,
    )  # fmt: skip
    with Services(setting.folder / name, settings) as services:
        services.service("broker")
        services.service("learner", "--agent", FAST, name=FAST)
        arguments = ("--settings", str(services.settings_file), "--agent", SLOW)
        services.module("tests.torture.slow_learner" if slow else "learner", *arguments, name=SLOW)
        simulated_actors(services, 4, 0.0002)
        status = wait_for_status(services.transport, lambda status: trained(status, FAST) > 2, "the first units")
        first, first_s, leads, shares = trained(status, FAST), time.monotonic(), [lead_of(status)], {}

        def is_over(status: Status) -> bool:
            leads.append(lead_of(status))
            report = service(status, f"learner-{FAST}").learner
            if report is not None:
                shares[report.trained_units] = report.train_share
            return lead_of(status) >= 0.9 * ahead if slow else trained(status, FAST) >= 0.9 * ahead

        status = wait_for_status(services.transport, is_over, "the bound", timeout_s=PATIENCE_S)
        rate = (trained(status, FAST) - first) / (time.monotonic() - first_s)
        train_share = sum(shares.values()) / len(shares)
        hold_s = time.monotonic() + (1.0 if setting.short else 15.0)
        while slow and time.monotonic() < hold_s:  # the bound goes on to hold
            leads.append(lead_of(status_of(services)))
            time.sleep(0.02)
        return Race(rate, train_share, max(leads))


def a_stopped_learner(setting: Setting) -> Outcome:
    """A learner that stands still costs no memory anywhere, however long."""
    settle_s, measured_s = (2.0, 4.0) if setting.short else (30.0, 600.0)
    setting.say(f"a learner stopped for {settle_s + measured_s:.0f} s")
    settings = Settings(
        games=(str(many_games(setting.folder, 100_000)),), games_per_unit=4,
        run=str(setting.folder / "stopped" / "run"), base_port=setting.base_port, **CHEAP,
    )  # fmt: skip
    with Services(setting.folder / "stopped", settings) as services:
        processes = {
            "broker": services.service("broker"),
            "logs": services.service("logs"),
            FAST: services.service("learner", "--agent", FAST, name=FAST),
            SLOW: services.service("learner", "--agent", SLOW, name=SLOW),
            "actors": simulated_actors(services, 20, 0.002),
        }
        wait_for_status(services.transport, lambda status: trained(status, SLOW) > 5, "the training's beginning")
        with stopped(processes[SLOW]):
            time.sleep(settle_s)
            before = status_of(services)
            rss = watch(processes, measured_s)
            after = status_of(services)
        wait_for_status(
            services.transport,
            lambda status: trained(status, SLOW) > trained(after, SLOW) + 20,
            "going on after it",
        )
    growth = {name: slope_of(samples) * measured_s for name, samples in rss.items()}
    failures = [
        f"{name} grows by {grown / 1e6:.1f} MB in {measured_s:.0f} s"
        for name, grown in growth.items()
        if grown > GROWTH_MAX_BYTES
    ]
    lead = trained(after, FAST) - trained(after, SLOW)
    if lead > settings.max_units_ahead:
        failures.append(f"the other learner is {lead} units ahead; the bound is {settings.max_units_ahead}")
    if leased(after) > leased(before):
        failures.append("units were leased past the window")
    return Outcome(
        part="slow: a learner stopped", tries=1, unit="runs", faults=1, failures=failures,
        memory_max_bytes=round(max(max(samples.values()) for samples in rss.values())),
        figures={
            "stopped for, s": settle_s + measured_s,
            "growth by slope, MB in that time": ", ".join(
                f"{name} {grown / 1e6:+.2f}" for name, grown in growth.items()
            ),
            "bottleneck says": after.bottleneck,
        },
    )  # fmt: skip


def watch(processes: dict[str, psutil.Process], seconds: float) -> dict[str, dict[float, float]]:
    """Return the resident memory of each process, by time."""
    begun_s = time.monotonic()
    samples: dict[str, dict[float, float]] = {name: {} for name in processes}
    while (now_s := time.monotonic()) < begun_s + seconds:
        for name, process in processes.items():
            samples[name][now_s - begun_s] = rss_of(process)
        time.sleep(min(1.0, seconds / 20))
    return samples


# Engines ---------------------------------------------------------------------------------------------


def a_hung_engine(setting: Setting) -> Outcome:
    """An engine stops answering while its actor's reports go on: another actor does its units."""
    hangs = "def go():\n    forever() if searches > 150 else answer()"
    return disturbed(setting, "slow: an engine hangs", hangs, lease_timeout_s=2.0)


def a_slow_engine(setting: Setting) -> Outcome:
    """An engine answers often enough, but takes minutes over a unit: once others wait for it, they do it."""
    crawls = "import time\ndef go():\n    time.sleep(0.5)\n    answer()"
    return disturbed(setting, "slow: an engine that crawls", crawls, lease_timeout_s=2.5)


def disturbed(setting: Setting, part: str, body: str, lease_timeout_s: float) -> Outcome:
    """Run one actor whose engine is as `body` says beside a healthy one, until every unit is trained."""
    setting.say(part)
    folder = setting.folder / part.replace(": ", "-").replace(" ", "-")
    games = 100 if setting.short else 600
    settings = Settings(
        games=(str(many_games(setting.folder, games)),), limit_games=games, games_per_unit=4,
        lease_timeout_s=lease_timeout_s, run=str(folder / "run"), base_port=setting.base_port, **CHEAP,
    )  # fmt: skip
    with two_actors(folder, settings, engine(folder / "bad", body), engine(folder / "good", "")) as services:
        held = wait_for_status(
            services.transport, lambda status: bool(service(status, "bad").units), "a lease"
        ).services
        begun_s = time.monotonic()
        seen_s = [0.0]

        def watched(status: Status) -> bool:
            seen_s.append(service(status, "bad").seen_s)
            return status.finished

        status = wait_for_status(services.transport, watched, "the end of the run", timeout_s=PATIENCE_S)
        return settled(
            part, services, status, units=-(-games // 4), seen_s=max(seen_s),
            recovery_s=time.monotonic() - begun_s, held=len(next(s.units for s in held if s.name == "bad")),
        )  # fmt: skip


def a_stopped_stockfish(setting: Setting) -> Outcome:
    """The same with a real Stockfish that is stopped; its actor kills it in the end and works on."""
    part = "slow: Stockfish stopped"
    setting.say(part)
    stockfish = shutil.which("stockfish") or shutil.which("stockfish", path="/usr/games:/usr/local/bin")
    if stockfish is None:
        return Outcome(part=part, tries=0, unit="runs", faults=0, figures={"skipped": "no Stockfish here"})
    folder, games = setting.folder / "stockfish", 120
    settings = Settings(
        games=(str(many_games(setting.folder, games)),), limit_games=games, games_per_unit=4, nodes=500,
        lease_timeout_s=8.0, run=str(folder / "run"), base_port=setting.base_port, **CHEAP,
    )  # fmt: skip
    with two_actors(folder, settings, stockfish, stockfish) as services:
        wait_for_status(services.transport, lambda status: bool(service(status, "bad").units), "a lease")
        (victim,) = services.process_of("bad").children()
        held = service(status_of(services), "bad").units
        victim.suspend()
        begun_s = time.monotonic()
        seen_s, taken_over_s, restarted_s = [0.0], 0.0, 0.0
        while time.monotonic() < begun_s + PATIENCE_S:
            status = status_of(services)
            report = service(status, "bad")
            seen_s.append(report.seen_s)
            if not taken_over_s and all(trained(status, name) > max(held) for name in (FAST, SLOW)):
                taken_over_s = time.monotonic() - begun_s
            if not restarted_s and report.actor is not None and report.actor.engine_restarts:
                restarted_s = time.monotonic() - begun_s
            if status.finished and restarted_s:
                break
            time.sleep(0.1)
        outcome = settled(
            part,
            services,
            status,
            units=-(-games // 4),
            seen_s=max(seen_s),
            recovery_s=taken_over_s,
            held=len(held),
        )
        outcome.figures["its actor started it anew after, s"] = round(restarted_s, 1)
        return outcome


def settled(
    part: str, services: Services, status: Status, *, units: int, seen_s: float, recovery_s: float, held: int
) -> Outcome:
    """Judge a run with a bad engine that came to its end."""
    stored = [stored_units(services.settings, agent) for agent in (FAST, SLOW)]
    lost_leases = services.log_of("broker").count("lease ran out")
    failures = [f"{agent.name}'s accounting is open" for agent in status.agents if not agent.closed]
    if not status.finished:
        failures.append(f"the run does not come to its end: {status.bottleneck}")
    if not lost_leases:
        failures.append("no lease ran out")
    if seen_s > 5.0:
        failures.append(f"the actor was silent for {seen_s:.1f} s: its reports should have gone on")
    rejected = {agent.name: agent.totals.rejected for agent in status.agents if agent.totals.rejected}
    return Outcome(
        part=part, tries=1, unit="runs", faults=1, expected=2 * units, stored=sum(map(len, stored)),
        lost=sum(units - len(set(numbers)) for numbers in stored),
        doubled=sum(len(numbers) - len(set(numbers)) for numbers in stored), recovery_s=[recovery_s],
        failures=failures,
        figures={
            "units that its actor held": held,
            "leases that ran out": lost_leases,
            "its actor's longest silence, s": round(seen_s, 1),
            "games rejected": str(rejected or "none"),
        },
    )  # fmt: skip


@contextmanager
def two_actors(folder: Path, settings: Settings, bad: str, good: str) -> Iterator["Two"]:
    """Run broker, learners, an actor `bad` with one engine and, once that has units, one `good` with another."""
    with Two(folder, settings) as services:
        services.service("broker")
        for agent in settings.agents:
            services.service("learner", "--agent", agent.name, name=agent.name)
        services.actor("bad", bad)
        wait_for_status(
            services.transport, lambda status: bool(service(status, "bad").units), "the bad actor's units"
        )
        services.actor("good", good)
        yield services


class Two(Services):
    """Services with actors that have engines of their own."""

    def actor(self, name: str, engine: str) -> None:
        """Start an actor."""
        evaluations = str(self.folder / f"{name}.db")
        arguments = ("--engine", engine, "--evaluations", evaluations)
        self._actors[name] = self.service("actor", "--name", name, *arguments, name=name)

    def process_of(self, name: str) -> psutil.Process:
        """Return an actor's process."""
        return self._actors[name]

    def __init__(self, folder: Path, settings: Settings) -> None:
        super().__init__(folder, settings)
        self._actors: dict[str, psutil.Process] = {}


def engine(folder: Path, body: str) -> str:
    """Write a scripted engine."""
    folder.mkdir(parents=True, exist_ok=True)
    return fake_engine(folder, body)


# Asking and answering --------------------------------------------------------------------------------


def simulated_actors(services: Services, count: int, delay_s: float) -> psutil.Process:
    """Start simulated actors in one process."""
    arguments = (str(services.settings_file), "0", str(count), str(delay_s))
    return psutil.Process(services.module("tests.torture.fleet_actors", *arguments, name="actors").pid)


def many_games(folder: Path, count: int) -> Path:
    """Write at least `count` of the sample's games, over and over."""
    path = folder / f"games-{count}.pgn.zst"
    text = zstandard.ZstdDecompressor().stream_reader(SAMPLE.open("rb")).read()
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as writer:
        for _ in range(count // 300 + 1):
            writer.write(text)
    return path


def agent_of(status: Status, name: str) -> AgentStatus:
    """Return an agent's part of the status."""
    return next(agent for agent in status.agents if agent.name == name)


def trained(status: Status, name: str) -> int:
    """Return on how many units an agent is trained."""
    return agent_of(status, name).units_trained


def leased(status: Status) -> int:
    """Return the units under lease, over all agents."""
    return sum(agent.leased for agent in status.agents)


def lead_of(status: Status) -> int:
    """Return by how many units one agent's training is ahead of the other's."""
    return abs(trained(status, FAST) - trained(status, SLOW))


def service(status: Status, name: str) -> ServiceStatus:
    """Return a service's part of the status; one without units where it has not said hello yet."""
    found = [service for service in status.services if service.name == name]
    nobody = ServiceStatus(name=name, role=Role.ACTOR, host="", pid=0, state="away", seen_s=0.0, progress_s=0.0)
    return found[0] if found else nobody

"""Networks: a fleet on two hosts whose cable loses, delays, reorders, throttles, is cut, and resets connections.

Broker, collector and learners are on one host, the actors (in some rows a learner, too) on the other. Every
row is a run of its own from the first game to the last, with real services; the cable is that of
tests/torture/cable.py. The evaluations are there already, so that the network is what a run waits for.
"""

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import SkipTest

from common.log_lines import read_log_lines
from common.messages import Status
from tests.deploy.hosts import Host, NoHosts, hosts
from tests.deploy.runs import SAMPLE
from tests.torture.cable import Cable, Conditions, can_be_played
from tests.torture.outcome import Outcome, Setting
from tests.torture.two_hosts import ACTORS, Fleet, Watch, make_keys
from tests.torture.undisturbed import Undisturbed, audit, settings_for, undisturbed

NEAR, FAR = "10.203.78.1", "10.203.78.2"
LEARNERS = ("learner-white", "learner-black")
EVERYBODY = (*ACTORS, *LEARNERS)

PERFECT = Conditions()
LOSS = Conditions(loss=0.05)
DELAY = Conditions(delay_s=0.2)
REORDERING = Conditions(delay_s=0.02, late=0.25)
THIN = Conditions(bits_per_s=1e6)
ALL = Conditions(loss=0.05, delay_s=0.2, late=0.25, bits_per_s=1e6)

RUN = {
    "games_per_unit": 2, "nodes": 20, "samples_per_transition": 1.0, "batch_size": 64,
    "publish_every": 20, "checkpoint_every": 50, "max_units_ahead": 8, "lease_timeout_s": 5.0, "network": "table",
}  # fmt: skip
PATIENCE_S = 30.0
"""For what a status is to show soon."""


@dataclass(slots=True)
class Found:
    """What came of the faults of one run."""

    faults: int = 0
    recovery_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    figures: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One run under one condition."""

    name: str
    conditions: Conditions = PERFECT
    disturb: Callable[["Disturbed"], None] = lambda run: None
    """Injects faults once the run is well under way."""
    keys: bool = True
    """CURVE, or in the clear."""
    far: Sequence[str] = ACTORS
    """Services on the other side of the cable, seen from the broker."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Other than those in RUN."""


@dataclass(frozen=True, slots=True)
class Disturbed:
    """What a fault has to work with."""

    row: Row
    fleet: Fleet
    watch: Watch
    found: Found
    setting: Setting
    total: int
    """Units to be stored, over all agents."""
    spare: Host
    """With the address of the broker's host, and nothing on it."""

    def check(self, held: bool, what: str) -> None:
        """Note a failure, unless it held."""
        if not held:
            self.found.failures.append(what)

    def expect(self, condition: Callable[[Status], bool], what: str, end_s: float) -> bool:
        """Wait until the status is like this; note a failure, and return False, where it is not before `end_s`."""
        try:
            self.watch.wait_for(condition, what, end_s - time.monotonic())
        except TimeoutError as error:
            self.found.failures.append(str(error)[:1000])
            return False
        return True

    def recovered(self, since_s: float, stored: int) -> None:
        """Wait until units are stored that can't have been under way when `stored` were; note the time since."""
        under_way = len(LEARNERS) * self.fleet.settings.max_units_ahead
        enough = min(stored + under_way, self.total - 1)
        seen = self.watch.wait_for(lambda status: units_stored(status) > enough, "getting on again")
        self.found.recovery_s.append(seen.time_s - since_s)


def units_stored(status: Status) -> int:
    """Return how many units are stored, over all agents."""
    return sum(agent.units_stored for agent in status.agents)


def cut(run: Disturbed, seconds: float) -> None:
    """Cut the cable for a while, until the status has said what is missing; see that it does."""
    fleet, before = run.fleet, run.fleet.cable.conditions
    fleet.cable.set(replace(before, cut=True))
    begun_s = time.monotonic()
    end_s = begun_s + seconds + PATIENCE_S
    run.found.faults += 1
    if run.expect(lambda status: away(status) == sorted(run.row.far), "the other side shown as away", end_s):
        run.found.figures["s until shown as away"] = round(time.monotonic() - begun_s, 1)
    run.expect(lambda status: "away" in status.bottleneck, "a bottleneck that names what is away", end_s)
    if fleet.settings.lease_timeout_s < seconds:
        run.expect(lambda status: not any(agent.leased for agent in status.agents), "all leases run out", end_s)
    code, shown = fleet.status(fleet.near)
    run.check(code == 0 and shown.count("away") >= 2, f"`rookery status` on the broker's host: {shown}")
    code, shown = fleet.status(fleet.far, "--timeout", "1")
    run.check(code != 0 and "no broker answers at" in shown, f"`rookery status` on the actors' host: {shown}")
    stored = units_stored(run.watch.statuses[-1])
    time.sleep(max(0.0, begun_s + seconds - time.monotonic()))
    run.check(units_stored(run.watch.statuses[-1]) == stored, "units were stored through a cable that is cut")
    fleet.cable.set(before)
    run.found.figures["s cut"] = round(time.monotonic() - begun_s, 1)
    run.recovered(time.monotonic(), stored)


def reset(run: Disturbed, times: int) -> None:
    """Reset all connections, again and again."""
    randomness = random.Random(run.setting.seed)
    for _ in range(times):
        stored = units_stored(run.watch.statuses[-1])
        run.fleet.cable.reset_connections()
        run.recovered(time.monotonic(), stored)
        time.sleep(randomness.uniform(0.0, 0.5))
    resets = sum(way.reset for way in run.fleet.cable.counts())
    run.found.faults += resets
    run.check(resets >= times, f"only {resets} connections were reset")


def move_broker(run: Disturbed, seconds: float) -> None:
    """Take the broker's host away, and after a while start a broker on another one with its address."""
    fleet, old = run.fleet, run.fleet.near
    stored = units_stored(run.watch.statuses[-1])
    before = fleet.cable.conditions
    fleet.cable.set(replace(before, cut=True))
    fleet.kill("broker", "logs")
    run.found.faults += 1
    code, shown = fleet.status(fleet.far, "--timeout", "1")
    run.check(code != 0 and "no broker answers at" in shown, f"`rookery status` without a broker: {shown}")
    time.sleep(seconds)
    fleet.cable.move_end(old, run.spare)
    fleet.cable.set(before)
    fleet.start(run.spare, "broker", "logs")
    since_s = time.monotonic()
    run.watch.move(run.spare)
    run.recovered(since_s, stored)


def everything(run: Disturbed) -> None:
    """Do all of this to one run."""
    reset(run, 1)
    cut(run, 12.0)
    move_broker(run, 1.0)


def away(status: Status) -> list[str]:
    """Return the names of the services that are away."""
    return [service.name for service in status.services if service.state == "away"]


def rows(short: bool) -> list[Row]:
    """Return what is run."""
    if short:
        return [
            Row(
                name="loss, delay, reordering, resets, a cut, another broker",
                conditions=replace(ALL, bits_per_s=None), disturb=everything, far=EVERYBODY,
                settings={"max_units_ahead": 4, "lease_timeout_s": 3.0},
            )
        ]  # fmt: skip
    return [
        Row(name="nothing"),
        Row(name="5 % loss", conditions=LOSS),
        Row(name="200 ms delay", conditions=DELAY, keys=False),
        Row(name="reordering", conditions=REORDERING),
        Row(name="1 Mbit/s", conditions=THIN),
        Row(name="all of these", conditions=ALL),
        Row(name="all of these, a learner far away", conditions=ALL, far=(*ACTORS, "learner-black")),
        Row(
            name="all of these, weights of 2.9 MB", conditions=ALL,
            settings={"network": "mlp", "lease_timeout_s": 20.0, "max_units_ahead": 2},
        ),
        Row(name="cut for 60 s", disturb=lambda run: cut(run, 60.0)),
        Row(
            name="cut for 60 s, default timeouts", disturb=lambda run: cut(run, 60.0), keys=False,
            settings={"lease_timeout_s": 60.0},
        ),
        Row(name="connections reset", disturb=lambda run: reset(run, 6)),
        Row(
            name="connections reset, default timeouts", disturb=lambda run: reset(run, 2),
            settings={"lease_timeout_s": 60.0},
        ),
        Row(name="the broker's host gone, another one", disturb=lambda run: move_broker(run, 20.0), far=EVERYBODY),
    ]  # fmt: skip


def run(setting: Setting) -> list[Outcome]:
    """Run every row; raises SkipTest where this machine can't play hosts and cables."""
    part = Part(setting)
    return [part.run(row) for row in rows(setting.short)]


class Part:
    """Runs rows, each in a folder of its own, and compares what each came to with an undisturbed run."""

    def __init__(self, setting: Setting) -> None:
        if not can_be_played():
            raise SkipTest("no /dev/net/tun to make a cable of")
        self._setting = setting
        self._undisturbed: dict[str, Undisturbed] = {}
        """By network."""

    def run(self, row: Row) -> Outcome:
        """Run a row; raises SkipTest where this machine can't play hosts."""
        folder = self._setting.folder / re.sub(r"\W+", "-", row.name)
        folder.mkdir(parents=True)
        self._setting.say(f"{row.name}; {'CURVE' if row.keys else 'in the clear'}")
        try:
            with hosts(NEAR, FAR) as (near, far), hosts(NEAR) as (spare,):
                wanted = self._prepare(row, folder)
                with Cable(near, far, seed=self._setting.seed) as cable:
                    with Fleet(near, far, cable, wanted.settings) as fleet:
                        return _run(self._setting, row, wanted, fleet, spare)
        except NoHosts as reason:
            raise SkipTest(str(reason)) from reason

    def _prepare(self, row: Row, folder: Path) -> Undisturbed:
        """Return settings and expectations of a row; its evaluations are there already."""
        setting = self._setting
        values = {**RUN, "limit_games": 24 if setting.short else 240, **row.settings}
        values |= {"broker": NEAR, "bind": NEAR, "base_port": setting.base_port, "actors": len(ACTORS)}
        values |= {"keys": str(folder / "keys")} if row.keys else {"insecure": True}
        settings = settings_for([SAMPLE], folder / "run", **values)
        network = settings.network
        if network not in self._undisturbed:
            beside = setting.folder / network
            beside.mkdir()
            plain = settings_for([SAMPLE], beside / "run", **values)
            self._undisturbed[network] = undisturbed(plain, (SAMPLE,), values["limit_games"])
        if row.keys:
            make_keys(folder / "keys", settings)
        settings.directory.mkdir()
        shutil.copy(setting.folder / network / "undisturbed" / "evaluations.db", settings.evaluations_path)
        return replace(self._undisturbed[network], settings=settings)


def _run(setting: Setting, row: Row, wanted: Undisturbed, fleet: Fleet, spare: Host) -> Outcome:
    found = Found()
    fleet.cable.set(row.conditions)
    fleet.start(fleet.near, *(name for name in ("broker", "logs", *LEARNERS) if name not in row.far))
    fleet.start(fleet.far, *row.far)
    watch = fleet.watch(fleet.near)
    total = wanted.units * len(LEARNERS)
    try:
        first = watch.wait_for(lambda status: units_stored(status) > 0, "the first unit stored")
        watch.wait_for(lambda status: units_stored(status) > total // 6, "the run being under way")
        row.disturb(Disturbed(row, fleet, watch, found, setting, total, spare))
        last = watch.wait_for(_over, "the end of the training")
        found.failures += _checks(watch, fleet)
        if last.status is not None and row.settings.get("network"):
            found.figures |= _weights(last.status)
        found.figures["s from first to last unit"] = round(last.time_s - first.time_s, 1)
    except TimeoutError as error:
        found.failures.append(str(error)[:2000])
    found.failures += fleet.stop()
    report = audit(fleet.settings.directory, wanted)
    forth, back = fleet.cable.counts()
    if row.conditions.loss and not (forth.lost and back.lost):
        found.failures.append("the cable lost nothing one way")
    found.figures |= {
        "MB to the actors": round(forth.passed_bytes / 1e6, 2),
        "MB from them": round(back.passed_bytes / 1e6, 2),
        "lost": forth.lost + back.lost,
        "dropped by the full queue": forth.overflowed + back.overflowed,
    } | _logged(fleet)
    return Outcome(
        part=f"networks: {row.name}", tries=1, unit="runs",
        faults=found.faults or forth.lost + back.lost + forth.overflowed + back.overflowed,
        expected=report.expected, stored=report.stored, lost=report.lost, doubled=report.doubled,
        weights_identical=report.weights_identical, memory_max_bytes=fleet.memory_max_bytes,
        recovery_s=found.recovery_s, failures=[*found.failures, *report.failures], figures=found.figures,
    )  # fmt: skip


def _over(status: Status) -> bool:
    learners = [service.learner for service in status.services if service.learner is not None]
    return status.finished and len(learners) == 2 and all(learner.finished for learner in learners)


def _weights(status: Status) -> dict[str, str]:
    """Return how far the actors' weights are behind those of the learners, by agent."""
    actors = [service.actor for service in status.services if service.actor is not None]
    return {
        f"weights of {agent.name} with the actors": ", ".join(
            f"{actor.weights.get(agent.name, 'none')} of {agent.version}" for actor in actors
        )
        for agent in status.agents
    }


def _checks(watch: Watch, fleet: Fleet) -> list[str]:
    failures = [f"{name} has ended by itself" for name in fleet.ended()]
    if not all(agent.closed for status in watch.statuses for agent in status.agents):
        failures.append("the accounting was open at some time")
    return failures


def _logged(fleet: Fleet) -> dict[str, int]:
    """Return how often leases ran out and deliveries were repeated."""
    events = Counter(line.event for line in read_log_lines(fleet.settings.directory / "logs" / "rookery.jsonl"))
    return {"leases run out": events["lease ran out"], "deliveries repeated": events["deliveries repeated"]}

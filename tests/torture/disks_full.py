"""A disk that fills up again and again under a whole fleet, and directories that can't be written."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from common.log_lines import read_log_lines
from common.messages import Status
from learner.directory import AgentDirectory
from tests.deploy.runs import SAMPLE, Run, Started, report_of, wait_until
from tests.torture.mounts import full, read_only, small_disk
from tests.torture.outcome import Outcome, Setting
from tests.torture.undisturbed import Undisturbed, audit, settings_for, undisturbed

DISK_BYTES = 48 * 1024 * 1024
TROUBLE = {
    "not stored", "checkpoint not written", "weights not written", "metrics not written", "evaluations not kept",
    "evaluations not looked up",
}  # fmt: skip
"""What services say that a disk refuses."""
LINES_MAX = 12
"""Of one kind of trouble, from one process, in one time of trouble: told in few lines, not at each try."""


@dataclass(slots=True)
class Faults:
    """What was done to the disk, and how long it took to get on again."""

    full: int = 0
    read_only: int = 0
    recovery_s: list[float] = field(default_factory=list)


def run(setting: Setting) -> list[Outcome]:
    """Fill a fleet's disk at random moments; then start services where they can't write."""
    games = (SAMPLE,)
    limit = 24 if setting.short else 300
    with small_disk(setting.folder / "disk", DISK_BYTES) as disk:
        settings = settings_for(
            games, setting.folder / "run", network="table", nodes=150 if setting.short else 600, limit_games=limit,
            games_per_unit=2, batch_size=32, publish_every=5, checkpoint_every=5,
            samples_per_transition=0.3, max_units_ahead=3, base_port=setting.base_port, actors=1,
        )  # fmt: skip
        wanted = undisturbed(settings, games, limit)
        return [_filled(setting, wanted, disk / "run", disk), _refused(setting)]


def _filled(setting: Setting, wanted: Undisturbed, directory: Path, disk: Path) -> Outcome:
    rng = random.Random(setting.seed)
    flags = ["--settings", str(wanted.settings.directory.with_name("undisturbed.toml"))]
    faults, failures = Faults(), []
    with Run(directory, *flags, games=wanted.games, base_port=setting.base_port) as fleet:
        number, times = 0, 2 if setting.short else 25
        while number < times and (status := _under_way(fleet, number, times, wanted.units)) is not None:
            number += 1
            checkpoints = AgentDirectory.of(directory, rng.choice(("white", "black"))).checkpoints
            if number % 3 == 2 and checkpoints.exists():
                faults.read_only += 1
                with read_only(checkpoints):
                    time.sleep(rng.uniform(1.0, 3.0))
            else:
                faults.full += 1
                with full(disk):
                    time.sleep(rng.uniform(1.0, 2.0 if setting.short else 8.0))
                status = fleet.status() or status
                faults.recovery_s.append(_seconds_to_get_on(fleet, status))
        ended = fleet.end(timeout_s=600.0)
    if ended.code != 0 or ended.err:
        failures.append(f"`rookery up` ended with {ended.code}: {ended.err.strip()[-300:]}")
        return Outcome(
            part="disks: disk full, checkpoints read-only", tries=1, unit="runs", faults=number, failures=failures
        )
    found = audit(directory, wanted, report_of(directory))
    told = _told(directory / "logs" / "rookery.jsonl")
    if not told and not setting.short:  # two faults may miss every write
        failures.append("no service has said that it could not write: the disk was never full for one")
    failures += [
        f"{source}: {event!r} {count} times" for (source, event), count in told.items() if count > LINES_MAX * times
    ]
    kinds = Counter(dict.fromkeys(sorted(TROUBLE), 0))
    for (_, event), count in told.items():
        kinds[event] += count
    return Outcome(
        part="disks: disk full, checkpoints read-only", tries=1, unit="runs", faults=faults.full + faults.read_only,
        expected=found.expected, stored=found.stored, lost=found.lost, doubled=found.doubled,
        weights_identical=found.weights_identical, recovery_s=faults.recovery_s,
        failures=[*failures, *found.failures],
        figures={f"lines {kind!r}": count for kind, count in kinds.items() if count},
    )  # fmt: skip


def _under_way(fleet: Run, number: int, times: int, units: int) -> Status | None:
    """Wait for the moment of fault `number`; None where the run has come to its end before."""
    due = number * units // (times + 1)
    while fleet.process.poll() is None:
        status = fleet.status()
        if status is not None and (status.finished or min(_trained(status), default=0) > due):
            return None if status.finished else status
        time.sleep(0.05)
    return None


def _seconds_to_get_on(fleet: Run, before: Status) -> float:
    begun_s = time.monotonic()

    def got_on() -> bool:
        status = fleet.status()
        return fleet.process.poll() is not None or (
            status is not None and (status.finished or _trained(status) != _trained(before))
        )

    wait_until(got_on, "the run gets on again", timeout_s=60.0)
    return time.monotonic() - begun_s


def _trained(status: Status) -> list[int]:
    return [agent.units_trained for agent in status.agents]


def _told(path: Path) -> Counter[tuple[str, str]]:
    """Count the lines about trouble in the collector's file, by source and event."""
    return Counter((line.source, line.event) for line in read_log_lines(path) if line.event in TROUBLE)


def _refused(setting: Setting) -> Outcome:
    """Start each command where it can't write: one line, exit code 2, and no traceback."""
    failures: list[str] = []
    place = setting.folder / "read-only"
    (place / "run" / "agents" / "white").mkdir(parents=True)
    run = ("--run", str(place / "run"), "--base-port", str(setting.base_port))
    commands = {
        "up": ("rookery", "up", str(SAMPLE), *run),
        "up --sequential": ("rookery", "up", str(SAMPLE), *run, "--sequential"),
        "learner": ("rookery-learner", "--agent", "white", *run),
        "logs": ("rookery-logs", *run),
        "actor": ("rookery-actor", *run),
    }
    with read_only(place):
        for name, command in commands.items():
            with Started(command) as started:
                ended = started.end()
            # A service on its own logs to its console, too: its last line is the one that counts.
            lines = [line for line in ended.err.splitlines() if line.startswith("rookery")]
            if ended.code != 2 or len(lines) != 1 or "Traceback" in ended.err:
                failures.append(f"{name}: exit code {ended.code}, {ended.err.strip()[-300:]!r}")
            elif str(place) not in lines[0]:
                failures.append(f"{name}: does not say where: {lines[0]}")
    return Outcome(
        part="disks: read-only directory", tries=len(commands), unit="commands", faults=len(commands),
        failures=failures,
    )  # fmt: skip

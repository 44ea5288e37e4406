"""The doctor's look at the machine: CPUs and memory against the actors, and room in the run directory."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from common.quantities import size
from common.settings import Settings
from deploy.finding import Facts, Finding, fail, ok, warn

DISK_LOW_BYTES = 5_000_000_000

# Measured in a run over 3,000 real games with two agents: resident memory of the processes, and bytes on disk.
ACTOR_BYTES = 210_000_000
"""An actor and its engine."""
PROBING_BYTES = 300_000_000
"""What an actor that probes takes more: PyTorch, and the networks of two agents."""
LEARNER_BYTES = 420_000_000
"""A learner that trains an mlp on the CPU, replay buffer aside."""
REST_BYTES = 350_000_000
"""Broker, log collector and `rookery up`."""
BUFFERED_BYTES = 130
"""A transition in the replay buffer, its share of the counters of positions included."""
PROBE_BYTES = 470
"""A probe in the probe buffer, with as much room again, which its window moves through."""
STORED_GAME_BYTES = 330
"""A game in one agent's store: some 40 transitions of 8 bytes."""
EVALUATED_GAME_BYTES = 190
"""A game in the store of evaluations."""


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Look at CPUs, memory and disk."""
    yield _cpus(settings, _cpu_count())
    yield _memory(settings, _available_bytes())
    yield _disk(settings)


def _cpus(settings: Settings, count: float) -> Finding:
    text = f"{count:g} CPU{'s' if count != 1 else ''} for --actors {settings.actors}"
    if settings.actors > count:
        return warn(
            "cpus",
            f"{text}: the actors share them, and none gets faster",
            f"--actors {max(1, int(count))} does as much with less memory",
            {"cpus": count},
        )
    return ok("cpus", text, {"cpus": count})


def _cpu_count() -> float:
    """Return the CPUs that this process may use: those it is bound to, and less where a cgroup says so."""
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota, _, period = _cgroup("cpu.max").partition(" ")
    return min(count, int(quota) / int(period)) if quota.isdigit() and period.isdigit() else count


def _available_bytes() -> int:
    """Return the memory that can be had: the machine's, and less where a cgroup says so."""
    available = int(psutil.virtual_memory().available)
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    return min(available, max(0, int(limit) - int(used))) if limit.isdigit() and used.isdigit() else available


def _cgroup(name: str) -> str:
    try:
        return (Path("/sys/fs/cgroup") / name).read_text().strip()
    except OSError:
        return ""


def _memory(settings: Settings, available_bytes: int) -> Finding:
    learners = len(settings.agents)
    buffers = learners * int(settings.buffer_size * (BUFFERED_BYTES + settings.probe_rate * PROBE_BYTES))
    actor = ACTOR_BYTES + (PROBING_BYTES if settings.probe_rate > 0 else 0)
    needed = settings.actors * actor + learners * LEARNER_BYTES + buffers + REST_BYTES
    text = (
        f"{size(available_bytes)} available; {settings.actors} actors, {learners} learners and the broker "
        f"on one host take about {size(needed)}, {size(buffers)} of it the learners' buffers"
    )
    facts: Facts = {"available_bytes": available_bytes, "needed_bytes": needed}
    if needed > available_bytes:
        return warn("memory", text, "lower --actors or --buffer-size, or put learners on another host", facts)
    return ok("memory", text, facts)


def _disk(settings: Settings) -> Finding:
    directory = settings.directory.absolute()
    place = next(path for path in (directory, *directory.parents) if path.exists())
    million = 1_000_000 * (len(settings.agents) * STORED_GAME_BYTES + EVALUATED_GAME_BYTES)
    facts: Facts = {"directory": str(directory), "bytes_per_million_games": million}
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return fail(
            "disk", f"can't write to {place}", "choose another --run, or get the right to write there", facts
        )
    facts["free_bytes"] = free = shutil.disk_usage(place).free
    text = f"{size(free)} free in {settings.run}; a million games take about {size(million)}, checkpoints aside"
    if free < DISK_LOW_BYTES:
        return warn("disk", text, "make room, or put --run on another disk", facts)
    return ok("disk", text, facts)

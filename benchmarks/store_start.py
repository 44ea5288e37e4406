"""Start of a learner from a large store: seconds and memory, which are to grow linearly with the transitions.

The stores hold real units, gone round as often as it takes, and a checkpoint after the last of them. A
process of its own then does what a learner does before its first step: it opens the store, counts what it
has, loads the checkpoint and fills the replay buffer (here large enough for the largest) from the store.
Starting Python and importing torch is not counted.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil
import torch

from benchmarks.figure import Figure
from benchmarks.real_games import batches, repeated
from benchmarks.scale import ROOT, Scale
from common.batch import Batch, encode
from common.settings import AgentSettings, Settings, Side
from learner.checkpoints import CheckpointDirectory
from learner.directory import AgentDirectory
from learner.session import TrainingSession
from learner.store import ExperienceReader, ExperienceStore
from learner.trainer import Trainer
from learner.unit_record import UnitRecord

AGENT = AgentSettings(name="white", side=Side.WHITE)
LARGEST = 1_000_000
LINEAR = 0.8
"""How far below the measured figure the line may lie for growth to count as linear."""


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure a quarter, a half and all of the largest store."""
    largest = scale.of(LARGEST, LARGEST // 20)
    sizes = (largest // 4, largest // 2, largest)
    buffer_size = largest + largest // 10  # stores hold whole units: a few transitions more or less than their size
    real = [pair[0] for pair in batches(scale, scale.of(64, 8), Settings().games_per_unit)]
    with TemporaryDirectory(dir=scale.work) as directory:
        runs = {size: Path(directory, str(size)) for size in sizes}
        for size, run in runs.items():
            make_run(run, real, size, buffer_size)
        taken: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        for _ in range(scale.of(3, 1)):
            for size, run in runs.items():
                taken[size].append(started(run, buffer_size))
    for key, unit in (("seconds", "s"), ("megabytes", "MB")):
        found = {size: median(start[key] for start in taken[size]) for size in sizes}
        # A start has a fixed part, so: as far on again as from a quarter to a half, twice.
        quarter, half, _ = found.values()
        line = half + 2 * (half - quarter)
        for size in sizes:
            peak = median(start["peak_megabytes"] for start in taken[size])
            last = size == largest
            yield Figure(
                name=f"learner's start from {size:,} transitions, {unit}",
                value=found[size],
                unit=unit,
                reference=line if last else None,
                against="the line through the other two" if last else "",
                ratio=line / found[size] if last else None,
                at_least=LINEAR if last else None,
                note=f"at its highest {peak:.0f} MB above the bare process" if unit == "MB" else "",
            )


def make_run(run: Path, real: list[Batch], transitions: int, buffer_size: int) -> None:
    """Make a run directory whose store holds about `transitions`, all of them trained on."""
    directory = AgentDirectory.of(run, AGENT.name)
    directory.path.mkdir(parents=True)
    rows = sum(map(len, real)) / len(real)
    with ExperienceStore(directory.experience, AGENT) as store:
        group: list[UnitRecord] = []
        for batch in repeated(real, round(transitions / rows)):
            group.append(UnitRecord.of(batch, encode(batch)))
            if len(group) == 512:
                store.put_many(group)
                group = []
        store.put_many(group)
        totals = store.totals()
    settings = settings_of(run, buffer_size)
    state = Trainer(settings, AGENT, torch.device("cpu")).state()
    step = int(totals.transitions * settings.samples_per_transition / settings.batch_size)
    CheckpointDirectory(directory.checkpoints, 1).save(
        replace(
            state,
            next_unit=totals.units,
            transitions=totals.transitions,
            step=step,
            version=step // settings.publish_every,
        )
    )


def settings_of(run: Path, buffer_size: int) -> Settings:
    return Settings(agents=(AGENT,), run=str(run), buffer_size=buffer_size, device="cpu")


def started(run: Path, buffer_size: int) -> dict[str, float]:
    """Start a learner's core on `run` in a process of its own; return what it measured."""
    command = [sys.executable, "-m", "benchmarks.store_start", str(run), str(buffer_size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the start from {run.name} transitions failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def start(run: Path, buffer_size: int) -> dict[str, float]:
    """Do what a learner does before its first step; return seconds, and memory above the bare process."""
    process = psutil.Process()
    before = process.memory_info().rss
    begun_s = time.perf_counter()
    directory = AgentDirectory.of(run, AGENT.name)
    with (
        ExperienceStore(directory.experience, AGENT) as store,
        ExperienceReader(directory.experience, AGENT) as reader,
    ):
        store.intervals()
        session = TrainingSession(settings_of(run, buffer_size), AGENT, reader, lambda _: None)
        took_s = time.perf_counter() - begun_s
        after = process.memory_info().rss
    assert session.trainer.stats().replay.size == store.totals().transitions
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": took_s,
        "megabytes": (after - before) / 1e6,
        "peak_megabytes": (peak - before) / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(start(Path(sys.argv[1]), int(sys.argv[2]))))

"""Samples a second of a real learner process, fed by a real broker, against the same training step on a batch in
memory: one torch thread each.

The actor is a stub that has every unit's batches ready, so that the learner is never short of them; the units
are real ones, gone round as often as it takes. Clocked between two of the learner's own reports, the first of
them after a warm-up. What the learner does besides its steps is what the ratio shows: receiving, decoding and
storing, held-out figures before each unit, sampling, publishing, checkpoints.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.figure import Figure, interleaved, rate_figure
from benchmarks.real_games import batches, games_file, repeated
from benchmarks.scale import Scale
from benchmarks.services import free_base_port, service, wait_for
from common.batch import Batch, encode
from common.links import LeasedUnit
from common.messages import ActorReport, BatchHeader, LearnerReport, Status
from common.security import reach_as_operator
from common.session import new_session
from common.settings import AgentSettings, Settings, Side, identity
from common.transitions import transitions
from learner.registry import make_model
from learner.replay import ReplayBuffer

AGENT = AgentSettings(name="white", side=Side.WHITE)
WARM_UP_STEPS = 100
SAMPLES = 64
"""Drawn beforehand for the step alone; a single one would stay in the cache, as none does in training."""


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure the default network and settings."""
    games_per_unit = Settings().games_per_unit
    real = [pair[0] for pair in batches(scale, scale.of(64, 8), games_per_unit)]
    steps = scale.of(2000, 150)
    taken = interleaved(
        scale.of(3, 1),
        {"ours": lambda: through_learner(scale, real, steps), "in memory": lambda: in_memory(real, steps)},
    )
    yield rate_figure(
        "samples/s of a learner fed by the broker",
        "samples/s",
        taken["ours"],
        taken["in memory"],
        against="its training step on a batch in memory",
        at_least=0.9,
        note=f"{Settings().network}, {steps} steps of {Settings().batch_size} a round",
    )


def through_learner(scale: Scale, real: list[Batch], steps: int) -> float:
    """Return the samples/s of a learner process over `steps` gradient steps."""
    with TemporaryDirectory(dir=scale.work) as directory:
        settings = Settings(
            games=(str(games_file()),),
            agents=(AGENT,),
            device="cpu",
            run=str(Path(directory, "run")),
            base_port=free_base_port(),
            log_level="warning",
        )
        rows = sum(map(len, real)) / len(real)
        per_unit = rows * settings.samples_per_transition / settings.batch_size
        units = int((WARM_UP_STEPS + steps) / per_unit * 1.5) + 2 * settings.max_units_ahead
        with (
            service("broker", settings),
            fed(settings, real, units),
            service("learner", settings, "--agent", AGENT.name),
        ):
            first = reached(settings, WARM_UP_STEPS)
            last = reached(settings, first[1] + steps)
    return (last[1] - first[1]) * settings.batch_size / (last[0] - first[0])


def reached(settings: Settings, step: int) -> tuple[float, int]:
    """Wait for a report of the learner past `step`; return when it came, and the step in it."""
    found: list[LearnerReport] = []

    def past(status: Status) -> bool:
        found[:] = [service.learner for service in status.services if service.learner is not None]
        return bool(found) and found[0].step >= step

    broker = reach_as_operator(settings)
    wait_for(broker, past, timeout_s=300.0)
    # Reports come about once a second, and one that is new has just come: wait for the next.
    seen = found[0].step
    wait_for(broker, lambda status: past(status) and found[0].step > seen)
    return time.monotonic(), found[0].step


@contextmanager
def fed(settings: Settings, real: list[Batch], units: int) -> Iterator[None]:
    """Answer leases with batches made beforehand, from a thread, until the block ends."""
    ready = [(len(batch), batch.games_read, encode(batch)) for batch in repeated(real, units)]
    stopping = threading.Event()
    thread = threading.Thread(target=_feed, args=(settings, ready, stopping))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _feed(settings: Settings, ready: list[tuple[int, int, bytes]], stopping: threading.Event) -> None:
    link = reach_as_operator(settings).actor("stub", new_session(), identity(settings))
    said_s, positions = 0.0, 0
    while not stopping.is_set():
        if time.monotonic() - said_s > 0.5:
            link.capacity(8)
            link.renew([], ActorReport(positions=positions))
            said_s = time.monotonic()
        for event in link.poll(0.1):
            if isinstance(event, LeasedUnit):
                rows, games, body = ready[event.lease.unit]
                positions += rows
                link.send(
                    BatchHeader(
                        unit=event.lease.unit, agent=AGENT.name, transitions=rows, games=games, actor="stub"
                    ),
                    body,
                )
    link.close()


def in_memory(real: list[Batch], steps: int) -> float:
    """Return the samples/s of the training step alone, on samples that were drawn beforehand."""
    settings = Settings()
    torch.set_num_threads(1)
    model = make_model(settings, 1, torch.device("cpu"))
    buffer = ReplayBuffer(settings.buffer_size)
    for batch in real:
        buffer.append(transitions(batch, settings.reward))
    generator = np.random.default_rng(1)
    drawn = [buffer.take(buffer.draw(generator, settings.batch_size)) for _ in range(SAMPLES)]
    samples = [model.prepare(sample) for sample in drawn]
    for sample in samples:
        model.step(sample, 1.0)
    begun_s = time.perf_counter()
    for number in range(steps):
        model.step(samples[number % SAMPLES], 1.0)
    return steps * settings.batch_size / (time.perf_counter() - begun_s)

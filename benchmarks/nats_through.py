"""The whole path of a batch: leased, made (it lies ready), sent, delivered, stored on disk, acknowledged.

A broker process, two actors and two learners (benchmarks/nats_peers.py), all of them on the cores of this machine:
what one of them uses the others miss. Looked at for some seconds, once it has got going.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial

import psutil

from benchmarks.figure import Figure
from benchmarks.nats_figures import Measured, beside, in_turns
from benchmarks.nats_peers import Counts, Load, load_of, peers
from benchmarks.nats_sites import ALL, about_server, site
from benchmarks.scale import Scale
from benchmarks.services import service

ACTORS = 2
WINDOW_UNITS = 1024
STUCK_S = 60.0
"""How long the first batches may take."""


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure the default unit size."""
    load = load_of(scale)
    found = in_turns(scale.of(3, 1), ALL, partial(through, scale, load))
    note = f"units of {load.games_per_unit} games, batches of {load.mean_bytes / 1000:.1f} kB; {about_server()}"
    yield from beside(
        found, "transitions/s", "transitions/s from lease to store", "transitions/s", more_is_better=True, note=note
    )
    yield from beside(
        found, "bytes", "bytes per transition on all ways", "bytes", note="leases, games, control, too"
    )
    for who in ("broker", "broker and servers", "actors and learners"):
        yield from beside(found, who, f"CPU of {who}", "s per 1,000 batches")


def through(scale: Scale, load: Load, name: str) -> Measured:
    """Return what one run comes to."""
    with site(name, scale) as here:
        settings = here.settings(max_units_ahead=WINDOW_UNITS)
        with service("broker", settings) as process, peers(settings, load, ACTORS) as there:
            wait_for_batches(there.counts, WINDOW_UNITS)
            broker = psutil.Process(process.pid)
            who = {
                "broker": [broker],
                "broker and servers": [broker, *here.servers],
                "actors and learners": [*there.actors, *there.learners],
            }
            begun_s, before = time.monotonic(), there.counts.now()
            used, carried = {key: cpu_s(each) for key, each in who.items()}, here.wire_bytes()
            time.sleep(scale.of(8, 2))
            passed_s, after = time.monotonic() - begun_s, there.counts.now()
            batches, transitions = after[0] - before[0], after[1] - before[1]
            cpu = {key: (cpu_s(each) - used[key]) / batches * 1000 for key, each in who.items()}
            return cpu | {
                "transitions/s": transitions / passed_s,
                "bytes": (here.wire_bytes() - carried) / transitions,
            }


def wait_for_batches(counts: Counts, batches: int) -> None:
    """Return once so many are stored."""
    end_s = time.monotonic() + STUCK_S
    while counts.now()[0] < batches:
        if time.monotonic() > end_s:
            raise TimeoutError(f"{counts.now()[0]} batches were stored within {STUCK_S:.0f} s")
        time.sleep(0.05)


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Return the processor time that processes have used."""
    return sum(float(times.user + times.system) for times in (each.cpu_times() for each in processes))

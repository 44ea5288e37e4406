"""Fifteen thousand actors on NATS: what their connections, requests and units take, and what the broker can hear.

All of them are there (benchmarks/nats_crowd.py), and work and report as slowly as two cores can bear: what comes of
messages is what a thousand actors at full speed come to, what comes of numbers is that of fifteen thousand. Not
one of those that run without a name: it takes up to eight minutes and a gigabyte.
"""

from collections.abc import Iterator

from benchmarks.figure import Figure
from benchmarks.nats_fleet import UNIT_S, Fleet, fleet
from benchmarks.nats_sites import NATS
from benchmarks.scale import Scale

ACTORS = 15_000
SLOWER = 15


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure them once."""
    load = Fleet(
        actors=scale.of(ACTORS, 100), crowd=True, unit_s=1.0 if scale.quick else UNIT_S * SLOWER,
        report_s=float(SLOWER),
        window=7, there=0.9,
        warm_s=scale.of(20, 2), measured_s=scale.of(30, 3),
    )  # fmt: skip
    found = fleet(load, scale, NATS)
    for key, unit in (
        ("joined", "s"), ("cpu broker", "% of a core"), ("cpu broker and servers", "% of a core"), ("loop", "%"),
        ("memory broker", "MB"), ("memory broker and servers", "MB"), ("at work", "%"), ("units/s", "units/s"),
        ("lost", "requests for units"),
    ):  # fmt: skip
        yield Figure(name=f"{load.actors:,} actors, {SLOWER} times slower: {key}", value=found[key], unit=unit)

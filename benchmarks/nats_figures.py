"""Figures of NATS beside those of ZeroMQ, taken in turns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from benchmarks.figure import Figure
from benchmarks.nats_sites import ZMQ

Measured = Mapping[str, float]
"""Values by what they are of."""


def in_turns(rounds: int, sites: Sequence[str], measure: Callable[[str], Measured]) -> dict[str, Measured]:
    """Measure all sites one after another, so many times; return the medians of each."""
    taken: dict[str, list[Measured]] = {name: [] for name in sites}
    for _ in range(rounds):
        for name in sites:
            taken[name].append(measure(name))
    return {
        name: {key: median(one[key] for one in measured) for key in measured[0]}
        for name, measured in taken.items()
    }  # fmt: skip


def beside(
    found: Mapping[str, Measured], key: str, name: str, unit: str, *, more_is_better: bool = False, note: str = ""
) -> Iterator[Figure]:
    """Yield what was found under `key` on NATS, each against ZeroMQ's."""
    reference = found[ZMQ][key]
    for site, measured in found.items():
        if site != ZMQ:
            value = measured[key]
            better, worse = (value, reference) if more_is_better else (reference, value)
            yield Figure(
                name=f"{name}, {site}", value=value, unit=unit, reference=reference, against=ZMQ,
                ratio=better / worse if worse else None, note=note,
            )  # fmt: skip

"""One measured figure, beside the reference that it is a ratio of, and the way both are measured."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """What a row of the table and an entry of build/bench.json say."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    """The same quantity of what it is measured against."""
    against: str = ""
    """What that is."""
    ratio: float | None = None
    """How many times better than the reference: more, where more is better, less, where less is."""
    at_least: float | None = None
    """The ratio that is promised; None where the figure is reported only."""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.at_least is None or (self.ratio is not None and self.ratio >= self.at_least)

    def as_json(self) -> dict[str, Any]:
        """Return the entry of build/bench.json."""
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "reference": _rounded(self.reference),
            "ratio": _rounded(self.ratio),
            "at_least": _rounded(self.at_least),
            "holds": self.holds,
        }


def interleaved(rounds: int, measures: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Take the measures one after another, all of them `rounds` times: A, B, A, B, …"""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
    return taken


def rate_figure(
    name: str,
    unit: str,
    ours: Sequence[float],
    reference: Sequence[float],
    *,
    against: str,
    at_least: float | None,
    note: str = "",
) -> Figure:
    """Return the figure of two rates measured in turns: medians, and in the note the range of the ratios."""
    value, middle = statistics.median(ours), statistics.median(reference)
    ratios = [mine / other for mine, other in zip(ours, reference, strict=True)]
    spread = f"rounds {min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else ""
    return Figure(
        name=name,
        value=value,
        unit=unit,
        reference=middle,
        against=against,
        ratio=value / middle,
        at_least=at_least,
        note="; ".join(part for part in (spread, note) if part),
    )


class Disturbance:
    """How much of the machine others used since this was made: what tells a disturbed figure from a sound one."""

    def __init__(self) -> None:
        self._begun = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        machine, mine = psutil.cpu_times(), os.times()
        busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - getattr(machine, "guest", 0.0)
        own = mine.user + mine.system + mine.children_user + mine.children_system
        return time.monotonic(), busy, own

    def share(self) -> float:
        """Return the share of all cores' time that went to processes that are not ours (those still running count
        as not ours), in [0, 1]."""
        seconds, busy, own = (now - begun for now, begun in zip(self._now(), self._begun, strict=True))
        return max(0.0, min(1.0, (busy - own) / max(1e-3, seconds * (os.cpu_count() or 1))))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")

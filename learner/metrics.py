"""metrics.jsonl: an agent's figures over the run, one JSON line for each interval of units.

Written by the learner's service. An interval ends after `units_per_line` units and at each checkpoint, so
that after a resume the file goes on from exactly the checkpoint's unit: no interval is there twice.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from common.whole_file import append_whole
from learner.evaluation import HeldOut
from learner.files import write_whole
from learner.models import Losses

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitMetrics:
    """What came of one unit."""

    unit: int
    step: int
    """Gradient steps taken in all, those after this unit included."""
    held_out: HeldOut
    """Figures on the unit before training on it."""
    losses: Losses
    """Of the steps after it."""


class MetricsLine(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one interval: means over its rows or steps, None where there are none."""

    first_unit: int
    last_unit: int
    transitions: int
    """Trained on in this interval."""
    step: int
    """Gradient steps in all at its end."""
    steps: int
    """Gradient steps in this interval."""
    td_error: float | None
    """Held out: mean absolute TD error, in points of expected score."""
    match_top1: float | None
    """Held out: share of the moves played that the prior ranks first."""
    match_top3: float | None
    """Held out: share that it ranks among the first three."""
    rank_correlation: float | None
    """Held out: Spearman's ρ of the estimate with the outcome, the mean of the units' own."""
    q_loss: float | None
    prior_loss: float | None
    gradient_norm: float | None


class MetricsFile:
    """Collects the figures of units and appends a line for each interval."""

    def __init__(self, path: Path, *, units_per_line: int, next_unit: int) -> None:
        """Go on at `next_unit`: lines about that unit or later ones are removed, as is a half-written one.

        Raises OSError when the file can't be written.
        """
        self._path, self._units_per_line = path, units_per_line
        self._pending: list[UnitMetrics] = []
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _ends_before(line, next_unit)]
            if kept == lines[: len(kept)]:
                os.truncate(path, sum(map(len, kept)))  # for this there is room on a full disk
            else:
                write_whole(path, b"".join(kept))

    def add(self, metrics: UnitMetrics) -> None:
        """Take the figures of the next unit; writes a line when the interval is full."""
        self._pending.append(metrics)
        if len(self._pending) >= self._units_per_line:
            self.flush()

    def flush(self) -> None:
        """Write the line of the interval so far, if there is one; for each checkpoint and the end.

        Raises OSError when the disk is full or fails: the interval then goes on until it can be written.
        """
        if not self._pending:
            return
        line = summarise(self._pending)
        with self._path.open("ab", buffering=0) as file:
            append_whole(file.fileno(), msgspec.json.encode(line) + b"\n")
        self._pending.clear()


def read_metrics(path: Path) -> list[MetricsLine]:
    """Return the lines of a metrics file, the first interval first; none where there is no file.

    A line that is damaged is left out.
    """
    if not path.exists():
        return []
    lines = []
    for line in path.read_bytes().splitlines():
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            lines.append(msgspec.json.decode(line, type=MetricsLine))
    return lines


def summarise(units: list[UnitMetrics]) -> MetricsLine:
    """Return the figures of one or more units as those of one interval."""
    figures = [unit.held_out for unit in units]
    losses = [unit.losses for unit in units]
    return MetricsLine(
        first_unit=units[0].unit,
        last_unit=units[-1].unit,
        transitions=sum(unit.transitions for unit in figures),
        step=units[-1].step,
        steps=sum(loss.steps for loss in losses),
        td_error=_mean(figures, lambda unit: unit.td_error, lambda unit: unit.transitions),
        match_top1=_mean(figures, lambda unit: unit.match_top1, lambda unit: unit.transitions),
        match_top3=_mean(figures, lambda unit: unit.match_top3, lambda unit: unit.transitions),
        rank_correlation=_mean(figures, lambda unit: unit.rank_correlation, lambda unit: unit.outcomes),
        q_loss=_mean(losses, lambda loss: loss.q, lambda loss: loss.steps),
        prior_loss=_mean(losses, lambda loss: loss.prior, lambda loss: loss.steps),
        gradient_norm=_mean(losses, lambda loss: loss.gradient_norm, lambda loss: loss.steps),
    )


def _mean(
    items: Sequence[_Item], value: Callable[[_Item], float | None], weight: Callable[[_Item], int]
) -> float | None:
    pairs = [(found, weight(item)) for item in items if (found := value(item)) is not None and weight(item)]
    total = sum(count for _, count in pairs)
    return sum(found * count for found, count in pairs) / total if total else None


def _ends_before(line: bytes, next_unit: int) -> bool:
    try:
        return line.endswith(b"\n") and msgspec.json.decode(line, type=MetricsLine).last_unit < next_unit
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False

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

from common.files import write_whole
from common.whole_file import append_whole
from learner.evaluation import HeldOut, Validation
from learner.models import Losses

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeMetrics:
    """What came of one unit's probes."""

    probes: int
    """Probes of the unit."""
    too_old: int
    """Those of them dropped for the age of the weights that chose them."""
    lag_sum: int
    """Sum over all of them of how many versions older than the learner's their weights were."""
    lag_min: int
    lag_max: int


NO_PROBES = ProbeMetrics(probes=0, too_old=0, lag_sum=0, lag_min=0, lag_max=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitMetrics:
    """What came of one unit."""

    unit: int
    transitions: int
    """Of the unit."""
    step: int
    """Gradient steps taken in all, those after this unit included."""
    held_out: HeldOut
    """Figures on the unit before training on it."""
    losses: Losses
    """Of the steps after it."""
    probes: ProbeMetrics = NO_PROBES
    """Of the unit's probes."""


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
    value_loss: float | None = None
    prior_loss: float | None
    gradient_norm: float | None
    probes: int = 0
    """Probes that came with these units."""
    probes_too_old: int = 0
    """Those of them dropped for the age of the weights that chose them."""
    probe_lag_min: int | None = None
    """Versions by which the weights of the probes were older than the learner's: the least,"""
    probe_lag_mean: float | None = None
    """the mean,"""
    probe_lag_max: int | None = None
    """and the most."""
    validation: Validation | None = None
    """Figures on the games that are kept out of training, at the interval's end, where they were taken."""


class MetricsFile:
    """Collects the figures of units and appends a line for each interval."""

    def __init__(self, path: Path, *, units_per_line: int, next_unit: int, step: int | None = None) -> None:
        """Go on at `next_unit`: lines about that unit or later ones are removed, as is a half-written one.

        So are lines of steps after `step`, if it is given: those of a cooldown that was not saved.
        Raises OSError when the file can't be written.
        """
        self._path, self._units_per_line = path, units_per_line
        self._pending: list[UnitMetrics] = []
        self._last = next_unit - 1 if next_unit else None
        """The last unit that there is a line of."""
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _ends_before(line, next_unit, step)]
            if kept == lines[: len(kept)]:
                os.truncate(path, sum(map(len, kept)))  # for this there is room on a full disk
            else:
                write_whole(path, b"".join(kept))

    def add(self, metrics: UnitMetrics) -> None:
        """Take the figures of the next unit; writes the line of the interval before it, if that was full.

        Not before: a checkpoint may end a full interval, and has figures of its own to add to its line.
        """
        self._pending.append(metrics)
        if len(self._pending) > self._units_per_line:
            self._write(self._pending[:-1], None)
            del self._pending[:-1]

    def flush(self, validation: Validation | None = None, step: int | None = None) -> None:
        """Write the line of the interval so far, if there is one; for each checkpoint and the end.

        `step` is that of the moment, the cooldown having gone on since the last unit. Without an interval
        the line is of `validation` alone.

        Raises OSError when the disk is full or fails: the interval then goes on until it can be written.
        """
        if self._pending:
            self._write(self._pending, validation, step)
            self._pending.clear()
        elif validation is not None and step is not None and self._last is not None:
            self._append(msgspec.structs.replace(_nothing(self._last), step=step, validation=validation))

    def _write(self, units: list[UnitMetrics], validation: Validation | None, step: int | None = None) -> None:
        line = summarise(units, validation)
        if step is not None:
            line = msgspec.structs.replace(line, step=step)
        self._append(line)
        self._last = line.last_unit

    def _append(self, line: MetricsLine) -> None:
        with self._path.open("ab", buffering=0) as file:
            append_whole(file.fileno(), msgspec.json.encode(line) + b"\n")


def _nothing(unit: int) -> MetricsLine:
    """Return a line that is of no transitions, after `unit`."""
    return MetricsLine(
        first_unit=unit, last_unit=unit, transitions=0, step=0, steps=0, td_error=None, match_top1=None,
        match_top3=None, rank_correlation=None, q_loss=None, prior_loss=None, gradient_norm=None,
    )  # fmt: skip


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


def summarise(units: list[UnitMetrics], validation: Validation | None = None) -> MetricsLine:
    """Return the figures of one or more units as those of one interval."""
    probed = [unit.probes for unit in units if unit.probes.probes]
    probes = sum(unit.probes for unit in probed)
    figures = [unit.held_out for unit in units]
    losses = [unit.losses for unit in units]
    return MetricsLine(
        first_unit=units[0].unit,
        last_unit=units[-1].unit,
        transitions=sum(unit.transitions for unit in units),
        step=units[-1].step,
        steps=sum(loss.steps for loss in losses),
        td_error=_mean(figures, lambda unit: unit.td_error, lambda unit: unit.transitions),
        match_top1=_mean(figures, lambda unit: unit.match_top1, lambda unit: unit.transitions),
        match_top3=_mean(figures, lambda unit: unit.match_top3, lambda unit: unit.transitions),
        rank_correlation=_mean(figures, lambda unit: unit.rank_correlation, lambda unit: unit.outcomes),
        q_loss=_mean(losses, lambda loss: loss.q, lambda loss: loss.steps),
        value_loss=_mean(losses, lambda loss: loss.value, lambda loss: loss.steps),
        prior_loss=_mean(losses, lambda loss: loss.prior, lambda loss: loss.steps),
        gradient_norm=_mean(losses, lambda loss: loss.gradient_norm, lambda loss: loss.steps),
        probes=probes,
        probes_too_old=sum(unit.too_old for unit in probed),
        probe_lag_min=min((unit.lag_min for unit in probed), default=None),
        probe_lag_mean=sum(unit.lag_sum for unit in probed) / probes if probes else None,
        probe_lag_max=max((unit.lag_max for unit in probed), default=None),
        validation=validation,
    )


def _mean(
    items: Sequence[_Item], value: Callable[[_Item], float | None], weight: Callable[[_Item], int]
) -> float | None:
    pairs = [(found, weight(item)) for item in items if (found := value(item)) is not None and weight(item)]
    total = sum(count for _, count in pairs)
    return sum(found * count for found, count in pairs) / total if total else None


def _ends_before(line: bytes, next_unit: int, step: int | None) -> bool:
    try:
        found = msgspec.json.decode(line, type=MetricsLine)
        return line.endswith(b"\n") and found.last_unit < next_unit and (step is None or found.step <= step)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False

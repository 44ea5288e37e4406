"""metrics.jsonl: an agent's figures over the run, one JSON line for each interval of units.

Written by the learner's service. An interval ends after `units_per_line` units and at each checkpoint, so
that after a resume the file goes on from exactly the checkpoint's unit: no interval is there twice.

Each interval is also logged as it ends, as the event `interval trained`; one that is trained again after a resume
is logged again, with the same figures.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from common.files import write_whole
from common.trouble import Trouble
from common.whole_file import append_whole
from learner.evaluation import HeldOut, Validation
from learner.models import Losses

log = logging.getLogger(__name__)

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

    @property
    def lag_mean(self) -> float | None:
        """Mean of it; None without probes."""
        return self.lag_sum / self.probes if self.probes else None


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
    """Gradient steps after the units of this interval; those of the cooldown count in `step` alone."""
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
    time_ns: int | None = None
    """When it ended, nanoseconds since 1970, UTC; the one figure that two runs of the same training differ in."""


_decoder = msgspec.json.Decoder(MetricsLine)


class MetricsFile:
    """Collects the figures of units, and appends a line for each interval; tells of it as well.

    May be used from several threads. Invariant: lines are written in the order of their intervals. One that waits
    for the figures of a checkpoint keeps back those after it, and so does one that the disk refuses.
    """

    def __init__(
        self,
        path: Path,
        *,
        units_per_line: int,
        next_unit: int,
        step: int | None = None,
        tell: Callable[[MetricsLine], None] = lambda _: None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Go on at `next_unit`: lines about that unit or later ones are removed, as is a half-written one.

        So are lines of steps after `step`, if it is given: those of a cooldown that was not saved. `tell` hears of
        each line, before it is on disk. Raises OSError when the file can't be written.
        """
        self._path, self._units_per_line, self._tell, self._clock_ns = path, units_per_line, tell, clock_ns
        self._lock = threading.Lock()
        self._pending: list[UnitMetrics] = []
        """Units of the interval so far."""
        self._ends_ns: list[int] = []
        """When each of them was trained."""
        self._open: MetricsLine | None = None
        """The line of a checkpoint, which waits for its figures."""
        self._bare = False
        """Whether it is of no interval, and there for the figures alone."""
        self._after: list[MetricsLine] = []
        """Lines of intervals that ended since."""
        self._unwritten: deque[MetricsLine] = deque()
        """Lines that are told and not on disk."""
        self._trouble = Trouble(log, "metrics not written", "metrics written again")
        self._last = next_unit - 1 if next_unit else None
        """The last unit of the intervals that have ended."""
        self.step: int | None = None
        """Gradient steps at the end of the last line that was kept; None where none was."""
        self._ended: int | None = None
        """Gradient steps at the last checkpoint that ended an interval."""
        if path.exists():
            self._keep(next_unit, step)

    def _keep(self, next_unit: int, step: int | None) -> None:
        lines = self._path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if _ends_before(line, next_unit, step)]
        if kept == lines[: len(kept)]:
            os.truncate(self._path, sum(map(len, kept)))  # for this there is room on a full disk
        else:
            write_whole(self._path, b"".join(kept))
        if kept:
            self.step = _decoder.decode(kept[-1]).step

    def add(self, metrics: UnitMetrics) -> None:
        """Take the figures of the next unit; ends the interval before it, if that was full.

        Not before: a checkpoint may end a full interval, and has figures of its own to add to its line.
        """
        with self._lock:
            if len(self._pending) >= self._units_per_line:
                self._put(self._end())
            self._pending.append(metrics)
            self._ends_ns.append(self._clock_ns())
            self._write()

    def end_interval(self, step: int) -> None:
        """End the interval, at a checkpoint after `step` gradient steps: its line waits for `complete`.

        Those of the cooldown are after the last unit: without a unit the line is of the checkpoint's figures alone.
        A checkpoint that is tried again has its line already.
        """
        with self._lock:
            self._bare = not self._pending
            if self._pending:
                self._open = msgspec.structs.replace(self._end(), step=step)
            elif self._last is not None and step != self._ended:
                self._open = _nothing(self._last, step, self._clock_ns())
            self._ended = step

    def complete(self, validation: Validation | None) -> None:
        """Add the figures of the checkpoint, None where there are none, to its line; write what waited for it."""
        with self._lock:
            line, self._open = self._open, None
            if line is not None and not (self._bare and validation is None):
                self._put(msgspec.structs.replace(line, validation=validation))
            after, self._after = self._after, []
            for line in after:
                self._put(line)
            self._write()

    def _end(self) -> MetricsLine:
        """Begin a new interval; return the line of the one before."""
        line = summarise(self._pending, self._ends_ns[-1])
        self._pending.clear()
        self._ends_ns.clear()
        self._last = line.last_unit
        return line

    def _put(self, line: MetricsLine) -> None:
        if self._open is not None:
            self._after.append(line)
            return
        self._tell(line)
        self._unwritten.append(line)

    def _write(self) -> None:
        """Write what is not on disk; a disk that is full or fails is logged, and tried again with the next unit."""
        if not self._unwritten:
            return
        try:
            with self._path.open("ab", buffering=0) as file:
                while self._unwritten:
                    append_whole(file.fileno(), msgspec.json.encode(self._unwritten[0]) + b"\n")
                    self._unwritten.popleft()
        except OSError as error:
            self._trouble.again(error.strerror or str(error))
        else:
            self._trouble.over()


def tell(line: MetricsLine, agent: str, version: int) -> None:
    """Log an interval with its figures; `version` is that of the agent's latest weights at its end."""
    validation = line.validation
    log.info(
        "interval trained",
        extra={
            "agent": agent, "step": line.step, "version": version,
            "first_unit": line.first_unit, "last_unit": line.last_unit, "transitions": line.transitions,
            "td_error": line.td_error, "match_top1": line.match_top1, "match_top3": line.match_top3,
            "q_loss": line.q_loss, "value_loss": line.value_loss, "prior_loss": line.prior_loss,
            "gradient_norm": line.gradient_norm, "probe_lag_mean": line.probe_lag_mean,
            "validation_loss": validation.loss if validation is not None else None,
            "validation_match_top1": validation.match_top1 if validation is not None else None,
        },
    )  # fmt: skip


def _nothing(unit: int, step: int, time_ns: int) -> MetricsLine:
    """Return a line that is of no transitions, after `unit`."""
    return MetricsLine(
        first_unit=unit, last_unit=unit, transitions=0, step=step, steps=0, td_error=None, match_top1=None,
        match_top3=None, rank_correlation=None, q_loss=None, prior_loss=None, gradient_norm=None, time_ns=time_ns,
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
            lines.append(_decoder.decode(line))
    return lines


def last_trained(lines: Sequence[MetricsLine]) -> MetricsLine | None:
    """Return the last line that is of transitions: the checkpoints after the last unit have lines of none."""
    return next((line for line in reversed(lines) if line.transitions), None)


def summarise(units: list[UnitMetrics], time_ns: int | None = None) -> MetricsLine:
    """Return the figures of one or more units as those of one interval, which ended at `time_ns`."""
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
        time_ns=time_ns,
    )


def _mean(
    items: Sequence[_Item], value: Callable[[_Item], float | None], weight: Callable[[_Item], int]
) -> float | None:
    pairs = [(found, weight(item)) for item in items if (found := value(item)) is not None and weight(item)]
    total = sum(count for _, count in pairs)
    return sum(found * count for found, count in pairs) / total if total else None


def _ends_before(line: bytes, next_unit: int, step: int | None) -> bool:
    try:
        found = _decoder.decode(line)
        return line.endswith(b"\n") and found.last_unit < next_unit and (step is None or found.step <= step)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False

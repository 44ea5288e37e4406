"""Where `rookery top` looks: at the broker by an operator's link, and at DIR/logs where that is on this host."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import BrokerUnreachable, Refused
from common.links import OperatorLink
from common.log_lines import LOG_FILE, LogLine, line_or_none
from common.messages import Action, LearnerReport, Status
from watch.curves import EVENT, Curve, Curves, Point
from watch.pace import Pace, PaceMeter
from watch.tail import Tail, lines_with
from watch.top_view import View

ANSWER_S = 2.0
"""Longest wait for the broker's answer."""
ORDER_S = 5.0
HISTORY_BYTES = 4 * 1024 * 1024
"""Of the log, read at the start."""


class LiveSource:
    """A broker and the log files of a run. `look` and `lines` belong to one thread; `order` makes its own link."""

    def __init__(
        self, connect: Callable[[], OperatorLink], logs: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`connect` returns a new link to the broker; `logs` is the directory that the log collector writes."""
        self._connect, self._clock = connect, clock
        self._link: OperatorLink | None = None
        self._status: Status | None = None
        self._came_s = 0.0
        self._meter, self._pace = PaceMeter(), Pace()
        self._curves, self._reported = Curves(), defaultdict[str, Curve](Curve)
        self._points: Mapping[str, Sequence[Point]] = {}
        self._log = logs / LOG_FILE
        self._tail: Tail | None = None

    @property
    def absent(self) -> str:
        """Why there are no log records, in a sentence; empty where there are."""
        if self._tail is not None:
            return ""
        return f"no {self._log} on this host: give the --run of the log collector, on its host, to see the log"

    def look(self) -> View:
        """Ask the broker, for at most ANSWER_S, and return what is known now."""
        trouble = ""
        try:
            if self._link is None:
                self._link = self._connect()
            self._take(self._link.status(ANSWER_S))
        except (BrokerUnreachable, Refused) as error:
            trouble = str(error)
        return View(
            status=self._status,
            age_s=self._clock() - self._came_s,
            trouble=trouble,
            pace=self._pace.in_silence() if trouble else self._pace,
            curves=self._points,
        )

    def lines(self) -> list[LogLine]:
        """Return the records that have come since the last time; their learning curves are kept."""
        if self._tail is None and self._log.exists():
            self._tail = Tail(self._log, history_bytes=HISTORY_BYTES)
            self._take_intervals(_decoded(lines_with(self._log, EVENT.encode())))
        found: list[LogLine] = []
        with suppress(OSError):  # the next time, or never: the broker's word is shown all the same
            while self._tail is not None and (read := self._tail.read()):
                found += _decoded(read)
        self._take_intervals(found)
        return found

    def order(self, action: Action, names: Sequence[str]) -> str:
        """Order actors, and return whom it went to; raises what the link does."""
        link = self._connect()
        try:
            ordered, unknown = link.command(action.value, names, ORDER_S)
        finally:
            link.close()
        gone = f"; not connected: {', '.join(unknown)}" if unknown else ""
        return f"{action.value}: {', '.join(ordered) or 'no actors'}{gone}"

    def close(self) -> None:
        """Close the link and the file."""
        if self._link is not None:
            self._link.close()
        if self._tail is not None:
            self._tail.close()

    def _take(self, status: Status) -> None:
        self._status, self._came_s = status, self._clock()
        self._pace = self._meter.take(self._came_s, status)
        if self._tail is None:  # then the curves begin now, with what the learners report
            self._take_reports(service.learner for service in status.services if service.learner is not None)

    def _take_intervals(self, lines: Iterable[LogLine]) -> None:
        if [line for line in lines if self._curves.take(line) is not None]:
            self._points = self._curves.points()

    def _take_reports(self, reports: Iterable[LearnerReport]) -> None:
        for report in reports:
            self._reported[report.agent].take(_point_of(report))
        self._points = {agent: curve.points() for agent, curve in self._reported.items()}


def _decoded(texts: Iterable[bytes]) -> list[LogLine]:
    return [line for text in texts if (line := line_or_none(text)) is not None]


def _point_of(report: LearnerReport) -> Point:
    """Return what a learner reports as the point of a curve, by the names that it logs."""
    return {
        "step": report.step,
        "q_loss": report.loss,
        "td_error": report.td_error,
        "match_top1": report.move_match,
    }

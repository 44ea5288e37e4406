"""The observer: one thread that asks the broker how things stand and reads what the log collector writes.

Everything that pages and metrics show comes from here. It keeps the last status, rates, log records, spans, games
and learning curves, all bounded, and tells whoever listens what is new. A broker that is away is a state that is
shown; it ends nothing. Must never open the log channel itself: the services would take it for a collector.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from common.errors import KeptOut, Refused, RookeryError
from common.links import OperatorLink
from common.log_lines import LOG_FILE, TRACE_FILE, LogLine, line_or_none
from common.messages import Status
from common.trouble import is_told
from watch import curves, game_digest
from watch.curves import Curves, Point
from watch.log_ring import LogRing, Record, bounded, json_list
from watch.pace import Pace, PaceMeter
from watch.spans import SpanRing
from watch.tail import Tail, chunks_with

log = logging.getLogger(__name__)

STATUS_INTERVAL_S = 1.0
STATUS_PATIENCE_S = 1.0
TURN_S = 0.25
"""Between two looks at the files."""
CHUNKS_A_TURN = 16
HISTORY_BYTES = 48 * 1024 * 1024
"""Of each file, read at the start: what fills the rings."""
NEWS_RECORDS = 500
"""Log records told of at once; of more, the newest."""
NEWS_BYTES = 2 * 1024 * 1024
NEWS_SPANS = 2_000
MAX_GAMES = 512
"""Actors whose last game is kept."""


class BrokerState(StrEnum):
    """How the last question to the broker fared."""

    WAITING = "waiting"
    """It was not asked yet."""
    ANSWERS = "answers"
    AWAY = "away"
    KEPT_OUT = "kept out"
    """It is there, and doesn't let our key in."""
    REFUSED = "refused"
    """It speaks another protocol, or turned us away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """How things stand at a moment."""

    state: BrokerState = BrokerState.WAITING
    trouble: str = ""
    """Why the broker doesn't answer; empty where it does."""
    status: Status | None = None
    """Its last word; None before the first."""
    status_s: float = 0.0
    """When it came, on the observer's clock."""
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObserverStats:
    """What the observer holds and has seen."""

    statuses: int
    failures: int
    """Questions that the broker did not answer."""
    records: int
    record_bytes: int
    spans: int
    points: int
    games: int
    damaged: int
    """Lines that were cut off, too long, or no log lines."""


class Listener(Protocol):
    """Who is told what is new, in the observer's thread."""

    @property
    def wanted(self) -> bool:
        """Whether anybody listens: else nothing is made for them."""

    def publish(self, event: str, data: bytes) -> None:
        """Pass an event on: its name, and a JSON object."""


class Observer:
    """A context manager: the thread runs within it. All public methods may be called from any thread."""

    def __init__(
        self,
        directory: Path,
        make_link: Callable[[], OperatorLink],
        *,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`directory` is the run's; `make_link` is called in the thread, which is the link's owner."""
        self._logs, self._make_link, self._clock = directory / "logs", make_link, clock
        self.listener = listener
        self.records, self.spans = LogRing(), SpanRing()
        self._meter, self._curves = PaceMeter(), Curves()
        self._games: OrderedDict[str, LogLine] = OrderedDict()
        self._lock = threading.Lock()
        """Over the curves and the games."""
        self._snapshot = Snapshot()
        self._statuses = self._failures = self._damaged = self._faults = 0
        self._past: Iterator[list[bytes]] | None = None
        """What is left of the first pass over all log files, which looks for learning curves; None after it."""
        self._tails: tuple[Tail, ...] = ()
        self._next_status_s = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> "Observer":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._thread.join(timeout=STATUS_PATIENCE_S + 5.0)

    def snapshot(self) -> Snapshot:
        """Return how things stand."""
        return self._snapshot

    def age_s(self, snapshot: Snapshot) -> float | None:
        """Return how old the status in a snapshot is; None where there is none."""
        return None if snapshot.status is None else max(0.0, self._clock() - snapshot.status_s)

    def series(self) -> dict[str, list[Point]]:
        """Return the learning curve of each agent."""
        with self._lock:
            return self._curves.points()

    def newest(self, name: str) -> dict[str, float]:
        """Return the newest figure called `name` in the learning curve of each agent that has one."""
        with self._lock:
            return self._curves.newest(name)

    def game(self, actor: str | None = None) -> LogLine | None:
        """Return the last game sample, of an actor or of all of them; None where there is none."""
        with self._lock:
            if actor is None:
                return next(reversed(self._games.values()), None)
            return self._games.get(actor)

    def stats(self) -> ObserverStats:
        """Return what is held."""
        with self._lock:
            points = sum(map(len, self._curves.points().values()))
            games = len(self._games)
        return ObserverStats(
            statuses=self._statuses, failures=self._failures, records=len(self.records),
            record_bytes=self.records.size_bytes, spans=len(self.spans), points=points, games=games,
            damaged=self._damaged + sum(tail.skipped for tail in self._tails),
        )  # fmt: skip

    def status_news(self, snapshot: Snapshot) -> dict[str, object]:
        """Return what pages are told once a second: the status, how old it is, and the rates."""
        return {
            "status": snapshot.status,
            "status_age_s": self.age_s(snapshot),
            "broker": {"state": snapshot.state, "reason": snapshot.trouble},
            "rates": snapshot.pace.rates,
            "progress": {"done": snapshot.pace.done, "left_s": snapshot.pace.left_s},
            "now": datetime.now(UTC),
        }

    # In the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        link = self._make_link()
        records = Tail(self._logs / LOG_FILE, history_bytes=HISTORY_BYTES)
        traces = Tail(self._logs / TRACE_FILE, history_bytes=HISTORY_BYTES)
        self._past, self._tails = chunks_with(self._logs / LOG_FILE, curves.EVENT.encode()), (records, traces)
        try:
            while not self._ending.is_set():
                begun_s = self._clock()
                try:
                    self._turn(link, records, traces)
                except Exception:
                    self._tell_fault()
                if self._past is None:
                    self._ending.wait(max(0.0, TURN_S - (self._clock() - begun_s)))
        finally:
            self._past = None
            records.close()
            traces.close()
            link.close()

    def _turn(self, link: OperatorLink, records: Tail, traces: Tail) -> None:
        if self._clock() >= self._next_status_s:
            self._next_status_s = self._clock() + STATUS_INTERVAL_S
            self._ask(link)
        if self._past is not None:
            self._read_past(self._past)
        if self._past is not None:
            return  # what is new comes after it, as it must
        self._read_records(records)
        self._read_traces(traces)

    def _read_past(self, past: Iterator[list[bytes]]) -> None:
        """Take the learning curves from some more of the log files, until the next status is due."""
        until_s = self._clock() + STATUS_INTERVAL_S
        while self._clock() < until_s:
            lines = next(past, None)
            if lines is None or self._ending.is_set():
                self._past = None
                return
            self._each(lines, lambda line, _text: self._take_interval(line))

    def _each(self, texts: Iterable[bytes], take: Callable[[LogLine, bytes], object]) -> None:
        """Take lines one by one: a fault in what one says must not leave the pages without all the rest."""
        for text in texts:
            try:
                if (line := line_or_none(text)) is None:
                    self._damaged += 1
                else:
                    take(line, text)
            except Exception:
                self._tell_fault()

    def _tell_fault(self) -> None:
        self._faults += 1
        if is_told(self._faults):
            log.exception("what is new can't be taken", extra={"count": self._faults})

    def _ask(self, link: OperatorLink) -> None:
        before = self._snapshot
        try:
            status = link.status(STATUS_PATIENCE_S)
        except RookeryError as error:
            self._failures += 1
            self._snapshot = replace(
                before, state=_state_of(error), trouble=str(error), pace=before.pace.in_silence()
            )
        else:
            now_s = self._clock()
            self._snapshot = Snapshot(
                state=BrokerState.ANSWERS, status=status, status_s=now_s, pace=self._meter.take(now_s, status)
            )
            self._statuses += 1
        if self._listened:
            self._tell("status", msgspec.json.encode(self.status_news(self._snapshot)))

    def _read_records(self, tail: Tail) -> None:
        fresh: list[Record] = []
        points: list[Point] = []

        def take(line: LogLine, text: bytes) -> None:
            fresh.append(self.records.take(line, text))
            if (point := self._take_interval(line)) is not None:
                points.append(point)

        self._each(self._lines(tail), take)
        if self._listened and fresh:
            told = bounded(reversed(fresh[-NEWS_RECORDS:]), NEWS_BYTES).records[::-1]
            self._tell("logs", b'{"logs":%s,"skipped":%d}' % (json_list(told), len(fresh) - len(told)))
        if self._listened and points:
            self._tell("intervals", msgspec.json.encode({"intervals": points}))

    def _read_traces(self, tail: Tail) -> None:
        fresh: list[bytes] = []

        def take(line: LogLine, _text: bytes) -> None:
            if line.event == game_digest.EVENT:
                self._take_game(line)
            elif (span := self.spans.take(line)) is not None:
                fresh.append(span)

        self._each(self._lines(tail), take)
        if self._listened and fresh:
            self._tell("spans", b'{"spans":[%s]}' % b",".join(fresh[-NEWS_SPANS:]))

    def _lines(self, tail: Tail) -> list[bytes]:
        found: list[bytes] = []
        for _ in range(CHUNKS_A_TURN):
            chunk = tail.read()
            if not chunk:
                break
            found += chunk
        return found

    def _take_interval(self, line: LogLine) -> Point | None:
        if line.event != curves.EVENT:
            return None
        with self._lock:
            return self._curves.take(line)

    def _take_game(self, line: LogLine) -> None:
        with self._lock:
            self._games.pop(line.service, None)
            self._games[line.service] = line
            while len(self._games) > MAX_GAMES:
                self._games.popitem(last=False)

    @property
    def _listened(self) -> bool:
        return self.listener is not None and self.listener.wanted

    def _tell(self, event: str, data: bytes) -> None:
        if self.listener is not None:
            self.listener.publish(event, data)


def _state_of(error: RookeryError) -> BrokerState:
    if isinstance(error, KeptOut):
        return BrokerState.KEPT_OUT
    return BrokerState.REFUSED if isinstance(error, Refused) else BrokerState.AWAY

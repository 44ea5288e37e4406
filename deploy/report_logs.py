"""What the logs of a run say of it: who was up when, what went wrong, and when each interval was trained.

Reads DIR/logs/rookery.jsonl and the files that it was rotated to, in one pass; of spans it needs the numbers only.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from broker.collector import KEEP_FILES
from broker.sequences import sequences_in
from common.log_lines import LOG_FILE, SEVERITY_NUMBERS, TRACE_FILE, LogLine, read_log_lines, rotated_files

MAX_SESSIONS = 10_000
"""Sessions that are told apart; of a run that has more, the later ones are left out."""
MAX_EVENTS = 200
"""Kinds of warnings that are told apart: a foreign library's have no stable name."""
MAX_INTERVALS = 1_000_000
AT_WORK_S = 60.0
"""Who has logged so shortly before the newest record of all, or before now, may well be at work elsewhere."""
_ENDS = frozenset({"stopped", "ended with an error", "internal error"})
"""What a process says last."""


class Session(msgspec.Struct, kw_only=True):
    """One process from its first log record to its last."""

    service: str
    instance: str
    host: str
    first_s: float
    """Seconds since 1970."""
    last_s: float
    said_end: bool = False
    """Whether it has logged its end."""
    broken: bool = False
    """Whether it was killed or died: it said no end, and either its service began anew or all others went on."""


class EventCount(msgspec.Struct, kw_only=True):
    """How often an event of level WARNING or above was logged."""

    event: str
    severity: str
    """The worst one that it had."""
    count: int = 0
    services: list[str] = []


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, and was survived or not."""

    killed: int
    """Processes that ended without saying so."""
    leases_ran_out: int
    deliveries_repeated: int
    """Batches that the broker sent again."""
    engine_deaths: int
    services_lost: int
    """Times that the broker missed a service that had not said goodbye."""
    messages_dropped: int
    """By the broker, as breaking the protocol; at least so many."""
    records_missing: int | None
    """Log records that were sent and never came; None where old files are gone, so that nobody can tell."""
    events: list[EventCount]
    """Every warning and error, the most frequent one first."""


@dataclass(kw_only=True)
class LogFacts:
    """What the logs of a run hold; `read_logs` makes it."""

    lines: int = 0
    damaged: int = 0
    """Lines that could not be read."""
    sessions: list[Session] = field(default_factory=list)
    faults: Faults | None = None
    """None where there are no logs."""
    trained_at: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    """By agent: when the interval that ended with this step and this last unit was logged, seconds since 1970."""
    games_total: int | None = None
    """In the sources, as the broker said when it had read them to the end; None where it has not, as the next."""
    units_total: int | None = None


class _Reading:
    """What one pass over the lines gathers."""

    def __init__(self) -> None:
        self.facts = LogFacts()
        self._sessions: dict[str, Session] = {}
        self._counts: Counter[str] = Counter()
        self._dropped: dict[tuple[str, object], int] = {}
        self._events: dict[str, EventCount] = {}

    def take(self, line: LogLine) -> None:
        self.facts.lines += 1
        self._note_session(line)
        if line.severity_number >= SEVERITY_NUMBERS["WARNING"] and line.event != "game rejected":
            self._note_warning(line)
        match line.event:
            case "deliveries repeated":
                self._counts[line.event] += _number(line, "batches")
            case "message dropped":
                key = line.source, line.attributes.get("reason")
                self._dropped[key] = max(self._dropped.get(key, 0), _number(line, "count"))
            case "service left" if line.attributes.get("why") != "goodbye":
                self._counts["service lost"] += 1
            case "interval trained":
                self._note_interval(line)
            case "sources read":
                self.facts.games_total = _number(line, "games")
                self.facts.units_total = _number(line, "units")
            case event:
                self._counts[event] += event in ("lease ran out", "engine died")

    def _note_session(self, line: LogLine) -> None:
        moment_s = line.time.timestamp()
        session = self._sessions.get(line.source)
        if session is None:
            if len(self._sessions) >= MAX_SESSIONS:
                return
            session = self._sessions[line.source] = Session(
                service=line.service, instance=line.instance, host=line.host, first_s=moment_s, last_s=moment_s
            )
        session.first_s, session.last_s = min(session.first_s, moment_s), max(session.last_s, moment_s)
        session.said_end = session.said_end or line.event in _ENDS

    def _note_warning(self, line: LogLine) -> None:
        if line.event not in self._events and len(self._events) >= MAX_EVENTS:
            return
        event = self._events.setdefault(line.event, EventCount(event=line.event, severity=line.severity))
        event.count += 1
        if SEVERITY_NUMBERS.get(event.severity, 0) < line.severity_number:
            event.severity = line.severity
        if line.service not in event.services:
            event.services.append(line.service)

    def _note_interval(self, line: LogLine) -> None:
        agent = str(line.attributes.get("agent"))
        times = self.facts.trained_at.setdefault(agent, {})
        if len(times) < MAX_INTERVALS:
            times[_number(line, "step"), _number(line, "last_unit")] = line.time.timestamp()

    def end(self, *, going_on: bool, records_missing: int | None) -> LogFacts:
        self.facts.sessions = sorted(self._sessions.values(), key=lambda one: (one.service, one.first_s))
        newest_s = max((session.last_s for session in self.facts.sessions), default=0.0)
        # Not the later of the two: a clock elsewhere may be ahead of ours.
        silent_since_s = min(newest_s, time.time()) - AT_WORK_S
        for session, follower in zip(self.facts.sessions, [*self.facts.sessions[1:], None], strict=True):
            followed = follower is not None and follower.service == session.service
            # The broker outlives the collector, so its last words come only with the next start.
            over = not going_on and session.service != "broker" and session.last_s < silent_since_s
            session.broken = not session.said_end and (followed or over)
        self.facts.faults = Faults(
            killed=sum(session.broken for session in self.facts.sessions),
            leases_ran_out=self._counts["lease ran out"],
            deliveries_repeated=self._counts["deliveries repeated"],
            engine_deaths=self._counts["engine died"],
            services_lost=self._counts["service lost"],
            messages_dropped=sum(self._dropped.values()),
            records_missing=records_missing,
            events=sorted(self._events.values(), key=lambda event: -event.count),
        )
        return self.facts


def read_logs(directory: Path, *, going_on: bool) -> LogFacts:
    """Return what the logs in DIR/logs say; `going_on` says whether the run still does.

    Raises OSError where they can't be read.
    """
    logs, trace = directory / LOG_FILE, directory / TRACE_FILE
    if not rotated_files(logs):
        return LogFacts()
    reading = _Reading()
    lines = read_log_lines(logs)
    for line in lines:
        reading.take(line)
    reading.facts.damaged = lines.damaged
    kinds = [rotated_files(logs), rotated_files(trace)]
    known = all(len(files) <= KEEP_FILES for files in kinds)
    missing = (
        sum(one.missing for one in sequences_in((files, False) for files in kinds).values()) if known else None
    )
    return reading.end(going_on=going_on, records_missing=missing)


def _number(line: LogLine, name: str) -> int:
    value = line.attributes.get(name)
    return value if isinstance(value, int) else 0

"""The timeline of a run as a file that opens in Perfetto (ui.perfetto.dev) and in Chrome (about:tracing).

Spans of DIR/logs/trace.jsonl become complete events, in the Trace Event Format
(docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): a process for each service, a thread for
each kind of span, and one more where spans of a kind overlap; warnings and errors of the logs are instants. Flow
events lead from span to span of a unit, over the processes. Reads and writes as a stream: what is held in memory is
bounded, whatever the run.
"""

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from common.log_lines import LOG_FILE, SEVERITY_NUMBERS, TRACE_FILE, LogLine, read_log_lines
from common.whole_file import explained, whole_file

Event = dict[str, Any]

MAX_LANES = 32
"""Threads for one kind of span in one process; beyond them, spans overlap in the first."""
MAX_UNITS = 10_000
"""Units whose spans are remembered for their flow; of more, the one that came up first is closed."""
MAX_POINTS = 64
"""Spans of one unit that its flow leads through."""
LOGS_THREAD = "log"
FLOW = "unit"
_NOT_ARGUMENTS = frozenset({"name", "begin_ns", "seconds", "log.record.number"})


class Timeline:
    """Turns spans into events. Invariant: spans of one thread never overlap, but for those beyond MAX_LANES."""

    def __init__(self) -> None:
        self._processes: dict[str, int] = {}
        self._threads: dict[tuple[int, str], int] = {}
        self._lanes: dict[tuple[int, str], list[float]] = {}
        """Ends of the last spans in each lane of a kind, µs."""
        self._units: OrderedDict[object, list[tuple[float, int, int]]] = OrderedDict()
        """Where each unit's spans begin: (µs, process, thread)."""
        self.spans = 0
        self.left_out = 0
        """Spans without a name or times."""

    def span(self, line: LogLine) -> Iterator[Event]:
        """Yield the events of a span."""
        fields = line.attributes
        name, begin_ns, seconds = fields.get("name"), fields.get("begin_ns"), fields.get("seconds")
        if not isinstance(name, str) or not isinstance(begin_ns, int) or not isinstance(seconds, int | float):
            self.left_out += 1
            return
        self.spans += 1
        begin_us, length_us = begin_ns / 1000, max(0.0, seconds * 1e6)
        process = yield from self._process(line.service)
        thread = yield from self._thread(process, self._lane(process, name, begin_us, begin_us + length_us))
        arguments = {key: value for key, value in fields.items() if key not in _NOT_ARGUMENTS}
        yield {
            "ph": "X", "name": name, "cat": "span", "ts": begin_us, "dur": length_us, "pid": process, "tid": thread,
            "args": arguments,
        }  # fmt: skip
        yield from self._note(fields.get("unit"), begin_us, process, thread)

    def instant(self, line: LogLine) -> Iterator[Event]:
        """Yield the event of a log record."""
        process = yield from self._process(line.service)
        thread = yield from self._thread(process, LOGS_THREAD)
        yield {
            "ph": "i", "name": line.event, "cat": line.severity.lower(), "s": "p",
            "ts": line.time.timestamp() * 1e6, "pid": process, "tid": thread, "args": dict(line.fields),
        }  # fmt: skip

    def end(self) -> Iterator[Event]:
        """Yield what is left: the flows of the last units."""
        while self._units:
            yield from self._flow(*self._units.popitem(last=False))

    def _process(self, service: str) -> Generator[Event, None, int]:
        if service not in self._processes:
            number = self._processes[service] = len(self._processes) + 1
            yield {"ph": "M", "name": "process_name", "pid": number, "tid": 0, "args": {"name": service}}
        return self._processes[service]

    def _thread(self, process: int, name: str) -> Generator[Event, None, int]:
        key = process, name
        if key not in self._threads:
            number = self._threads[key] = len(self._threads) + 1
            yield {"ph": "M", "name": "thread_name", "pid": process, "tid": number, "args": {"name": name}}
        return self._threads[key]

    def _lane(self, process: int, name: str, begin_us: float, end_us: float) -> str:
        """Return the name of the thread for a span: the first one of its kind that is free then."""
        ends = self._lanes.setdefault((process, name), [])
        lane = next((number for number, end in enumerate(ends) if end <= begin_us), None)
        if lane is None and len(ends) < MAX_LANES:
            lane = len(ends)
            ends.append(0.0)
        lane = lane or 0
        ends[lane] = max(ends[lane], end_us)
        return name if lane == 0 else f"{name} {lane + 1}"

    def _note(self, unit: object, begin_us: float, process: int, thread: int) -> Iterator[Event]:
        if not isinstance(unit, int):
            return
        points = self._units.setdefault(unit, [])
        if len(points) < MAX_POINTS:
            points.append((begin_us, process, thread))
        if len(self._units) > MAX_UNITS:
            yield from self._flow(*self._units.popitem(last=False))

    def _flow(self, unit: object, points: list[tuple[float, int, int]]) -> Iterator[Event]:
        """Yield the flow through the spans of a unit, in the order of time; none for one span alone."""
        if len(points) < 2:
            return
        for number, (begin_us, process, thread) in enumerate(sorted(points)):
            kind = "s" if number == 0 else "f" if number == len(points) - 1 else "t"
            event = {
                "ph": kind,
                "name": FLOW,
                "cat": FLOW,
                "id": unit,
                "ts": begin_us,
                "pid": process,
                "tid": thread,
            }
            yield {**event, "bp": "e"} if kind == "f" else event


def write_timeline(logs: Path, to: Path, tell: Callable[[int], None]) -> Mapping[str, int]:
    """Write the spans of DIR/logs to `to`, whole or not at all; return how many there are and how many are damaged.

    `tell` hears now and then of how many spans are done. Raises SettingsError where `to` can't be written, OSError
    where the logs can't be read.
    """
    timeline = Timeline()
    spans, records = read_log_lines(logs / TRACE_FILE), read_log_lines(logs / LOG_FILE)
    with whole_file(to) as file:
        writer = _Writer(file, to)
        for line in spans:
            if line.event == "span":
                writer.write(timeline.span(line))
                if timeline.spans % 1000 == 0:
                    tell(timeline.spans)
        for line in records:
            if line.severity_number >= SEVERITY_NUMBERS["WARNING"]:
                writer.write(timeline.instant(line))
        writer.write(timeline.end())
        writer.close()
    return {"spans": timeline.spans, "damaged": spans.damaged + timeline.left_out}


class _Writer:
    """Writes events as the JSON object format has them, one a line."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._before = b'{"displayTimeUnit":"ms","traceEvents":[\n'

    def write(self, events: Iterator[Event]) -> None:
        for event in events:
            with explained(self._path):
                self._file.write(self._before + msgspec.json.encode(event))
            self._before = b",\n"

    def close(self) -> None:
        with explained(self._path):
            self._file.write((b"" if self._before == b",\n" else self._before) + b"\n]}\n")

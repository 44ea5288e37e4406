"""The timeline holds to the rules of the Trace Event Format, whatever the spans are."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from common.log_lines import LogLine, Resource, Scope, encode_line
from deploy import trace_timeline
from deploy.trace_command import trace
from deploy.trace_timeline import write_timeline

BEGIN_NS = 1_795_326_775_806_221_908


def line(service: str, event: str, severity: str = "DEBUG", number: int = 5, **attributes: Any) -> bytes:
    return encode_line(
        LogLine(
            time=datetime.fromtimestamp(BEGIN_NS / 1e9, UTC), severity=severity, severity_number=number,
            event=event, body=event, resource=Resource(service=service, instance="1"), scope=Scope(name="trace"),
            attributes=attributes,
        )
    )  # fmt: skip


def span(service: str, name: str, begin_s: float, seconds: float, **more: Any) -> bytes:
    return line(
        service, "span", name=name, begin_ns=BEGIN_NS + int(begin_s * 1e9), seconds=seconds,
        **{"log.record.number": 7}, **more,
    )  # fmt: skip


SPANS = [
    span("actor-0", "engine", 0.0, 2.0, unit=0),
    span("actor-0", "engine", 1.0, 2.0, unit=1),
    span("actor-0", "engine", 3.5, 1.0, unit=2),
    span("actor-0", "send", 2.0, 0.1, unit=0, agent="white"),
    line("actor-0", "game", unit=0, moves="e2e4"),
    span("learner-white", "train", 9.0, 0.5, unit=0, agent="white"),
    span("learner-white", "store", 3.0, 0.2, unit=0, last_unit=1, agent="white"),
    span("learner-white", "publish", 9.6, 0.0, agent="white", version=3),
]


def run_of(folder: Path, spans: list[bytes]) -> Path:
    logs = folder / "logs"
    logs.mkdir()
    (logs / "trace.jsonl").write_bytes(b"\n".join(spans) + b"\n")
    warning = line("broker", "lease ran out", "WARNING", 13, unit=1)
    (logs / "rookery.jsonl").write_bytes(line("broker", "ready", "INFO", 9) + b"\n" + warning + b"\n")
    return logs


def events_of(folder: Path, spans: list[bytes]) -> list[dict[str, Any]]:
    to = folder / "trace.json"
    write_timeline(run_of(folder, spans), to, lambda _: None)
    found: list[dict[str, Any]] = json.loads(to.read_bytes())["traceEvents"]
    return found


def by_thread(events: list[dict[str, Any]]) -> dict[tuple[int, int], list[tuple[float, float]]]:
    slices = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    return slices


def test_services_are_processes_and_kinds_of_spans_are_threads_with_names(tmp_path: Path) -> None:
    events = events_of(tmp_path, SPANS)
    named = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert named == {"actor-0", "learner-white", "broker"}
    threads = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert threads == {"engine", "engine 2", "send", "train", "store", "publish", "log"}
    known: set[tuple[int, int]] = set()
    for event in events:
        assert event["ph"] in {"X", "i", "M", "s", "t", "f"}
        if event["name"] == "thread_name":
            known.add((event["pid"], event["tid"]))
        elif event["ph"] != "M":
            assert (event["pid"], event["tid"]) in known  # named before they are used
            assert event["ts"] >= BEGIN_NS // 1000


def test_spans_are_complete_events_in_microseconds_with_their_unit_and_agent(tmp_path: Path) -> None:
    events = events_of(tmp_path, SPANS)
    send = next(event for event in events if event["name"] == "send")
    assert send["ph"] == "X"
    assert round(send["ts"] - BEGIN_NS / 1000) == 2_000_000
    assert round(send["dur"]) == 100_000
    assert send["args"] == {"unit": 0, "agent": "white"}
    assert [event["args"] for event in events if event["ph"] == "i"] == [{"unit": 1}]


def test_spans_of_one_thread_never_overlap(tmp_path: Path) -> None:
    for spans in by_thread(events_of(tmp_path, SPANS)).values():
        for (_, end), (begin, _) in pairwise(sorted(spans)):
            assert end <= begin


def test_a_flow_leads_through_the_spans_of_a_unit_in_the_order_of_time(tmp_path: Path) -> None:
    events = events_of(tmp_path, SPANS)
    slices = by_thread(events)
    flows = defaultdict(list)
    for event in events:
        if event["ph"] in "stf":
            flows[event["id"]].append(event)
            here = slices[event["pid"], event["tid"]]
            assert any(begin <= event["ts"] <= end for begin, end in here)  # bound to a slice
    assert set(flows) == {0}  # the others have one span each
    assert [event["ph"] for event in flows[0]] == ["s", "t", "t", "f"]
    assert [event["ts"] for event in flows[0]] == sorted(event["ts"] for event in flows[0])
    assert flows[0][-1]["bp"] == "e"


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(trace_timeline, "MAX_UNITS", 3)
    monkeypatch.setattr(trace_timeline, "MAX_LANES", 2)
    spans = [span("actor-0", "engine", 0.01 * unit, 5.0, unit=unit) for unit in range(20)]
    spans += [span("learner-white", "train", 10.0 + unit, 0.5, unit=unit) for unit in range(20)]
    events = events_of(tmp_path, spans)
    assert sum(event["ph"] == "X" for event in events) == 40
    assert len({event["tid"] for event in events if event["ph"] == "X" and event["name"] == "engine"}) == 2


def test_lines_that_are_cut_off_or_no_spans_are_counted_and_left_out(tmp_path: Path) -> None:
    run_of(tmp_path, [*SPANS, line("actor-0", "span", name="engine"), b'{"Timestamp": "2026'])
    done = CliRunner().invoke(trace, [str(tmp_path)])
    assert done.exit_code == 0
    assert "7 spans written" in done.output
    assert "2 lines could not be read" in done.output
    assert json.loads((tmp_path / "trace.json").read_bytes())["displayTimeUnit"] == "ms"


def test_a_run_without_a_trace_is_named_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(trace, [str(tmp_path)])
    assert "no such file" in str(done.exception)
    assert "\n" not in str(done.exception)

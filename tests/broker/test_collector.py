import errno
import json
import os
from pathlib import Path

import pytest

from broker import collector as module
from broker import sequences
from broker.collector import Collector
from common.log_lines import LogLine, decode_line, encode_line, line_of, read_log_lines
from common.log_text import text_of
from common.messages import LogRecord

NOON_NS = 1_700_000_000_123_456_789  # 2023-11-14 22:13:20.123 UTC


def record(number: int, source: str = "actor-0.5e55", **others) -> LogRecord:
    given = {"time_ns": NOON_NS, "level": "INFO", "logger": "actor.service", "event": "finished"} | others
    return LogRecord(source=source, number=number, **given)


def take(collector: Collector, *numbers: int, source: str = "actor-0.5e55") -> list[bool]:
    return [collector.take(record(number, source)) for number in numbers]


def lines(path: Path) -> list[LogLine]:
    return [decode_line(line) for line in path.read_bytes().splitlines()]


def to_json(record: LogRecord) -> str:
    return encode_line(line_of(record)).decode()


def to_line(record: LogRecord) -> str:
    return text_of(line_of(record))


@pytest.fixture
def collector(tmp_path):
    found = Collector(tmp_path / "logs")
    yield found
    found.close()


def again(collector: Collector, path: Path) -> Collector:
    """The collector started anew on the same files."""
    collector.close()
    return Collector(path / "logs")


# Numbers


def test_records_in_order_leave_no_gap(collector):
    assert take(collector, 0, 1, 2) == [True] * 3
    assert (collector.records, collector.missing, collector.missing_by_source()) == (3, 0, {})


def test_a_gap_is_noticed_and_counted_by_source(collector):
    take(collector, 0, 4)
    take(collector, 2, source="broker.77c1")
    assert collector.missing == 5
    assert collector.missing_by_source() == {"actor-0.5e55": 3, "broker.77c1": 2}


def test_late_records_fill_a_gap(collector):
    take(collector, 0, 4)
    assert take(collector, 2, 1) == [True, True]
    assert collector.missing == 1
    take(collector, 3)
    assert collector.missing == 0


def test_doubles_are_dropped_and_counted(collector, tmp_path):
    assert take(collector, 0, 1, 0, 1, 1, 3, 3, 2, 2) == [True, True, False, False, False, True, False, True, False]
    assert (collector.records, collector.duplicates) == (4, 5)
    collector.flush()
    assert [line.number for line in lines(tmp_path / "logs/rookery.jsonl")] == [0, 1, 3, 2]


def test_a_gap_as_wide_as_the_world_costs_nothing(collector):
    take(collector, 2**53)
    assert collector.missing == 2**53
    assert take(collector, 2**52, 2**53) == [True, False]


# A collector started anew


def test_a_collector_that_is_started_anew_neither_misses_nor_repeats_what_was_written(collector, tmp_path):
    take(collector, 0, 1, 2)
    collector = again(collector, tmp_path)
    assert take(collector, 2, 3, 5) == [False, True, True]
    assert collector.missing_by_source() == {"actor-0.5e55": 1}
    collector = again(collector, tmp_path)
    assert collector.missing == 1
    take(collector, 4)
    collector = again(collector, tmp_path)
    assert collector.missing == 0
    assert len(lines(tmp_path / "logs/rookery.jsonl")) == 6
    collector.close()


def test_a_line_that_was_cut_off_spoils_no_other(collector, tmp_path):
    take(collector, 0, 1)
    collector.close()
    path = tmp_path / "logs/rookery.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    collector = Collector(tmp_path / "logs")
    assert take(collector, 1, 2) == [True, True]
    collector.close()
    written = read_log_lines(path)
    assert [line.number for line in written] == [0, 1, 2]
    assert written.damaged == 1


# Files


def test_a_record_is_one_line_of_opentelemetrys_data_model(collector, tmp_path):
    collector.take(
        record(
            7, level="ERROR", event="died ü\n", host="north", error="Traceback\n  x",
            fields={"unit": 3, "share": 0.5, "ok": None},
        )
    )  # fmt: skip
    collector.flush()
    (line,) = (tmp_path / "logs/rookery.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "Timestamp": "2023-11-14T22:13:20.123456Z", "SeverityText": "ERROR", "SeverityNumber": 17,
        "EventName": "died ü\n", "Body": "died ü\n",
        "Resource": {"service.name": "actor-0", "service.instance.id": "5e55", "host.name": "north"},
        "InstrumentationScope": {"name": "actor.service"},
        "Attributes": {
            "unit": 3, "share": 0.5, "ok": None, "log.record.number": 7, "exception.stacktrace": "Traceback\n  x",
        },
    }  # fmt: skip


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_has_no_number_for_is_null(number):
    assert json.loads(to_json(record(0, fields={"loss": number})))["Attributes"]["loss"] is None


def test_a_line_for_people_has_the_service_the_event_and_the_fields():
    line = to_line(record(0, fields={"unit": 3}))
    assert line == "2023-11-14T22:13:20.123Z INFO    actor-0: finished unit=3"


def test_asked_for_there_is_a_plain_file_per_service(tmp_path):
    collector = Collector(tmp_path, per_service=True)
    take(collector, 0, source="actor-0.1")
    take(collector, 0, source="actor-0.2")
    take(collector, 0, source="..1")
    collector.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "_.log",
        "actor-0.log",
        "rookery.jsonl",
        "trace.jsonl",
    ]
    assert len((tmp_path / "actor-0.log").read_text().splitlines()) == 2


def test_the_file_is_rotated_by_its_bytes_and_only_so_many_are_kept(collector, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROTATE_BYTES", 3000)
    monkeypatch.setattr(module, "KEEP_FILES", 3)
    size = len(to_json(record(0, event="é" * 500)).encode()) + 1
    assert size > 2000  # two to a file, by bytes; by characters it would be three
    for number in range(12):
        collector.take(record(number, event="é" * 500))
    collector.flush()
    kept = {path.name: [line.number for line in lines(path)] for path in (tmp_path / "logs").glob("rookery*")}
    assert kept == {
        "rookery.jsonl": [],
        "rookery.jsonl.1": [10, 11],
        "rookery.jsonl.2": [8, 9],
        "rookery.jsonl.3": [6, 7],
    }
    collector = again(collector, tmp_path)  # what was rotated away is not missing
    assert take(collector, 3, 11, 12, 14) == [False, False, True, True]
    assert collector.missing == 1
    collector.close()


def test_rotated_files_are_read_by_one_that_is_started_anew(collector, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROTATE_BYTES", 400)
    take(collector, 0, 1, 2, 3, 5)
    collector = again(collector, tmp_path)
    assert collector.missing == 1
    assert take(collector, 0, 4) == [False, True]
    assert collector.missing == 0
    collector.close()


# Spans


def test_spans_go_to_a_file_of_their_own_and_leave_no_gap(collector, tmp_path):
    collector.take(record(0))
    collector.take(record(1, logger="trace", event="span", level="DEBUG"))
    collector.take(record(2))
    collector.flush()
    assert [line.number for line in lines(tmp_path / "logs/rookery.jsonl")] == [0, 2]
    assert [(line.number, line.event) for line in lines(tmp_path / "logs/trace.jsonl")] == [(1, "span")]
    assert collector.missing == 0
    collector = again(collector, tmp_path)
    assert (collector.missing, take(collector, 1, 4)) == (0, [False, True])
    assert collector.missing == 1
    collector.close()


def test_spans_are_not_in_the_plain_files(tmp_path):
    collector = Collector(tmp_path, per_service=True)
    collector.take(record(0, logger="trace", event="span"))
    collector.take(record(1))
    collector.close()
    assert len((tmp_path / "actor-0.log").read_text().splitlines()) == 1


def test_thousands_of_spans_between_records_are_no_gaps_for_a_collector_started_anew(collector, tmp_path):
    for number in range(3000):
        collector.take(record(number, logger="trace" if number % 3 else "actor.service"))
    collector = again(collector, tmp_path)
    assert (collector.missing, take(collector, 0, 1, 3000)) == (0, [False, False, True])
    collector.close()


def test_spans_that_were_rotated_away_are_not_missing(collector, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEEP_FILES", 2)
    collector.take(record(0, source="broker.1"))
    for number in range(100):
        traced = number % 2 and number < 90
        monkeypatch.setattr(module, "ROTATE_BYTES", 1000 if traced else 2**30)
        collector.take(record(number, logger="trace" if traced else "actor.service"))
    collector.take(record(2, source="broker.1"))
    collector.flush()
    assert len(lines(tmp_path / "logs/rookery.jsonl")) == 57
    assert len(list((tmp_path / "logs").glob("trace*"))) == 3
    collector = again(collector, tmp_path)
    assert collector.missing == 0
    take(collector, 101)
    assert collector.missing == 1
    collector.close()


def test_what_a_source_lost_after_the_oldest_spans_that_are_left_is_missing(collector, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEEP_FILES", 2)
    monkeypatch.setattr(module, "ROTATE_BYTES", 1000)
    for number in range(20):
        collector.take(record(number, logger="trace", time_ns=NOON_NS + number))
    monkeypatch.setattr(module, "ROTATE_BYTES", 2**30)
    for number in (0, 5, 6):  # 1 to 4 may have been spans that were rotated away
        collector.take(record(number, source="before.1", time_ns=NOON_NS + 10**9 * (number > 0)))
    for number in (0, 1, 3, 5, 6):
        logger = "actor.service" if number < 5 else "trace"
        collector.take(record(number, source="after.1", time_ns=NOON_NS + 10**9, logger=logger))
    collector = again(collector, tmp_path)
    assert len(list((tmp_path / "logs").glob("trace*"))) == 3
    assert collector.missing_by_source() == {"after.1": 2}
    assert take(collector, 2, source="after.1") == [True]
    collector.close()


def test_a_line_nested_without_end_is_no_record_for_a_collector_started_anew(tmp_path):
    (tmp_path / "rookery.jsonl").write_bytes(b'{"x":' * 10**5 + b"\n" + to_json(record(0)).encode() + b"\n")
    collector = Collector(tmp_path)
    assert collector.take(record(0)) is False
    collector.close()


# Files of the version before


OLD = (
    b'{"time":"2026-11-22T02:56:19.331Z","level":"INFO","service":"a","source":"a.1","number":%d,'
    b'"logger":"x","event":"y","fields":{"unit":3}}\n'
)


def test_files_of_the_version_before_are_gone_on_with(tmp_path):
    (tmp_path / "rookery.jsonl").write_bytes(OLD % 0 + OLD % 1 + OLD % 3)
    collector = Collector(tmp_path)
    assert collector.missing == 1
    assert take(collector, 1, 3, 4, source="a.1") == [False, False, True]
    collector.close()
    assert [line.number for line in read_log_lines(tmp_path / "rookery.jsonl")] == [0, 1, 3, 4]


# A disk that is full


@pytest.fixture
def full(monkeypatch):
    """Call it with the bytes that the disk has room for; None for a disk with room again."""
    write = os.write

    def switch(room):
        left = [room]

        def limited(descriptor, content):
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = write(descriptor, content[: left[0]])
            left[0] -= done
            return done

        monkeypatch.setattr("os.write", write if room is None else limited)

    return switch


def test_what_a_full_disk_refuses_waits_and_is_written_when_there_is_room(collector, tmp_path, full):
    take(collector, 0)
    collector.flush()
    full(30)  # less than a line
    assert take(collector, 1, 2) == [True, True]
    with pytest.raises(OSError, match="No space left"):
        collector.flush()
    assert [line.number for line in lines(tmp_path / "logs/rookery.jsonl")] == [0]  # no half a line
    full(None)
    collector.flush()
    assert [line.number for line in lines(tmp_path / "logs/rookery.jsonl")] == [0, 1, 2]
    assert (collector.missing, collector.dropped) == (0, 0)


def test_what_memory_has_no_room_for_either_is_dropped_and_counted_as_missing(
    collector, tmp_path, full, monkeypatch
):
    size = len(to_json(record(0))) + 1
    monkeypatch.setattr(module, "WAITING_BYTES", 3 * size)
    full(0)
    assert take(collector, 0, 1, 2, 3, 4) == [True, True, True, False, False]
    with pytest.raises(OSError):
        collector.flush()
    full(None)
    collector.flush()
    assert take(collector, 5) == [True]
    assert (collector.dropped, collector.missing) == (2, 2)
    assert take(collector, 3) == [True]  # one that is sent again is no double
    collector = again(collector, tmp_path)
    assert collector.missing == 1
    collector.close()


def test_a_collector_on_a_full_disk_closes_its_files_and_says_that_the_last_are_lost(collector, full):
    take(collector, 0)
    full(0)
    with pytest.raises(OSError, match="No space left"):
        collector.close()
    collector.close()


def test_a_file_that_could_not_be_begun_when_it_was_to_be_rotated_is_begun_later(collector, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROTATE_BYTES", 100)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_open", lambda path: os.open("/nowhere/else", os.O_RDWR))
        take(collector, 0)
        with pytest.raises(OSError):
            collector.flush()
    collector.flush()
    take(collector, 1)
    collector.flush()
    kept = {path.name: [line.number for line in lines(path)] for path in (tmp_path / "logs").glob("rookery*")}
    assert kept == {"rookery.jsonl": [], "rookery.jsonl.1": [1], "rookery.jsonl.2": [0]}


# Sources that nobody bounds


def test_gaps_beyond_number_are_given_up_and_still_counted_as_missing(collector):
    count = 5 * sequences.MAX_GAPS
    assert all(take(collector, *range(0, 2 * count, 2)))
    sequence = collector._sequences["actor-0.5e55"]
    assert sequence.intervals <= 2 * sequences.MAX_GAPS + 1
    assert collector.missing == count - 1
    assert take(collector, 1) == [False]
    assert take(collector, 2 * count - 3) == [True]
    assert collector.missing == count - 2


def test_sources_beyond_number_are_forgotten_but_not_what_they_miss(collector, monkeypatch):
    monkeypatch.setattr(module, "MAX_SOURCES", 3)
    for number in range(10):
        take(collector, 1, source=f"actor-{number}.5e55")
    assert len(collector._sequences) == 3
    assert collector.missing == 10


def test_what_is_missing_fits_a_report_whatever_the_numbers(collector):
    for number in range(5):
        take(collector, 2**53, source=f"actor-{number}.5e55")
    assert collector.missing == 2**53


def test_services_beyond_number_share_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PLAIN_FILES", 2)
    collector = Collector(tmp_path, per_service=True)
    for number in range(5):
        take(collector, 0, source=f"actor-{number}.5e55")
    collector.close()
    assert {path.name for path in tmp_path.glob("*.log")} == {"actor-0.log", "actor-1.log", "other-services.log"}
    assert len((tmp_path / "other-services.log").read_text().splitlines()) == 3


def test_a_line_for_people_is_one_line_whatever_was_logged():
    hostile = record(0, event="a\nb\x1b[2J\x9b", fields={"k\r": "v\x00"})
    assert to_line(hostile).endswith("a\\x0ab\\x1b[2J\\x9b k\\x0d=v\\x00")


def test_a_line_that_is_not_utf_8_is_passed_over_at_the_start(tmp_path):
    (tmp_path / "rookery.jsonl").write_bytes(
        b'{"source": "a.1", "number": 0}\n{"source": "a\xff.1", "number": 1}\n'
    )
    assert Collector(tmp_path).missing == 0

import gzip
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from common import log_lines
from common.log_lines import (
    LogLine,
    decode_line,
    encode_line,
    line_of,
    read_log_lines,
    rotated_files,
    service_and_instance,
)
from common.messages import LogRecord

NOON_NS = 1_700_000_000_123_456_789  # 2023-11-14 22:13:20.123456 UTC
OLD = {
    "time": "2026-11-22T02:56:19.331Z", "level": "WARNING", "service": "actor-0", "source": "actor-0.5e55",
    "number": 3, "logger": "actor.service", "event": "game rejected", "fields": {"game": 7}, "error": "Traceback",
}  # fmt: skip


def record(number: int = 7, **others) -> LogRecord:
    given = {"source": "actor-0.5e55", "level": "INFO", "logger": "actor.service", "event": "done"} | others
    return LogRecord(number=number, time_ns=NOON_NS, **given)


def text(number: int, **others) -> bytes:
    return encode_line(line_of(record(number, **others))) + b"\n"


def numbers(path: Path, **how) -> list[int | None]:
    return [line.number for line in read_log_lines(path, **how)]


# One line


def test_a_record_comes_back_from_its_line():
    line = decode_line(encode_line(line_of(record(host="north", fields={"unit": 12}, error="Traceback"))))
    assert (line.service, line.instance, line.host, line.source) == ("actor-0", "5e55", "north", "actor-0.5e55")
    assert (line.severity, line.severity_number, line.event, line.body) == ("INFO", 9, "done", "done")
    assert (line.logger, line.number, line.error, line.fields) == ("actor.service", 7, "Traceback", {"unit": 12})
    assert line.time == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)


@pytest.mark.parametrize(
    ("level", "number"), [("DEBUG", 5), ("INFO", 9), ("WARNING", 13), ("ERROR", 17), ("CRITICAL", 21)]
)
def test_each_level_has_opentelemetrys_number(level, number):
    assert line_of(record(level=level)).severity_number == number


def test_what_is_not_known_is_left_out():
    written = json.loads(encode_line(line_of(record(source="alone"))))
    assert written["Resource"] == {"service.name": "alone"}
    assert written["Attributes"] == {"log.record.number": 7}


def test_a_source_is_a_name_and_a_session():
    assert service_and_instance("a.b.5e55") == ("a.b", "5e55")
    assert service_and_instance("alone") == ("alone", "")


def test_a_line_of_the_version_before_is_read_as_one_of_ours():
    line = decode_line(json.dumps(OLD).encode())
    assert (line.service, line.source, line.number, line.severity_number) == ("actor-0", "actor-0.5e55", 3, 13)
    assert (line.event, line.fields, line.error) == ("game rejected", {"game": 7}, "Traceback")
    assert decode_line(encode_line(line)) == line


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'"x"',
        b"\xff",
        b"[" * 10**5,
        b'{"x":' * 10**5,
        text(1)[:-9],
        text(1).replace(b"2023", b"xxxx"),
    ],
)
def test_what_is_no_line_is_refused(broken):
    with pytest.raises(ValueError):
        decode_line(broken)


def test_the_line_that_the_documentation_shows_is_one():
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    line = decode_line(shown.encode())
    assert json.loads(encode_line(line)) == json.loads(shown)


# Files


def test_rotated_files_are_read_oldest_first(tmp_path):
    path = tmp_path / "rookery.jsonl"
    for number, name in enumerate(["rookery.jsonl.10", "rookery.jsonl.2", "rookery.jsonl.1", "rookery.jsonl"]):
        (tmp_path / name).write_bytes(text(number))
    (tmp_path / "rookery.jsonl.old").write_bytes(text(99))
    assert numbers(path) == [0, 1, 2, 3]
    assert numbers(path, rotated=False) == [3]
    assert rotated_files(tmp_path / "nowhere.jsonl") == []
    assert numbers(tmp_path / "nowhere.jsonl") == []


def test_a_file_that_is_rotated_while_it_is_read_is_read_to_its_end(tmp_path):
    path = tmp_path / "rookery.jsonl"
    path.with_name("rookery.jsonl.1").write_bytes(text(0))
    path.write_bytes(text(1))
    lines = iter(read_log_lines(path))
    assert next(lines).number == 0
    path.with_name("rookery.jsonl.1").replace(path.with_name("rookery.jsonl.2"))
    path.replace(path.with_name("rookery.jsonl.1"))
    path.write_bytes(text(2))
    assert [line.number for line in lines] == [1]


def test_a_file_that_is_rotated_while_the_others_are_opened_is_not_passed_over(tmp_path, monkeypatch):
    path, first, second = (tmp_path / f"rookery.jsonl{end}" for end in ("", ".1", ".2"))
    first.write_bytes(text(0))
    path.write_bytes(text(1))
    open_path = Path.open

    def open_and_rotate(self, *given, **named):
        file = open_path(self, *given, **named)
        if self == path and not second.exists():
            first.replace(second)
            path.replace(first)
            path.touch()
        return file

    monkeypatch.setattr(Path, "open", open_and_rotate)
    assert numbers(path) == [0, 1]


def test_damaged_lines_are_passed_over_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(log_lines, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "rookery.jsonl"
    path.write_bytes(text(0)[:40] + b"\n" + text(1) + b"{}\n" + b"x" * 5000 + b"\n" + text(2) + text(3)[:-30])
    lines = read_log_lines(path)
    assert [line.number for line in lines] == [1, 2]
    assert lines.damaged == 4


def test_the_last_line_may_lack_its_line_feed(tmp_path):
    path = tmp_path / "rookery.jsonl"
    path.write_bytes(text(0) + text(1)[:-1])
    assert numbers(path) == [0, 1]


def test_lines_may_be_passed_over_unread(tmp_path):
    path = tmp_path / "rookery.jsonl"
    path.write_bytes(text(0) + b"no line\n" + text(1, event="other"))
    lines = read_log_lines(path, where=lambda line: b"other" in line)
    assert ([line.number for line in lines], lines.damaged) == ([1], 0)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_compressed_files_are_read(tmp_path, suffix, pack):
    path = tmp_path / f"rookery.jsonl{suffix}"
    path.write_bytes(pack(text(0)) + pack(text(1)))  # appended to, too
    assert numbers(path) == [0, 1]


def test_a_line_is_as_long_as_the_largest_record_makes():
    record_bytes = 1024 * 1024  # an envelope of the wire, of which each byte may become \\u0001
    assert 6 * record_bytes < log_lines.MAX_LINE_BYTES
    assert isinstance(line_of(record()), LogLine)

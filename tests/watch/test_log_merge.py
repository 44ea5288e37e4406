import random

import pytest

from common.errors import SettingsError
from common.log_lines import decode_line, encode_line, read_log_lines
from tests.watch.log_files import line, written
from watch import log_merge
from watch.log_merge import LogMerge

OLD = b'{"time":"2023-11-14T22:13:21.500Z","level":"INFO","source":"a.1","number":7,"logger":"x","event":"old"}\n'


def merged(*paths, run_bytes=log_merge.RUN_BYTES):
    merge = LogMerge([read_log_lines(path) for path in paths], run_bytes)
    return merge, [decode_line(text) for text in merge]


@pytest.mark.parametrize("run_bytes", [1, 2000, 10**9])
def test_lines_come_in_order_of_time_whatever_order_they_were_written_in(tmp_path, run_bytes):
    lines = [line(number, source=f"actor-{number % 3}.1") for number in range(100)]
    late = lines[50:] + lines[:20]  # collected, and then what had waited for a collector
    shuffled = random.Random(0).sample(lines[20:50], 30)
    _, found = merged(written(tmp_path / "a", late), written(tmp_path / "b", shuffled), run_bytes=run_bytes)
    assert found == lines


@pytest.mark.parametrize("run_bytes", [1, 10**9])
def test_a_record_that_is_in_several_files_comes_once(tmp_path, run_bytes):
    lines = [line(number, at_s=number // 4, source=f"actor-{number % 2}.1") for number in range(20)]
    a, b = written(tmp_path / "a", lines[:12]), written(tmp_path / "b", lines[6:])
    merge, found = merged(a, b, a, run_bytes=run_bytes)
    assert sorted(each.number for each in found) == list(range(20))
    assert merge.duplicates == 18


def test_the_same_number_of_another_session_is_another_record(tmp_path):
    lines = [line(0, source="a.1"), line(0, source="a.2"), line(0, source="b.1")]
    assert len(merged(written(tmp_path / "a", lines))[1]) == 3


def test_damaged_lines_are_left_out_and_counted(tmp_path):
    path = written(tmp_path / "a", [line(0), line(1)])
    path.write_bytes(path.read_bytes() + b"{}\n" + path.read_bytes()[:50])
    merge, found = merged(path)
    assert ([each.number for each in found], merge.damaged) == ([0, 1], 2)


def test_lines_of_the_version_before_are_renewed(tmp_path):
    path = written(tmp_path / "a", [line(1), line(2)])
    (tmp_path / "b").write_bytes(OLD)
    _, found = merged(path, tmp_path / "b")
    assert [each.event for each in found] == ["said", "old", "said"]
    assert b"Timestamp" in encode_line(found[1])


def test_no_room_for_what_is_put_aside_is_told_in_one_line(tmp_path, monkeypatch):
    def full(entries):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_merge._Run, "add", lambda self, entries: full(entries))
    with pytest.raises(SettingsError, match="No space left on device; make room there or set TMPDIR"):
        merged(written(tmp_path / "a", [line(0)]), run_bytes=1)

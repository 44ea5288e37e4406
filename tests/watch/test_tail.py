import os
from pathlib import Path

from watch import tail
from watch.tail import Tail, lines_with


def everything(found: Tail) -> list[bytes]:
    lines: list[bytes] = []
    while more := found.read():
        lines += more
    return lines


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def test_lines_come_once_and_a_half_line_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    found = Tail(path, history_bytes=0)
    assert everything(found) == []  # there is no file yet
    append(path, b"one\ntwo\nthr")
    assert everything(found) == [b"one", b"two"]
    append(path, b"ee\n\n")
    assert everything(found) == [b"three"]
    assert everything(found) == []
    found.close()


def test_it_begins_with_the_last_bytes_over_rotated_files_at_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    (tmp_path / "log.2").write_bytes(b"a1\na2\n")
    (tmp_path / "log.1").write_bytes(b"b1\nb2\n")
    path.write_bytes(b"c1\nc2\n")
    assert everything(Tail(path, history_bytes=1000)) == [b"a1", b"a2", b"b1", b"b2", b"c1", b"c2"]
    assert everything(Tail(path, history_bytes=8)) == [b"c1", b"c2"]  # b2 is not there whole
    assert everything(Tail(path, history_bytes=9)) == [b"b2", b"c1", b"c2"]
    assert everything(Tail(path, history_bytes=0)) == []


def test_rotations_between_two_looks_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    found = Tail(path, history_bytes=100)
    assert everything(found) == [b"one"]
    append(path, b"two\n")
    for content in (b"three\n", b"four\n"):
        for number in (1, 0):
            old = tmp_path / f"log.{number}" if number else path
            if old.exists():
                old.rename(tmp_path / f"log.{number + 1}")
        path.write_bytes(content)
    assert everything(found) == [b"two", b"three", b"four"]
    append(path, b"five\n")
    assert everything(found) == [b"five"]
    found.close()


def test_a_rotation_while_the_history_is_read_skips_no_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    (tmp_path / "log.1").write_bytes(b"one\n")
    path.write_bytes(b"two\n")
    found = Tail(path, history_bytes=1000)
    (tmp_path / "log.1").unlink()
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"three\n")
    assert everything(found) == [b"one", b"two", b"three"]
    found.close()


def test_lines_as_long_as_log_lines_may_be_are_read_and_a_cut_one_at_the_start_is_not_counted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"cut off here\n" + b"x" * 3_000_000 + b"\n")
    found = Tail(path, history_bytes=3_000_005)
    assert [len(text) for text in everything(found)] == [3_000_000]
    assert found.skipped == 0
    found.close()


def test_a_truncated_file_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nhal")
    found = Tail(path, history_bytes=100)
    assert everything(found) == [b"one", b"two"]
    os.truncate(path, 0)
    append(path, b"new\n")
    assert everything(found) == [b"new"]
    found.close()


def test_a_line_that_is_too_long_is_passed_over_in_bounded_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tail, "CHUNK_BYTES", 10)
    monkeypatch.setattr(tail, "MAX_LINE_BYTES", 20)
    path = tmp_path / "log"
    path.write_bytes(b"short\n" + b"x" * 1000 + b"\nafter\n")
    found = Tail(path, history_bytes=10_000)
    assert everything(found) == [b"short", b"after"]
    assert found.skipped == 1
    assert len(found._half) <= 30
    found.close()


def test_lines_that_hold_a_word_are_found_in_all_rotated_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tail, "CHUNK_BYTES", 7)
    path = tmp_path / "log"
    (tmp_path / "log.1").write_bytes(b"word 1\nno\n")
    path.write_bytes(b"no\nlong before word 2\nword half")
    assert list(lines_with(path, b"word")) == [b"word 1", b"long before word 2"]
    assert list(lines_with(tmp_path / "none", b"word")) == []

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from common.messages import Status
from tests.until import until
from tests.watch import statuses
from tests.watch.log_files import line, written
from watch import observer
from watch.observer import Observer


class Link:
    """A link to a broker that always answers."""

    def status(self, timeout_s: float) -> Status:
        del timeout_s
        return statuses.status()

    def command(self, action: str, names: Sequence[str], timeout_s: float) -> tuple[list[str], list[str]]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_the_status_comes_before_the_log_files_are_read_and_the_end_while_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(path: Path, word: bytes) -> Iterator[list[bytes]]:
        del path, word
        while True:
            yield []

    monkeypatch.setattr(observer, "chunks_with", endless)
    with Observer(tmp_path, Link) as observed:
        until(lambda: observed.snapshot().status is not None)
    assert not observed._thread.is_alive()


def test_a_fault_in_one_line_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "logs" / "rookery.jsonl", [line(number) for number in range(3)])
    observed = Observer(tmp_path, Link)
    real = observed.records.take

    def take(found: object, text: bytes) -> object:
        if b"said" in text and not len(observed.records):
            monkeypatch.setattr(observed.records, "take", real)
            raise RuntimeError("a fault")
        return real(found, text)

    monkeypatch.setattr(observed.records, "take", take)
    with observed:
        until(lambda: len(observed.records) == 2)
    assert "what is new can't be taken" in caplog.text


def test_lines_that_are_too_long_are_counted_as_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watch.tail.MAX_LINE_BYTES", 1000)
    path = written(tmp_path / "logs" / "rookery.jsonl", [line(0, fields={"long": "x" * 2000}), line(1)])
    with path.open("ab") as file:
        file.write(b"no record\n")
    with Observer(tmp_path, Link) as observed:
        until(lambda: observed.stats().damaged == 2)
        assert len(observed.records) == 1

"""Locks of real processes: each is a child that takes the lock as a learner does, and does what it is told."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import RunDirectoryError
from learner.lock import CLAIM_FILE, LOCK_FILE, DirectoryLock, claimant
from tests.deploy.runs import wait_until

HOLDS = """
import signal, sys
from pathlib import Path
from learner.lock import DirectoryLock
from common.errors import RunDirectoryError
try:
    with DirectoryLock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except RunDirectoryError as error:
    print(error, flush=True)
"""


@contextmanager
def learner(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that takes the lock, says so, and lets go when a line comes."""
    command = [sys.executable, "-c", HOLDS, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def signed(directory: Path, process: subprocess.Popen[str]) -> bool:
    file = directory / CLAIM_FILE
    return file.exists() and file.read_text() == f"{process.pid}\n"


def test_a_second_learner_claims_the_directory_and_has_it_once_the_first_lets_go(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "agent")
    assert claimant(tmp_path / "agent") is None
    with learner(tmp_path / "agent") as second:
        wait_until(lambda: claimant(tmp_path / "agent") == str(second.pid), "the claim")
        lock.close()
        assert told(second) == "held"
        assert claimant(tmp_path / "agent") is None
        assert (tmp_path / "agent" / LOCK_FILE).read_text() == f"{second.pid}\n"
    DirectoryLock(tmp_path / "agent").close()


def test_of_two_that_wait_the_older_gives_up(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with learner(tmp_path) as second:
        wait_until(lambda: signed(tmp_path, second), "the second's claim")
        with learner(tmp_path) as third:
            assert told(second) == (
                f"{tmp_path}: another learner (process {third.pid}) was started for this agent; it goes on"
            )
            wait_until(lambda: claimant(tmp_path) == str(third.pid), "the third's claim")
            lock.close()
            assert told(third) == "held"


def test_a_claim_dies_with_its_process(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path), learner(tmp_path) as second:
        wait_until(lambda: claimant(tmp_path) == str(second.pid), "the claim")
        second.kill()
        second.wait()
        assert signed(tmp_path, second)
        assert claimant(tmp_path) is None


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    with learner(tmp_path) as first:
        assert told(first) == "held"
        first.kill()
    DirectoryLock(tmp_path).close()


def test_a_frozen_learner_is_named_and_keeps_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.lock.TAKEOVER_S", 0.2)
    with learner(tmp_path) as first:
        assert told(first) == "held"
        first.send_signal(signal.SIGSTOP)
        says = (
            rf"^{tmp_path}: another learner \(process {first.pid}\) is at work here and has not let go within "
            rf"0.2 s; end it \(kill {first.pid}, or kill -9 {first.pid} where it hangs\), "
            r"then start this one again$"
        )
        with pytest.raises(RunDirectoryError, match=says):
            DirectoryLock(tmp_path)
        assert claimant(tmp_path) is None  # nobody waits any more: the frozen one goes on
        first.send_signal(signal.SIGCONT)
        let_go(first)
        first.wait()
    DirectoryLock(tmp_path).close()


def test_a_lock_holds_within_one_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.lock.TAKEOVER_S", 0.0)
    told = rf"another learner \(process {os.getpid()}\)"
    with DirectoryLock(tmp_path), pytest.raises(RunDirectoryError, match=told):
        DirectoryLock(tmp_path)

"""A cluster of three NATS servers may lose one, or all for a while: every unit is stored once all the same."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.torture import nats_partition, nats_strikes, slow_disk
from tests.torture.outcome import Setting

WRITER = """
import os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def took_s(delay_ms, file):
    (folder / "delay_ms").write_text(str(delay_ms))
    begun_s = time.monotonic()
    for _ in range(5):
        os.write(file, b"x")
    os.pwrite(file, b"x", 0)
    os.fsync(file)
    return time.monotonic() - begun_s
inside = os.open(folder / "inside", os.O_CREAT | os.O_WRONLY)
beside = os.open(folder.parent / "beside", os.O_CREAT | os.O_WRONLY)
print(took_s(0, inside), took_s(30, inside), took_s(30, beside))
"""


@pytest.mark.long
@pytest.mark.usefixtures("nats_server_binary")
def test_a_run_survives_its_servers(tmp_path: Path, base_port: int, stockfish: str) -> None:
    setting = Setting(seed=1, short=True, folder=tmp_path, base_port=base_port, say=print)
    (outcome,) = nats_strikes.run(setting)
    assert outcome.failures == []
    assert outcome.passed
    assert (outcome.stored, outcome.weights_identical) == (outcome.expected, True)
    assert outcome.faults >= 2


@pytest.mark.long
@pytest.mark.usefixtures("nats_server_binary")
def test_a_run_survives_that_its_broker_is_cut_off_with_one_server(
    tmp_path: Path, base_port: int, stockfish: str
) -> None:
    setting = Setting(seed=1, short=True, folder=tmp_path, base_port=base_port, say=print)
    (outcome,) = nats_partition.run(setting)
    assert outcome.failures == []
    assert outcome.passed
    assert (outcome.stored, outcome.weights_identical) == (outcome.expected, True)
    assert outcome.faults == 1


@pytest.mark.skipif(not slow_disk.can_be_slowed(), reason="no disk can be slowed down on this machine")
def test_a_slow_disk_is_slow_for_its_own_files_and_only_while_it_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    begun_s = time.monotonic()
    ended = subprocess.run(
        [sys.executable, slow_disk.__file__, str(disk), sys.executable, "-c", WRITER, str(disk)],
        capture_output=True, text=True, timeout=60.0, check=True,
    )  # fmt: skip
    fast_s, slow_s, beside_s = map(float, ended.stdout.split())
    assert slow_s >= 7 * 0.03
    assert time.monotonic() - begun_s >= slow_s > 3 * max(fast_s, beside_s)
    assert (disk / "inside").read_bytes() == b"x" * 10

"""Broker, learners and whatever else a part starts, as processes of their own with one settings file."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from common.security import reach_as_operator
from common.settings import Settings, to_toml
from learner.directory import AgentDirectory
from tests.deploy.runs import COMMANDS, ROOT


class Services:
    """Processes that share a settings file. Leaving it leaves none behind, engines included."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.transport = reach_as_operator(settings)
        self.settings_file = folder / "rookery.toml"
        self._started: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.settings_file.write_text(to_toml(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for started in self._started:
            _kill_family(started)

    def service(self, kind: str, *arguments: str, name: str | None = None) -> psutil.Process:
        """Start `rookery-KIND` with the settings; its log lines go to a file."""
        command = [str(COMMANDS / f"rookery-{kind}"), "--settings", str(self.settings_file), *arguments]
        return psutil.Process(self._start(name or kind, command).pid)

    def module(self, module: str, *arguments: str, name: str) -> subprocess.Popen[bytes]:
        """Start a module of the tests, with pipes to its standard input and output."""
        return self._start(name, [sys.executable, "-m", module, *arguments], pipes=True)

    def log_of(self, name: str) -> str:
        """Return what a process has written to its standard error."""
        return (self.folder / f"{name}.stderr").read_text(errors="replace")

    def _start(self, name: str, command: list[str], *, pipes: bool = False) -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("ROOKERY_")}
        pipe = subprocess.PIPE if pipes else subprocess.DEVNULL
        with (self.folder / f"{name}.stderr").open("ab") as stderr:
            started = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=stderr, start_new_session=True, cwd=ROOT,
                env={**inherited, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        self._started.append(started)
        return started


class Usage:
    """What a process uses, from the making of this on."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._begun_s, self._cpu_s = time.monotonic(), _cpu_s(process)

    @property
    def cpu_share(self) -> float:
        """Share of one core since then."""
        return (_cpu_s(self._process) - self._cpu_s) / max(1e-3, time.monotonic() - self._begun_s)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def rss_of(process: psutil.Process) -> int:
    """Return a process's resident memory, bytes."""
    return int(process.memory_info().rss)


def slope_of(samples: Mapping[float, float]) -> float:
    """Return by how much a figure grows a second, by least squares over {seconds: figure}."""
    count = len(samples)
    if count < 2:
        return 0.0
    mean_s, mean = sum(samples) / count, sum(samples.values()) / count
    spread = sum((at_s - mean_s) ** 2 for at_s in samples)
    return sum((at_s - mean_s) * (value - mean) for at_s, value in samples.items()) / spread


def stored_units(settings: Settings, agent: str) -> list[int]:
    """Return the numbers of the units in an agent's store."""
    path = AgentDirectory.of(settings.directory, agent).experience
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [number for (number,) in database.execute("SELECT unit FROM units")]


def _kill_family(started: subprocess.Popen[bytes]) -> None:
    try:
        family = psutil.Process(started.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    started.kill()
    started.wait()
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass
    for pipe in (started.stdin, started.stdout):
        if pipe is not None:
            pipe.close()

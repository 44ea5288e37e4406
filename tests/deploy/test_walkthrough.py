"""The walk-through of docs/operations.md, typed command by command on two hosts (network namespaces)."""

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil
import pytest

from common.messages import Interval
from common.settings import DEFAULT_AGENTS
from learner.directory import AgentDirectory
from learner.metrics import read_metrics
from learner.store import ExperienceReader
from tests.deploy.hosts import Host, NoHosts, hosts, join
from tests.deploy.runs import COMMANDS, PATIENCE_S, SAMPLE
from tests.deploy.walkthrough import Step, first_missing, settings_text, steps

ADDRESSES = {"train1": "192.0.2.1", "actor1": "192.0.2.2"}
GAMES, GAMES_PER_UNIT = 90, 2
UNITS = GAMES // GAMES_PER_UNIT
SMALL = {
    "ROOKERY_LIMIT_GAMES": str(GAMES),
    "ROOKERY_GAMES_PER_UNIT": str(GAMES_PER_UNIT),
    "ROOKERY_NETWORK": "table",
    "ROOKERY_NODES": "2500",
    "ROOKERY_HELD_OUT": "0",
}
"""A run that outlasts the upgrade, and not by much."""
SKIPPED = ("pip ", "apt-get ")
ASKED_AGAIN = ("rookery status ", "curl ")
"""Commands that are typed again until they print what is expected."""
STAND_INS = {
    "ssh": 'cd "$HOSTS/$1" && shift && exec "$@"',
    "scp": 'shift; last="${@: -1}"; exec cp -p "${@:1:$#-1}" "$HOSTS/${last%%:*}/${last#*:}"',
}
"""The hosts have one file system, a directory each."""


class Shell:
    """A shell on a host, in its directory, with its name. Leaving it leaves no process on the host."""

    def __init__(self, name: str, host: Host, homes: Path) -> None:
        self._host, self._home, self._mark = host, homes / name, uuid.uuid4().hex
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROOKERY_")}
        path = f"{homes / 'bin'}:{COMMANDS}:{os.environ['PATH']}:/usr/games"
        self._process = subprocess.Popen(
            [host.ip, "netns", "exec", host.namespace, "unshare", "--uts",
             "bash", "-c", f"hostname {name} && exec bash --noprofile --norc"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=homes / name,
            env={**inherited, **SMALL, "PATH": path, "HOSTS": str(homes), "COLUMNS": "160", "NO_COLOR": "1"},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        while processes := self._processes():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=1.0)
            self._process.poll()
        self._process.wait()

    def _processes(self) -> list[psutil.Process]:
        """Return all living processes of the host."""
        command = [self._host.ip, "netns", "pids", self._host.namespace]
        pids = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return [process for process in psutil.process_iter() if str(process.pid) in pids]

    def said(self) -> str:
        """Return the last that each service of the host has said on standard error."""
        files = sorted(self._home.glob("*.err"))
        return "\n".join(f"{file.name}: ...{file.read_text()[-800:]}" for file in files)

    def type(self, command: str) -> tuple[int, str]:
        """Type a command; return its exit code and what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {self._mark} $?\n")
        self._process.stdin.flush()
        output = []
        for line in self._process.stdout:
            if line.startswith(self._mark):
                return int(line.split()[1]), "".join(output)
            output.append(line)
        raise AssertionError(f"the shell has ended: {output}")


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    """The hosts' directories, with all that the walk-through takes for there."""
    for name in (*ADDRESSES, "bin"):
        (tmp_path / name).mkdir()
    for name, script in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    shutil.copy(SAMPLE, tmp_path / "train1" / "games.pgn.zst")
    (tmp_path / "train1" / "rookery.toml").write_text(settings_text())
    return tmp_path


@pytest.fixture
def shells(homes: Path, stockfish: str) -> Iterator[dict[str, Shell]]:
    """A shell on each host, by name."""
    del stockfish
    try:
        with hosts(*ADDRESSES.values()) as made, ExitStack() as stack:
            join(*made)
            yield {
                name: stack.enter_context(Shell(name, host, homes))
                for name, host in zip(ADDRESSES, made, strict=True)
            }
    except NoHosts as reason:
        pytest.skip(str(reason))


def follow(step: Step, shell: Shell) -> None:
    """Type a step's command, again and again where that is due, until it prints what it should."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        code, output = shell.type(step.command)
        missing = first_missing(step.expected, output)
        if code == 0 and missing is None:
            return
        again = step.command.startswith(ASKED_AGAIN) and time.monotonic() < end_s
        assert again, (
            f"{step.host}$ {step.command}\nexit code {code}, missing {missing!r}:\n{output}\n{shell.said()}"
        )
        time.sleep(0.2)


@pytest.mark.slow
def test_the_walk_through_leads_to_trained_agents_without_losing_work(
    homes: Path, shells: dict[str, Shell]
) -> None:
    for step in steps():
        if not step.command.startswith(SKIPPED):
            follow(step, shells[step.host])

    run = homes / "train1" / "run"
    for agent in DEFAULT_AGENTS:
        files = AgentDirectory.of(run, agent.name)
        with ExperienceReader(files.experience, agent) as store:
            assert store.intervals() == [Interval(0, UNITS - 1)]
            assert store.totals().games_read == GAMES
        assert files.weights.exists()
        assert read_metrics(files.metrics)[-1].last_unit == UNITS - 1
    page = (homes / "train1" / "report.html").read_text("utf-8")
    assert f"{GAMES} games: every game learned from exactly once; accounting closed" in page
    for errors in homes.glob("*/*.err"):
        assert "Traceback" not in errors.read_text(), errors

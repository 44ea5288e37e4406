"""Whole pipelines as a person runs them: `rookery up` and the services alone as processes of their own."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from common.errors import BrokerUnreachable
from common.links import Transport
from common.messages import Status
from common.security import reach_as_operator
from common.settings import Settings
from deploy.report import Report, read_report

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "samples" / "games.pgn.zst"
COMMANDS = Path(sys.executable).parent
"""Where `rookery`, `rookery-broker` and the others are installed."""

PATIENCE_S = 90.0
"""For anything that takes seconds on an idle machine."""
POLL_S = 0.02
_MARK = "NEST"


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until `condition` holds; fail, saying `what` never happened, after `timeout_s`."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(POLL_S)


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, collected by its parent or not."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error; fails if there is another number of lines, or a traceback."""
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


class Started:
    """A command as a process in a session of its own. Leaving it leaves nothing behind.

    All that it starts, wherever that ends up, inherits a mark in the environment by which it is found.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._mark = uuid.uuid4().hex
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROOKERY_")}
        self.process = subprocess.Popen(
            [str(COMMANDS / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env={**inherited, "NO_COLOR": "1", **(environment or {}), _MARK: self._mark},
            cwd=folder,
        )
        self._stdin = stdin
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while alive := self.processes():
            for process in alive:
                process.kill()
            psutil.wait_procs(alive, timeout=1.0)
            self.process.poll()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def end(self, timeout_s: float = PATIENCE_S) -> Ended:
        """Wait for the end."""
        out, err = self.process.communicate(self._stdin, timeout=timeout_s)
        return Ended(self.process.returncode, (self._read + out).decode(), err.decode())

    def wait_for_line(self, line: str) -> None:
        """Wait until the command prints this line."""
        assert self.process.stdout is not None
        while read := self.process.stdout.readline():
            self._read += read
            if read.decode().rstrip() == line:
                return
        raise AssertionError(f"{line!r} never came: {self.end()}")

    def processes(self) -> list[psutil.Process]:
        """Return all living processes that come from this one, itself included."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def service(self, *words: str) -> psutil.Process:
        """Return the one living process that has all these words on its command line."""
        found = [process for process in self.processes() if set(words) <= set(process.cmdline())]
        assert len(found) == 1, f"{words}: {found}"
        return found[0]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.environ().get(_MARK) == self._mark:
                return process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
        return False


class Run(Started):
    """`rookery up` on one run directory."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        base_port: int = 0,
        games: Sequence[str | Path] = (SAMPLE,),
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        ports = ("--base-port", str(base_port)) if base_port else ()
        command = ("rookery", "up", *map(str, games), "--run", str(directory), *ports, *arguments)
        super().__init__(command, stdin=stdin, environment=environment)
        transport = command[command.index("--transport") + 1] if "--transport" in command else "zmq"
        self._broker = broker_at(base_port, transport)

    def status(self) -> Status | None:
        """Ask the broker; None where it doesn't answer (yet)."""
        return ask(self._broker)

    def wait_for(self, condition: Callable[[Status], bool], what: str) -> Status:
        """Wait until the broker's status is as wanted, and return it; fail if the run ends before."""
        return wait_for_status(self._broker, condition, what, lambda: self.process.poll() is None)


def broker_at(base_port: int, transport: str = "zmq") -> Transport:
    """Return the way to a broker on this host, in the clear."""
    return reach_as_operator(Settings(base_port=base_port, transport=transport))


def ask(broker: Transport, timeout_s: float = 1.0) -> Status | None:
    """Return the broker's status; None where no broker answers."""
    link = broker.operator()
    try:
        return link.status(timeout_s)
    except BrokerUnreachable:
        return None
    finally:
        link.close()


def wait_for_status(
    broker: Transport,
    condition: Callable[[Status], bool],
    what: str,
    alive: Callable[[], bool] = lambda: True,
    timeout_s: float = PATIENCE_S,
) -> Status:
    """Wait until a broker's status is as wanted, and return it."""
    link = broker.operator()
    end_s = time.monotonic() + timeout_s
    last = None
    try:
        while True:
            try:
                last = link.status(0.5)
                if condition(last):
                    return last
            except BrokerUnreachable:
                pass
            assert alive(), f"the run ended before {what}"
            assert time.monotonic() < end_s, f"not within {timeout_s:.0f} s: {what}; {last}"
            time.sleep(POLL_S)
    finally:
        link.close()


def report_of(directory: Path) -> Report:
    """Return the report of a run."""
    report = read_report(directory / "report.json")
    assert report is not None, f"no report in {directory}"
    return report


def weights_of(directory: Path) -> dict[str, str]:
    """Return the digest of the final weights of each agent."""
    return {agent.name: agent.weights_sha256 or "none" for agent in report_of(directory).agents}


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """Keep a process from running meanwhile."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        if process.is_running():
            process.send_signal(signal.SIGCONT)

"""Starting services as processes, starting them again when they die, and stopping them in order."""

import logging
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import psutil

from common.errors import OperatorError, RookeryError, RunDirectoryError, TrainingError

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
QUICK_DEATH_S = 20.0
"""A service that dies sooner than this after its start has died quickly."""
QUICK_DEATHS_MAX = 5
POLL_S = 0.05
FINAL: dict[int, type[RookeryError]] = {error.exit_code: error for error in (OperatorError, TrainingError)}
"""What a new start would only repeat, by exit code: the operator must act, or the training broke down."""


class ServiceGaveUp(RookeryError):
    """A service died quickly again and again."""


class Child(subprocess.Popen[bytes]):
    """A process that knows, once it has been seen to end, what it took: it and all that it has waited for.

    The system says what all children together took, and they end one by one: so nobody else may wait for one
    meanwhile, in another thread.
    """

    cpu_s: float = 0.0
    """Processor seconds; 0 while it runs."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._seen(super().poll)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code; raises TimeoutExpired."""
        return self._seen(lambda: super(Child, self).wait(timeout))

    def _seen(self, look: Callable[[], T]) -> T:
        if self.returncode is not None:
            return look()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = look()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return found


@dataclass(slots=True)
class Supervised:
    """One service: how to start it, and how it fares."""

    name: str
    module: str
    arguments: Sequence[str]
    stderr: Path
    """Everything that it prints is appended here."""
    may_end: bool = False
    """Whether it stays down when it has ended with exit code 0: an actor that was drained."""
    optional: bool = False
    """Whether the others go on without it when starting it again is no use: a dashboard."""
    process: Child | None = None
    started_s: float = 0.0
    printed_before: int = 0
    """Size of `stderr` when the process was started."""
    quick_deaths: int = 0
    """Quick deaths in a row."""
    restarts: int = 0
    start_at_s: float = 0.0
    last_death: str = ""
    """How the process before this one ended."""
    done: bool = False
    """True once it has ended for good."""
    buried_cpu_s: float = 0.0
    """Processor seconds of the processes before this one."""

    @property
    def cpu_s(self) -> float:
        """Processor seconds of its processes that have ended, with all that they have waited for."""
        return self.buried_cpu_s + (self.process.cpu_s if self.process is not None else 0.0)


class Supervisor:
    """Runs services. Call `check` often; leave with `stop` and `kill`.

    Each service is in a session of its own, so that a Ctrl-C reaches only us, and has no ROOKERY_ variables:
    its settings file says it all. It is told to drain when we die.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        *,
        longest_pause_s: float = LONGEST_PAUSE_S,
        quick_deaths_max: int = QUICK_DEATHS_MAX,
    ) -> None:
        self.services: list[Supervised] = []
        self._clock, self._jitter = clock, jitter
        self._longest_pause_s, self._quick_deaths_max = longest_pause_s, quick_deaths_max

    def add(self, service: Supervised) -> None:
        """Start a service and look after it from now on."""
        self.services.append(service)
        self._start(service)

    @property
    def restarts(self) -> int:
        """Restarts of all services together."""
        return sum(service.restarts for service in self.services)

    def check(self) -> list[Supervised]:
        """Start again what has died, after a pause that grows with each quick death; return what was started.

        Raises ServiceGaveUp when a service dies quickly again and again, and what FINAL says when a new start
        is no use; both with the last line that it wrote.
        """
        started = []
        for service in self.services:
            if service.done:
                continue
            if service.process is None:
                if self._clock() >= service.start_at_s:
                    self._start(service)
                    service.restarts += 1
                    started.append(service)
            elif (code := service.process.poll()) is not None:
                self._bury(service, code)
        return started

    def stop(self, names: Callable[[str], bool], timeout_s: float, give_up: Callable[[], bool]) -> None:
        """Ask the services whose name is chosen to drain, and wait; kill what stays after `timeout_s`.

        `give_up` is asked again and again; once it says yes, they are killed at once.
        """
        chosen = [service for service in self.services if names(service.name)]
        processes = [service.process for service in chosen if service.process is not None]
        for service in chosen:
            service.done = True
        for process in processes:
            process.send_signal(signal.SIGTERM)  # does nothing to one that has ended
        end_s = self._clock() + timeout_s
        while any(process.poll() is None for process in processes):
            if give_up() or self._clock() > end_s:
                for process in processes:
                    _kill(process)
            _wait(processes, POLL_S)

    def kill(self) -> None:
        """End everything at once, engines included."""
        for service in self.services:
            if service.process is not None:
                _kill(service.process)

    def _start(self, service: Supervised) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ROOKERY_")}
        tether = (sys.executable, "-P", "-m", "deploy.tether", str(os.getpid()))
        with _opened(service.stderr) as stderr:
            service.printed_before = stderr.tell()
            service.process = Child(
                [*tether, service.module, *service.arguments],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
                env=environment,
            )
        service.started_s = self._clock()

    def _bury(self, service: Supervised, code: int) -> None:
        service.buried_cpu_s = service.cpu_s
        service.process = None
        service.last_death = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        log.warning("service ended", extra={"service": service.name, "why": service.last_death})
        if code == 0 and service.may_end:
            service.done = True
            return
        if service.optional and (code in FINAL or service.quick_deaths + 1 >= self._quick_deaths_max):
            service.done = True
            return
        if code in FINAL:
            raise FINAL[code](f"{service.name}: {_last_line(service) or service.last_death}")
        quick = self._clock() - service.started_s < QUICK_DEATH_S
        service.quick_deaths = service.quick_deaths + 1 if quick else 1
        if service.quick_deaths >= self._quick_deaths_max:
            raise ServiceGaveUp(
                f"{service.name} died {service.quick_deaths} times in a row, last with {service.last_death}: "
                f"{_last_line(service) or 'it wrote nothing'} (see {service.stderr})"
            )
        pause_s = min(self._longest_pause_s, FIRST_PAUSE_S * 2.0 ** (service.quick_deaths - 1))
        service.start_at_s = self._clock() + pause_s * (0.5 + 0.5 * self._jitter())


def _opened(path: Path) -> BinaryIO:
    """Open a file to be appended to, made where it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise RunDirectoryError(f"{path}: can't be written: {error.strerror}") from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a service that still runs, and what it has started: an engine is in a session of its own."""
    if process.poll() is not None:
        return
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.wait()
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            pass


def _wait(processes: Sequence[subprocess.Popen[bytes]], timeout_s: float) -> None:
    """Wait until the first process that still runs ends, or the time is over."""
    alive = next((process for process in processes if process.poll() is None), None)
    if alive is not None:
        try:
            alive.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass


def _last_line(service: Supervised) -> str:
    """Return the last line that the service has printed since its start, without its program's name."""
    try:
        with service.stderr.open("rb") as file:
            file.seek(service.printed_before)
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return re.sub(r"^rookery-[a-z]+: ", "", lines[-1]) if lines else ""

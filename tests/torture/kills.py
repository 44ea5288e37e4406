"""Kill matrix: a whole run under SIGKILL and SIGSTOP, at random times and at named points of the learner.

It is done on each transport; on NATS, the server of the run is struck as well. The fleet is that of `rookery up`
(deploy.launch), run in this process with a supervisor that starts each learner by way of tests/torture/failing.py.
The beat of its watch is the beat of the injector.
"""

import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import msgspec
import psutil

from broker.sources import fingerprint
from common.errors import OperatorError
from common.messages import Status
from common.nats.server import find_server
from common.security import OWN_SERVER, ZMQ
from common.settings import Settings
from deploy.launch import LocalFleet
from deploy.report import Report, make_report
from deploy.run_directory import RunDirectory
from deploy.supervisor import Supervised, Supervisor
from tests.deploy.runs import ROOT
from tests.torture.failing import FOLDER
from tests.torture.faults import SERVER, Injector, Kind, plan
from tests.torture.outcome import Outcome, Setting
from tests.torture.undisturbed import Undisturbed, audit, games_for, settings_for, undisturbed

MARK = "TORTURE_MARK"
PATIENCE_S = 300.0
"""Longest time without any progress before the harness gives up."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done."""

    games: int
    games_per_unit: int
    faults: int
    units_ahead: int
    lease_timeout_s: float


# Small units and a small window, so that the run is not over before the faults are.
FULL = Scale(games=3000, games_per_unit=2, faults=100, units_ahead=4, lease_timeout_s=3.0)
SHORT = Scale(games=40, games_per_unit=1, faults=6, units_ahead=2, lease_timeout_s=1.5)


class FailingSupervisor(Supervisor):
    """Starts learners by way of the wrapper that kills them at named points; never gives a service up."""

    def __init__(self) -> None:
        super().__init__(longest_pause_s=1.0, quick_deaths_max=1000)

    def add(self, service: Supervised) -> None:
        if service.module == "learner":
            service.module, service.arguments = "tests.torture.failing", (service.module, *service.arguments)
        super().add(service)


class StruckFleet(LocalFleet):
    """A fleet that is not let go before its last fault is recovered from: no unit waits for the collector."""

    injector: Injector

    @property
    def _finished(self) -> bool:
        return super()._finished and self.injector.settled


@dataclass(slots=True)
class Watch:
    """Takes the place of the progress display: keeps the broker's words and the greatest memory."""

    said: Status | None = None
    """The broker's word since the last beat."""
    notes: list[str] = field(default_factory=list)
    memory_max_bytes: int = 0

    def note(self, line: str) -> None:
        self.notes.append(line)

    def show(self, status: Status, restarts: int) -> None:
        self.said = status


class Torture:
    """One run under faults."""

    def __init__(self, setting: Setting, wanted: Undisturbed, faults: int) -> None:
        self.settings = wanted.settings
        self._setting, self._wanted = setting, wanted
        self._watch = Watch()
        self._fleet: LocalFleet | None = None
        tokens = setting.folder / "tokens"
        tokens.mkdir()
        agents = [agent.name for agent in self.settings.agents]
        self.injector = Injector(
            plan=plan(
                setting.seed, faults, agents, struck_beside_learners(self.settings), self.settings.lease_timeout_s
            ),
            units=wanted.units,
            services=self._service,
            tokens=tokens,
            say=setting.say,
        )
        self._environment = {"PYTHONPATH": str(ROOT), FOLDER: str(tokens), MARK: uuid.uuid4().hex}
        self._progress = (0, time.monotonic())

    @property
    def memory_max_bytes(self) -> int:
        """Greatest resident memory seen of any one service."""
        return self._watch.memory_max_bytes

    @property
    def restarts(self) -> int:
        """Services started again."""
        return self._fleet.supervisor.restarts if self._fleet else 0

    def run(self) -> Report:
        """Run to the end and return the report; raises AssertionError when nothing gets on any more."""
        begun_s = time.monotonic()
        sources = [fingerprint(str(path)) for path in self._wanted.games]
        with environment(self._environment), RunDirectory(self.settings.directory) as directory:
            directory.claim(self.settings, sources)
            self._fleet = StruckFleet(self.settings, directory, self._watch, FailingSupervisor())
            self._fleet.injector = self.injector
            try:
                self._fleet.run(self._beat, self._let_go)
            finally:
                self.injector.thaw_all()
        last = self._fleet.last
        return make_report(
            self.settings,
            sources,
            seconds=time.monotonic() - begun_s,
            games_total=last.games_total if last else None,
            units_total=last.units_total if last else None,
            restarts=self.restarts,
            statuses={agent.name: agent for agent in last.agents} if last else {},
        )

    def left_behind(self) -> list[str]:
        """Return the command lines of processes that outlive the run; they are killed."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self._environment[MARK]:
                    found.append(" ".join(process.cmdline()))
                    process.kill()
            except psutil.Error:
                pass
        return found

    def _service(self, name: str) -> Supervised:
        assert self._fleet is not None
        return next(service for service in self._fleet.supervisor.services if service.name == name)

    def _beat(self) -> bool:
        status, self._watch.said = self._watch.said, None
        self.injector.beat(status)
        self._measure_memory()
        self._check_progress(status)
        return False

    def _let_go(self) -> bool:
        self.injector.thaw_all()
        return False

    def _measure_memory(self) -> None:
        assert self._fleet is not None
        for service in self._fleet.supervisor.services:
            if service.process is not None:
                try:
                    memory = psutil.Process(service.process.pid).memory_info().rss
                except psutil.Error:
                    continue
                self._watch.memory_max_bytes = max(self._watch.memory_max_bytes, memory)

    def _check_progress(self, status: Status | None) -> None:
        done = sum(agent.units_stored + agent.units_trained for agent in status.agents) if status else 0
        furthest, moved_s = self._progress
        if done > furthest:
            self._progress = done, time.monotonic()
        assert time.monotonic() - moved_s < PATIENCE_S, (
            f"no progress for {PATIENCE_S:.0f} s; {self.injector.recovering} {self.injector.armed} {status}"
        )


def run(setting: Setting, transports: Sequence[str] = (ZMQ, OWN_SERVER)) -> list[Outcome]:
    """Run the games undisturbed, then under faults on each transport, and compare."""
    scale = SHORT if setting.short else FULL
    games = games_for(scale.games)
    settings = settings_of(setting, scale, games)
    setting.say(f"{scale.games} games in one process, undisturbed")
    wanted = undisturbed(settings, games, scale.games)
    outcomes = []
    for transport in transports:
        try:
            if transport != ZMQ:
                find_server()
        except OperatorError as error:
            setting.say(f"left out: on NATS: {error}")
            continue
        part = "kills" if transport == ZMQ else "kills: on NATS"
        outcomes.append(_run(setting, wanted, scale, part, transport))
    return outcomes


def _run(setting: Setting, wanted: Undisturbed, scale: Scale, part: str, transport: str) -> Outcome:
    folder = setting.folder / transport
    folder.mkdir()
    settings = msgspec.structs.replace(wanted.settings, run=str(folder / "run"), transport=transport)
    wanted = replace(wanted, settings=settings)
    setting.say(f"{part}: {wanted.units} units; now with {scale.faults} faults")
    torture = Torture(replace(setting, folder=folder), wanted, scale.faults)
    try:
        report = torture.run()
    finally:
        left = torture.left_behind()
    found = audit(settings.directory, wanted, report)
    injector = torture.injector
    failures = [*found.failures, *(f"left behind: {command}" for command in left)]
    if not injector.over:
        failures.append(
            f"not injected {injector.plan}, point not reached {injector.armed}, not recovered {injector.recovering}"
        )
    kinds = Counter(fault.kind for fault in injector.injected)
    return Outcome(
        part=part,
        tries=scale.games,
        unit="games",
        faults=len(injector.injected),
        expected=found.expected,
        stored=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        weights_identical=found.weights_identical,
        memory_max_bytes=torture.memory_max_bytes,
        recovery_s=[took_s for _, took_s in injector.recovered],
        failures=failures,
        figures={
            "killed at random": kinds[Kind.KILL],
            "frozen": kinds[Kind.FREEZE],
            "killed at a named point": kinds[Kind.POINT],
            "started again": torture.restarts,
            "run, s": round(report.seconds, 1),
            **{f"recovery of {role}, s": spread for role, spread in _by_role(injector).items()},
        },
    )


def struck_beside_learners(settings: Settings) -> list[str]:
    """Return the services that are struck beside the learners, those named twice that everybody needs."""
    server = [SERVER, SERVER] if settings.transport == OWN_SERVER else []
    return [*(f"actor-{number}" for number in range(settings.actors)), "broker", "broker", "logs", *server]


def _by_role(injector: Injector) -> dict[str, str]:
    """Return median and worst time to recover of each kind of service."""
    times: dict[str, list[float]] = {}
    for fault, took_s in injector.recovered:
        times.setdefault(fault.service.partition("-")[0], []).append(took_s)
    return {role: f"{median(taken):.1f}/{max(taken):.1f}" for role, taken in sorted(times.items())}


def settings_of(setting: Setting, scale: Scale, games: tuple[Path, ...]) -> Settings:
    """Return the settings of the run: everything small, so that everything happens often."""
    return settings_for(
        games,
        setting.folder / "run",
        limit_games=scale.games,
        games_per_unit=scale.games_per_unit,
        nodes=20,
        samples_per_transition=1.0,
        batch_size=32,
        buffer_size=20_000,
        publish_every=10,
        checkpoint_every=10,
        max_units_ahead=scale.units_ahead,
        lease_timeout_s=scale.lease_timeout_s,
        actors=2,
        base_port=setting.base_port,
        device="cpu",
    )


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started meanwhile."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

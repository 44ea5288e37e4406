"""Faults for a running fleet: a seeded plan of them, and the injector that carries it out, beat by beat."""

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from common.messages import AgentStatus, ServiceStatus, Status
from deploy.supervisor import Supervised
from tests.torture.failing import POINTS, token


class Kind(StrEnum):
    """What is done to a process."""

    KILL = "SIGKILL"
    FREEZE = "SIGSTOP"
    POINT = "SIGKILL at"
    """At a named point of its own code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault: it is injected once the share `at` of all units is trained."""

    at: float
    service: str
    kind: Kind
    point: str = ""
    frozen_s: float = 0.0

    def __str__(self) -> str:
        detail = self.point or (f"for {self.frozen_s:.1f} s" if self.frozen_s else "")
        return f"{self.kind.value} {detail}".strip() + f" of {self.service}"


SERVER = "nats"
"""The service of a run on NATS that says nothing of itself."""
LAST_AT = 0.8
"""Share of the units trained by which the last fault is due."""


def plan(
    seed: int, count: int, agents: Sequence[str], others: Sequence[str], lease_timeout_s: float
) -> list[Fault]:
    """Return `count` faults spread over a run: near half at named points, each as often, the others at random.

    `others` are the services that are struck beside the learners; one that is named twice is struck twice as often.
    Of the freezes, half are shorter and half longer than the lease time-out.
    """
    chance = random.Random(seed)
    points = [(Kind.POINT, f"learner-{agent}", point) for point in POINTS for agent in agents]
    chance.shuffle(points)
    services = [*(f"learner-{agent}" for agent in agents), *others]
    at_random = [(kind, service, "") for kind in (Kind.KILL, Kind.FREEZE) for service in services]
    chance.shuffle(at_random)
    at_points = count * 45 // 100
    chosen = [points[number % len(points)] for number in range(at_points)]
    chosen += [at_random[number % len(at_random)] for number in range(count - at_points)]
    chance.shuffle(chosen)
    faults = []
    for number, (kind, service, point) in enumerate(chosen):
        lengths_s = chance.choice([(0.1, 0.7), (1.2, 2.0)])
        frozen_s = chance.uniform(*lengths_s) * lease_timeout_s if kind is Kind.FREEZE else 0.0
        at = LAST_AT * (number + chance.random()) / count
        faults.append(Fault(at=at, service=service, kind=kind, point=point, frozen_s=frozen_s))
    return sorted(faults, key=lambda fault: fault.at)


@dataclass(slots=True)
class Recovery:
    """A fault that is over, until its service is back and the run has got on."""

    fault: Fault
    ended_s: float
    pid: int
    """Process that was struck."""
    broker: str
    """The broker's session before."""
    progress: int
    """How far the run, or the learner's agent, had come."""


@dataclass(slots=True)
class Injector:
    """Strikes the services of a fleet. `beat` it often, with the broker's last word."""

    plan: list[Fault]
    units: int
    """Units in all."""
    services: Callable[[str], Supervised]
    tokens: Path
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    injected: list[Fault] = field(default_factory=list)
    recovered: list[tuple[Fault, float]] = field(default_factory=list)
    """Each fault that is over, with the seconds that it took to recover."""
    frozen: dict[str, tuple[Fault, int, float]] = field(default_factory=dict)
    """By service: the fault, the process, and when it is to go on."""
    armed: dict[str, tuple[Fault, int]] = field(default_factory=dict)
    """By service: the fault that waits for its point, and the process that it was armed for."""
    recovering: list[Recovery] = field(default_factory=list)
    last: Status | None = None
    _trained: int = 0

    @property
    def over(self) -> bool:
        """Whether every fault was injected and has been recovered from."""
        return not (self.plan or self.frozen or self.armed or self.recovering)

    @property
    def settled(self) -> bool:
        """Whether every fault that has struck has been recovered from."""
        return not (self.frozen or self.recovering)

    def beat(self, status: Status | None) -> None:
        """Go on with the faults that are under way, and inject those that are due; None: no answer came."""
        if status is not None:
            self._recover(status)
            self.last = status
            self._trained = max(self._trained, *(agent.units_trained for agent in status.agents))
        self._thaw()
        self._look_at_points()
        self._inject()

    def thaw_all(self) -> None:
        """Let every frozen process go on."""
        for fault, pid, _ in self.frozen.values():
            self._signal(self.services(fault.service), pid, signal.SIGCONT)
        self.frozen.clear()

    def _inject(self) -> None:
        due = [fault for fault in self.plan if fault.at * self.units <= self._trained]
        for fault in due:
            service = self.services(fault.service)
            process = service.process
            if process is None or process.poll() is not None or self.last is None:
                continue
            if fault.service in self.frozen or fault.service in self.armed:
                continue
            self.plan.remove(fault)
            self.injected.append(fault)
            self.say(f"{len(self.injected)}: {fault} at {self._trained} of {self.units} units")
            match fault.kind:
                case Kind.KILL:
                    process.kill()
                    self._ended(fault, process.pid)
                case Kind.FREEZE:
                    process.send_signal(signal.SIGSTOP)
                    self.frozen[fault.service] = fault, process.pid, self.clock() + fault.frozen_s
                case Kind.POINT:
                    token(self.tokens, fault.service.removeprefix("learner-"), fault.point).touch()
                    self.armed[fault.service] = fault, process.pid

    def _thaw(self) -> None:
        for name, (fault, pid, until_s) in list(self.frozen.items()):
            if self.clock() >= until_s:
                del self.frozen[name]
                self._signal(self.services(name), pid, signal.SIGCONT)
                self._ended(fault, pid)

    def _look_at_points(self) -> None:
        for name, (fault, pid) in list(self.armed.items()):
            if not token(self.tokens, name.removeprefix("learner-"), fault.point).exists():
                del self.armed[name]
                self._ended(fault, pid)

    @staticmethod
    def _signal(service: Supervised, pid: int, number: signal.Signals) -> None:
        if service.process is not None and service.process.pid == pid:
            service.process.send_signal(number)

    def _ended(self, fault: Fault, pid: int) -> None:
        assert self.last is not None
        self.recovering.append(
            Recovery(fault, self.clock(), pid, self.last.broker, _progress(self.last, fault.service))
        )

    def _recover(self, status: Status) -> None:
        for recovery in list(self.recovering):
            took_s = self.clock() - recovery.ended_s
            if self._is_back(recovery, status, took_s) and (
                status.finished or _progress(status, recovery.fault.service) > recovery.progress
            ):
                self.recovering.remove(recovery)
                self.recovered.append((recovery.fault, took_s))
                self.say(f"recovered after {took_s:.1f} s: {recovery.fault}")

    def _is_back(self, recovery: Recovery, status: Status, took_s: float) -> bool:
        name, freeze = recovery.fault.service, recovery.fault.kind is Kind.FREEZE
        process = self.services(name).process
        if name == "broker":
            return freeze or status.broker != recovery.broker
        if name == SERVER:  # that the broker was heard, it has carried
            return freeze or (process is not None and process.pid != recovery.pid)
        entry = _entry(status, name)
        if entry is None or process is None or entry.pid != process.pid:
            return False
        return entry.seen_s < took_s if freeze else entry.pid != recovery.pid


def _entry(status: Status, name: str) -> ServiceStatus | None:
    return next((service for service in status.services if service.name == name), None)


def _progress(status: Status, service: str) -> int:
    """Return a number that grows when the run gets on; for a learner, when its agent does."""
    agents: Sequence[AgentStatus] = [
        agent for agent in status.agents if not service.startswith("learner-") or service == f"learner-{agent.name}"
    ]
    return sum(agent.units_stored + agent.units_trained for agent in agents)

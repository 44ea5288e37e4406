"""The starts of a run: when each began and ended, on what machine, with which software, and what it cost.

`rookery up` writes starts.jsonl: a line when it begins, and one with the same `started` when it ends. So a start
that was killed is known, too, by its missing end; what it cost is not.
"""

import resource
import time
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from common.messages import ServiceStatus, Status
from common.whole_file import append_whole
from deploy.machine import Machine, commit, this_machine


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent.

    Services that `rookery up` starts are counted by what the system says of them once they have ended, with all
    that they have waited for: an actor's engine is counted as the actor's. Not counted: an engine whose actor
    was killed, and starts that were killed themselves. Services on other hosts are counted from what they first
    reported to the broker in a start, since they may outlive one and join the next, to what they last did, which
    may be a second before their end; where services run without `rookery up`, nothing is.
    """

    engine_nodes: int = 0
    """Nodes that engines have searched, as the actors last said."""
    cpu_s: dict[str, float] = {}
    """Processor seconds by role: actor (with its engine), learner, broker, logs, dashboard, up; or sequential, for
    one process.
    """

    @property
    def cpu_total_s(self) -> float:
        """Processor seconds of all roles."""
        return sum(self.cpu_s.values())

    def __add__(self, other: "Cost") -> "Cost":
        roles = sorted({*self.cpu_s, *other.cpu_s})
        return Cost(
            engine_nodes=self.engine_nodes + other.engine_nodes,
            cpu_s={role: round(self.cpu_s.get(role, 0.0) + other.cpu_s.get(role, 0.0), 3) for role in roles},
        )


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start of `rookery up`."""

    started: str
    """UTC, ISO 8601."""
    rookery: str
    commit: str | None = None
    """Of the software, if it is a checkout; with `-dirty` where it was changed since."""
    machine: Machine | None = None
    ended: str | None = None
    """None while it goes on, and for good where it was killed."""
    seconds: float | None = None
    outcome: str = ""
    """finished, stopped, aborted or failed; empty before the end."""
    restarts: int = 0
    """Services started again."""
    cost: Cost | None = None


_decoder = msgspec.json.Decoder(Start)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """What a service has used since it was started itself."""

    engine_nodes: int
    cpu_s: float

    @classmethod
    def of(cls, service: ServiceStatus) -> "_Counts":
        report = service.actor or service.learner
        return cls(
            engine_nodes=service.actor.engine_nodes if service.actor is not None else 0,
            cpu_s=report.cpu_s if report is not None else 0.0,
        )


class Reported:
    """What the services have last reported of themselves to the broker, those that are gone included."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str, int], _Counts] = {}
        self._services: dict[tuple[str, str, int], ServiceStatus] = {}

    def note(self, status: Status) -> None:
        """Take in what the broker says now."""
        for service in status.services:
            if service.actor is not None or service.learner is not None:
                key = service.name, service.host, service.pid
                self._first.setdefault(key, _Counts.of(service))
                self._services[key] = service

    def engine_nodes(self, ours: Container[str]) -> int:
        """Return the nodes that all actors' engines have searched in this start; `ours` names its own actors."""
        return sum(
            _Counts.of(service).engine_nodes - (0 if service.name in ours else self._first[key].engine_nodes)
            for key, service in self._services.items()
        )

    def cpu_s(self, ours: Container[str]) -> dict[str, float]:
        """Return the processor seconds in this start, by role, of all services but `ours`: those on other hosts."""
        took: dict[str, float] = defaultdict(float)
        for key, service in self._services.items():
            if service.name not in ours:
                took[service.role.value] += _Counts.of(service).cpu_s - self._first[key].cpu_s
        return dict(took)


class Recorder:
    """What is told of a start while it goes on; `recorded` writes it down."""

    def __init__(self) -> None:
        self.outcome = "failed"
        self.restarts = 0
        self.cost = Cost()
        self._own_s = _cpu_s(resource.RUSAGE_SELF)
        self._children_s = _cpu_s(resource.RUSAGE_CHILDREN)

    @property
    def own_s(self) -> float:
        """Processor seconds of this process since the start."""
        return _cpu_s(resource.RUSAGE_SELF) - self._own_s

    @property
    def children_s(self) -> float:
        """Processor seconds of its children that have ended since the start."""
        return _cpu_s(resource.RUSAGE_CHILDREN) - self._children_s

    def spent(self, engine_nodes: int, cpu_s: Mapping[str, float]) -> None:
        """Say what was spent in all since the start."""
        self.cost = Cost(engine_nodes=engine_nodes, cpu_s={role: round(took, 3) for role, took in cpu_s.items()})


@contextmanager
def recorded(path: Path) -> Iterator[Recorder]:
    """Write down that a start begins, and in the end what came of it, however it ends.

    A disk that is full keeps no start from being made: it then has no line.
    """
    begun_s = time.monotonic()
    start = Start(started=_now(), rookery=version("rookery"), commit=commit(), machine=this_machine())
    _append(path, start)
    recorder = Recorder()
    try:
        yield recorder
    finally:
        end = msgspec.structs.replace(
            start,
            ended=_now(),
            seconds=round(time.monotonic() - begun_s, 3),
            outcome=recorder.outcome,
            restarts=recorder.restarts,
            cost=recorder.cost,
        )
        _append(path, end)


def read_starts(path: Path) -> list[Start]:
    """Return the starts, the first one first; none where there is no file. A damaged line is left out."""
    found: dict[str, Start] = {}
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                start = _decoder.decode(line)
                found[start.started] = start
    return list(found.values())


def cost_of(starts: Sequence[Start]) -> Cost | None:
    """Return the cost of the starts that have ended; None where it is known of none."""
    known = [start.cost for start in starts if start.cost is not None]
    return sum(known, Cost()) if known else None


def _append(path: Path, start: Start) -> None:
    with suppress(OSError), path.open("ab", buffering=0) as file:
        append_whole(file.fileno(), msgspec.json.encode(start) + b"\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime

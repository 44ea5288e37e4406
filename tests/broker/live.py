"""A real router in a thread, and real links to it."""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.router import Router
from broker.units import RawUnit
from common.errors import OperatorError
from common.intervals import IntervalSet
from common.keys import BrokerKeys, PeerKeys
from common.links import ActorEvent, LearnerEvent
from common.messages import (
    ActorReport,
    ArraySpec,
    BatchHeader,
    Hello,
    Interval,
    LearnerReport,
    RawGame,
    Role,
    StoredUnit,
    StoreTotals,
    WeightsHeader,
    Welcome,
)
from common.ports import Ports
from common.zmq_links import ZmqActorLink, ZmqLearnerLink, hello, new_session

AGENTS = ("white", "black")
IDENTITY = {"nodes": "1000", "reward": '"shaped"'}
PATIENCE_S = 10.0


class FewGames:
    """A reader of `total` units of two games each."""

    def __init__(self, total: int) -> None:
        self.units_total: int | None = None
        self.games_total: int | None = None
        self.games_cut, self.fraction_read, self._total = 0, 0.0, total

    def get(self, unit: int) -> RawUnit | None:
        if unit >= self._total:
            self.units_total, self.games_total, self.fraction_read = self._total, 2 * self._total, 1.0
            return None
        self.games_cut = max(self.games_cut, 2 * (unit + 1))
        return RawUnit(unit=unit, games=(game(2 * unit), game(2 * unit + 1)))


def game(number: int) -> RawGame:
    return RawGame(number=number, source="a.pgn", line=3 * number + 1, text=b"1. e4 { \xe9\x00 } e5 *")


class JumpingClock:
    """The real clock, plus what a test jumps over."""

    def __init__(self) -> None:
        self.jumped_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.jumped_s

    def advance(self, seconds: float) -> None:
        self.jumped_s += seconds


class LiveBroker:
    """Router, dispatcher and feed, running in a thread; a context manager."""

    def __init__(
        self,
        base_port: int,
        *,
        units: int = 8,
        ahead: int = 64,
        lease_s: float = 60.0,
        keys: BrokerKeys | None = None,
    ) -> None:
        self.clock = JumpingClock()
        self.dispatcher = Dispatcher(AGENTS, max_units_ahead=ahead, lease_timeout_s=lease_s, clock=self.clock)
        self.feed = UnitFeed(FewGames(units))
        self.session = new_session()
        self.router = Router(
            ports=Ports("127.0.0.1", base_port), dispatcher=self.dispatcher, feed=self.feed, identity=IDENTITY,
            session=self.session, software="0.1.0", keys=keys, clock=self.clock,
        )  # fmt: skip
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def __enter__(self) -> "LiveBroker":
        until(self._has_ports)
        self.feed.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the router hangs"
        self.feed.__exit__(None, None, None)
        self.router.__exit__(None, None, None)
        assert self.error is None, "the router has ended"

    def _has_ports(self) -> bool:
        try:
            self.router.__enter__()
        except OperatorError:  # a broker before it in this process lets go of them in its own time
            return False
        return True

    def _run(self) -> None:
        try:
            self.router.run(self._stopping.is_set)
        except BaseException as error:
            self.error = error


T = TypeVar("T")


def until(found: Callable[[], T], turn: Callable[[], object] = lambda: time.sleep(0.002)) -> T:
    """Return what `found` returns once it is something, taking turns in between."""
    end_s = time.monotonic() + PATIENCE_S
    while not (value := found()):
        assert time.monotonic() < end_s, "it never came"
        turn()
    return value


class Actor:
    """An actor's link and what came by it."""

    def __init__(
        self,
        base_port: int,
        name: str = "actor-0",
        identity: dict[str, str] = IDENTITY,
        capacity: int = 1,
        keys: PeerKeys | None = None,
    ) -> None:
        self.name, self.session = name, new_session()
        self.link = ZmqActorLink(Ports("127.0.0.1", base_port, keys), name, self.session, identity)
        self.link.capacity(capacity)
        self.events: list[ActorEvent] = []

    def poll(self) -> None:
        self.events += self.link.poll(0.01)

    def wait(self, kind: type[ActorEvent], count: int = 1) -> list[ActorEvent]:
        return until(lambda: found if len(found := self.of(kind)) >= count else None, self.poll)

    def of(self, kind: type[ActorEvent]) -> list[ActorEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def renew(self, units: Sequence[int], positions: int) -> None:
        self.link.renew(units, ActorReport(positions=positions))

    def send(self, unit: int, agent: str, body: bytes = b"batch", transitions: int = 100) -> None:
        header = BatchHeader(unit=unit, agent=agent, transitions=transitions, games=2, actor=self.name)
        until(lambda: self.link.send(header, body), self.poll)


class Learner:
    """A learner's link and what came by it; what it stores is in `units`."""

    def __init__(
        self,
        base_port: int,
        agent: str,
        units: int = 0,
        name: str | None = None,
        identity: dict[str, str] = IDENTITY,
        keys: PeerKeys | None = None,
    ) -> None:
        self.agent, self.session, self.name = agent, new_session(), name or f"learner-{agent}"
        self.units = IntervalSet([(0, units - 1)] if units else [])
        self.trained, self.version = units, 0
        self.identity, self.hellos = identity, 0
        self.link = ZmqLearnerLink(Ports("127.0.0.1", base_port, keys), agent, self.session, self.hello)
        self.events: list[LearnerEvent] = []

    @property
    def totals(self) -> StoreTotals:
        count = self.units.count
        return StoreTotals(units=count, transitions=100 * count, games_read=2 * count, games_used=2 * count)

    def hello(self) -> Hello:
        self.hellos += 1
        return hello(
            Role.LEARNER, self.name, self.session, agent=self.agent, settings=self.identity,
            stored=[Interval(first, last) for first, last in self.units], trained_units=self.trained,
            totals=self.totals,
        )  # fmt: skip

    def poll(self) -> None:
        self.events += self.link.poll(0.01)

    def wait(self, kind: type[LearnerEvent], count: int = 1) -> list[LearnerEvent]:
        return until(lambda: found if len(found := self.of(kind)) >= count else None, self.poll)

    def of(self, kind: type[LearnerEvent]) -> list[LearnerEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def join(self, credit: int = 8) -> "Learner":
        """Say hello, and give credit until the broker has it."""
        self.wait(Welcome)
        until(lambda: self.link._delivery.poll(0, 2), self.poll)  # connected
        self.link.credit(credit)
        return self

    def store(self, *units: int) -> None:
        said = [StoredUnit(unit=unit, transitions=100, duplicate=not self.units.add(unit)) for unit in units]
        self.link.stored(said, self.totals)

    def weights(self, version: int, body: bytes = b"\x00" * 8) -> tuple[WeightsHeader, bytes]:
        return weights(self.agent, version, body, session=self.session)

    def report(self, *, finished: bool = False) -> None:
        self.link.report(
            LearnerReport(
                agent=self.agent, session=self.session, totals=self.totals, trained_units=self.trained,
                transitions_trained=100 * self.trained, step=self.trained, version=self.version, finished=finished,
            )
        )  # fmt: skip


def weights(
    agent: str, version: int, body: bytes = b"\x00" * 8, *, session: str = "s"
) -> tuple[WeightsHeader, bytes]:
    header = WeightsHeader(
        agent=agent, session=session, version=version, step=7, network="mlp", size_bytes=len(body),
        arrays=[ArraySpec(name="w", dtype="float32", shape=[len(body) // 4])],
        sha256=hashlib.sha256(body).hexdigest(),
    )  # fmt: skip
    return header, body

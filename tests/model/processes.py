"""The processes of the model: the product's own loops and books, with what is beside them made small.

Real: the broker's router, control, registry, dispatcher and weights; the links with their handshake; the learner's
intake and its store of SQLite; the actor's service; every message and batch. Made small: the reading of games,
the engine (`Desk`), the training (units in order, a checkpoint now and then), and the network below the links.
"""

import shutil
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from actor.service import ActorService
from actor.work import DeskStats, FinishedUnit
from broker.dispatcher import Dispatcher
from broker.router import Router
from broker.units import RawUnit
from common.batch import Batch
from common.errors import Refused, StoreError
from common.messages import Hello, LearnerReport, RawGame, Role
from common.settings import AgentSettings, Settings
from common.words import AgentName, Unit
from common.zmq.ports import Ports
from common.zmq.transport import ZmqTransport
from learner.directory import AgentDirectory
from learner.intake import Intake
from learner.store import ExperienceStore
from learner.trainer import Publication
from learner.unit_record import UnitRecord
from tests.learner.units import BLACK, WHITE, random_batch
from tests.model.network import Clock

AGENTS = {"white": WHITE, "black": BLACK}
PORTS = Ports("127.0.0.1", 5750)
TRANSPORT = ZmqTransport(PORTS)
GAMES_PER_UNIT = 2
IDENTITY = {"nodes": "1000"}
LEASE_S = 60.0
UNITS_PER_VERSION = 2
"""Units trained from one version of the weights to the next."""


@cache
def batch_of(unit: int, agent: str) -> Batch:
    """What every actor makes of a unit for an agent."""
    return random_batch(unit, games=1, agent=AGENTS[agent], longest=3)


class Games:
    """A feed that reads a few units each time that the broker's clock ticks."""

    def __init__(self, units: int) -> None:
        self._units, self._read = units, 0
        self.units_total: int | None = None
        self.games_total: int | None = None
        self.games_cut, self.fraction_read = 0, 0.0

    def check(self) -> None:
        self._read_to(self._read + 2)

    def take(self, unit: Unit) -> RawUnit | None:
        self._read_to(unit + 1)
        if unit >= self._units:
            return None
        games = range(GAMES_PER_UNIT * unit, GAMES_PER_UNIT * (unit + 1))
        return RawUnit(
            unit=unit, games=tuple(RawGame(number=game, source="a.pgn", line=1, text=b"*") for game in games)
        )

    def _read_to(self, unit: int) -> None:
        self._read = max(self._read, unit)
        if self._read > self._units:
            self.units_total, self.games_total = self._units, GAMES_PER_UNIT * self._units


class Process:
    """One start of one service."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.session, self.started_ns = name, f"{name}-{number}", number
        self.frozen = False
        self.gone = ""
        """Why it has ended; empty while it runs."""

    def start(self) -> None:
        """Connect, or bind."""
        raise NotImplementedError

    def hello(self, role: Role, name: str, session: str, **fields: object) -> Hello:
        """As common.session makes it, but for what it asks the operating system."""
        return Hello(
            role=role, name=name, session=session, started_ns=self.started_ns, host="here", pid=1, software="0.1.0",
            **fields,
        )  # type: ignore[arg-type]  # fmt: skip

    def turn(self) -> None:
        """Do one round of its loop."""
        raise NotImplementedError

    def die(self) -> None:
        """Let go of what the operating system takes back from a process that is killed."""


class Broker(Process):
    def __init__(self, number: int, clock: Clock, *, units: int, ahead: int) -> None:
        super().__init__("broker", number)
        self.dispatcher = Dispatcher(
            [AgentName(agent) for agent in AGENTS], max_units_ahead=ahead, lease_timeout_s=LEASE_S, clock=clock
        )
        self.router = Router(
            ports=PORTS, dispatcher=self.dispatcher, feed=Games(units), identity=IDENTITY,
            session=self.session, software="0.1.0", clock=clock,
        )  # type: ignore[arg-type]  # fmt: skip

    def start(self) -> None:
        self.router.__enter__()

    def turn(self) -> None:
        rounds = iter((False, True))
        self.router.run(lambda: next(rounds))


class Store(ExperienceStore):
    """The store on a disk that can be full."""

    disk_is_full = False

    def put_many(self, records: Sequence[UnitRecord]) -> set[Unit]:
        if self.disk_is_full:
            raise StoreError("the disk is full")
        return super().put_many(records)


@dataclass(slots=True)
class Disk:
    """What outlives a learner's process: its directory, and how far the last checkpoint in it is trained."""

    run: Path
    agent: str
    checkpoint: int = 0

    @property
    def learner(self) -> str:
        """Name of the learner there: some hosts name theirs alike."""
        return f"learner-{self.agent}" + "-too" * (int(self.run.name) % 2)

    @property
    def directory(self) -> AgentDirectory:
        return AgentDirectory.of(self.run, self.agent)

    def lose(self, units: Collection[int]) -> None:
        """Lose units that the checkpoint may have been trained on."""
        with closing(sqlite3.connect(self.directory.experience)) as connection, connection:
            connection.executemany("DELETE FROM units WHERE unit = ?", [(unit,) for unit in units])

    def lose_all(self) -> None:
        """Begin anew: somebody has deleted the directory."""
        shutil.rmtree(self.directory.path)
        self.checkpoint = 0


class Learner(Process):
    def __init__(self, number: int, disk: Disk) -> None:
        super().__init__(disk.learner, number)
        self.agent, self.disk = disk.agent, disk
        self.trained = disk.checkpoint
        self.finished = False

    def start(self) -> None:
        """Open the store, and connect."""
        agent, directory = AGENTS[self.agent], self.disk.directory
        self.store = Store(directory.experience, agent)
        self.link = TRANSPORT.learner(self.agent, self.session, self._hello)
        self.intake = Intake(
            agent,
            directory,
            self.session,
            "mlp",
            lambda: self.store,
            lambda _: self.link,
            self._report,
            lambda: None,
        )

    def turn(self) -> None:
        try:
            self.intake.turn(self.store, self.link)
        except Refused as refused:
            self.let_go(str(refused))

    def mend(self, lost: Collection[int]) -> None:
        """Find the store damaged, and go on without the units that it has lost, as the service does."""
        self.disk.checkpoint = self.trained
        self.finished = False
        self.link.close()
        self.store.close()
        self.disk.lose(lost)
        self.start()

    def let_go(self, why: str = "overtaken") -> None:
        """End in order."""
        self.gone = why
        self.disk.checkpoint = self.trained
        self.link.close()
        self.store.close()

    def train(self, units: int, saves: bool) -> None:
        """Train on the units that are there, in order, as the service does."""
        total = self.intake.units_total
        for _ in range(units):
            if (total is not None and self.trained >= total) or not self.store.holds_all_before(self.trained + 1):
                break
            self.trained += 1
            if self.trained % UNITS_PER_VERSION == 0:
                self._publish(self.trained // UNITS_PER_VERSION)
        whole = self.store.holds_all_before(self.trained)
        if total is not None and self.trained >= total and whole and not self.finished:
            self._publish(-(-self.trained // UNITS_PER_VERSION))
            self.finished = saves = True
        if saves:
            self.disk.checkpoint = self.trained
        self.intake.got_on()

    def die(self) -> None:
        self.store.close()

    def _publish(self, version: int) -> None:
        weights = {"w": np.array([self.started_ns, version], np.int64)}
        self.intake.publish(Publication(version=version, step=self.trained, weights=weights))

    def _hello(self) -> Hello:
        return self.hello(
            Role.LEARNER, self.name, self.session, agent=self.agent, stored=self.store.intervals(),
            trained_units=self.trained, totals=self.store.totals(), settings=IDENTITY,
        )  # fmt: skip

    def _report(self, store: ExperienceStore) -> LearnerReport:
        return LearnerReport(
            agent=self.agent, session=self.session, totals=store.totals(), trained_units=self.trained,
            transitions_trained=self.trained, step=self.trained, version=self.intake.version,
            finished=self.finished and self.intake.idle,
        )  # fmt: skip


class Desk:
    """Works on units as `actor.work.Desk`, and finishes them when it is told to."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_hand: dict[int, tuple[AgentSettings, ...]] = {}
        self._positions = self._units = 0
        self.pace = 0
        """Units that it will finish at the next poll."""
        self.engine_pid = None

    @property
    def hungry(self) -> bool:
        return len(self._in_hand) < 2

    @property
    def units(self) -> list[int]:
        return list(self._in_hand)

    def begin(self, unit: int, agents: Sequence[AgentSettings], raw_games: Sequence[RawGame]) -> None:
        assert [game.number // GAMES_PER_UNIT for game in raw_games] == [unit] * GAMES_PER_UNIT
        assert unit not in self._in_hand
        self._in_hand[unit] = tuple(agents)

    def poll(self, timeout_s: float) -> Iterator[FinishedUnit]:
        self._clock.advance(timeout_s)
        for unit in self.units[: self.pace]:
            agents = self._in_hand.pop(unit)
            self._positions += 1
            self._units += 1
            batches = tuple(batch_of(unit, agent.name) for agent in agents)
            yield FinishedUnit(unit, batches, GAMES_PER_UNIT, ())

    def forget(self) -> None:
        self._in_hand.clear()

    def stats(self) -> DeskStats:
        return DeskStats(
            positions=self._positions, engine_positions=self._positions, engine_nodes=0, cached_games=0, games=0,
            rejected=0, transitions=0, units=self._units, probes=0, probes_failed=0, units_unprobed=0,
            engine_busy_s=0.0, engine_restarts=0,
        )  # fmt: skip


class Stop:
    """The stop signal of a process that no signal comes to."""

    asked = False

    def __bool__(self) -> bool:
        return self.asked

    def set(self) -> None:
        self.asked = True


class Actor(Process):
    def __init__(self, name: str, number: int, clock: Clock) -> None:
        super().__init__(name, number)
        self.desk, self._stop = Desk(clock), Stop()

    def start(self) -> None:
        self.link = TRANSPORT.actor(self.name, self.session, IDENTITY)
        self.service = ActorService(Settings(games_per_unit=16), self.name, self.link, self.desk, self._stop)  # type: ignore[arg-type]

    def turn(self, pace: int = 0) -> None:
        """Do a round; finish so many of the units that are begun."""
        self.desk.pace = pace
        try:
            self.service.turn()
            if self._stop:
                self.desk.pace = 2
                self.service.finish()
                self.gone = "drained"
        except Refused as refused:
            self.gone = str(refused)
        if self.gone:
            self.link.close()

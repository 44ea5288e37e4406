"""Actors that have every batch ready, and learners that only store: what lies between them does the work.

Each is a process with a link of its own, the same code on every transport. An actor takes leases, and sends each
unit's batches at once, bodies of real ones gone round; a learner acknowledges what its SQLite store has on disk,
and says that it has trained on it, so that the broker's window moves on.
"""

import multiprocessing
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import psutil

from benchmarks.real_games import batches
from benchmarks.scale import Scale
from common.batch import encode
from common.intervals import IntervalSet
from common.keys import KeyHolder
from common.links import Delivered, LeasedUnit
from common.messages import ActorReport, BatchHeader, LearnerReport, Role, StoredUnit
from common.security import reach
from common.session import hello, new_session
from common.settings import AgentSettings, Settings, identity
from common.words import Unit
from learner.directory import AgentDirectory
from learner.intake import CREDIT
from learner.store import ExperienceStore
from learner.unit_record import UnitRecord

CAPACITY = 64
"""Units that an actor takes at once: enough never to wait for one."""
SAY_S = 1.0
REPORT_S = 0.2
"""Between two reports of a learner, which move the window."""
POLL_S = 0.05
BLOCKED_POLL_S = 0.002

spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """Bodies of real batches, by agent, and what their envelopes say of each."""

    bodies: dict[str, list[bytes]]
    transitions: dict[str, list[int]]
    games_per_unit: int

    @property
    def mean_bytes(self) -> float:
        """Size of a body."""
        sizes = [len(body) for bodies in self.bodies.values() for body in bodies]
        return sum(sizes) / len(sizes)

    def batch(self, unit: int, agent: str, actor: str) -> tuple[BatchHeader, bytes]:
        """Return what an actor sends of a unit for an agent."""
        at = unit % len(self.bodies[agent])
        header = BatchHeader(
            unit=unit, agent=agent, transitions=self.transitions[agent][at], games=self.games_per_unit, actor=actor
        )
        return header, self.bodies[agent][at]


def load_of(scale: Scale) -> Load:
    """Return batches of the default unit size."""
    games_per_unit = Settings().games_per_unit
    pairs = batches(scale, scale.of(32, 2), games_per_unit)
    return Load(
        bodies={batch.agent: [encode(pair[index]) for pair in pairs] for index, batch in enumerate(pairs[0])},
        transitions={batch.agent: [len(pair[index]) for pair in pairs] for index, batch in enumerate(pairs[0])},
        games_per_unit=games_per_unit,
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """What all learners have stored; shared by the processes."""

    batches: "Synchronized[int]" = field(default_factory=lambda: spawn.Value("q", 0))
    transitions: "Synchronized[int]" = field(default_factory=lambda: spawn.Value("q", 0))

    def now(self) -> tuple[int, int]:
        """Return batches and transitions."""
        with self.batches.get_lock():
            return self.batches.value, self.transitions.value


@dataclass(frozen=True, slots=True)
class Peers:
    """The processes."""

    counts: Counts
    learners: Sequence[psutil.Process]
    actors: Sequence[psutil.Process]


@contextmanager
def peers(settings: Settings, load: Load, actors: int, *, storing: bool = True) -> Iterator[Peers]:
    """Run the learners of all agents and so many actors; learners that are not `storing` take no batch."""
    makers = [
        spawn.Process(target=make, args=(settings, f"actor-{index}", load), daemon=True) for index in range(actors)
    ]
    with learners(settings, storing=storing) as there, running(makers):
        yield replace(there, actors=[psutil.Process(process.pid) for process in makers])


@contextmanager
def learners(settings: Settings, *, storing: bool = True) -> Iterator[Peers]:
    """Run the learners alone."""
    counts = Counts()
    processes = [
        spawn.Process(target=learn, args=(settings, agent, counts, storing), daemon=True)
        for agent in settings.agents
    ]
    with running(processes):
        yield Peers(counts=counts, learners=[psutil.Process(process.pid) for process in processes], actors=())


@contextmanager
def running(processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Start processes, and end them with the block."""
    with ExitStack() as stack:
        for process in processes:
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
        yield


# What the processes do ----------------------------------------------------------------------------------


def make(settings: Settings, name: str, load: Load) -> None:
    """Send the batches of whatever is leased."""
    link = reach(settings, KeyHolder(Role.ACTOR, name)).actor(name, new_session(), identity(settings))
    outbox: deque[tuple[BatchHeader, bytes]] = deque()
    said_s, positions = 0.0, 0
    while True:
        if time.monotonic() - said_s >= SAY_S:
            link.capacity(CAPACITY)
            link.renew([*{header.unit for header, _ in outbox}], ActorReport(positions=positions))
            said_s = time.monotonic()
        for event in link.poll(BLOCKED_POLL_S if outbox else POLL_S):
            if isinstance(event, LeasedUnit):
                outbox.extend(load.batch(event.lease.unit, agent, name) for agent in event.lease.agents)
        while outbox and link.send(*outbox[0]):
            positions += outbox.popleft()[0].transitions


def learn(settings: Settings, agent: AgentSettings, counts: Counts, storing: bool) -> None:
    """Store what comes, and acknowledge it."""
    session, name = new_session(), agent.name
    directory = AgentDirectory.of(Path(settings.run), name)
    directory.path.mkdir(parents=True)
    done = IntervalSet()
    with ExperienceStore(directory.experience, agent) as store:
        link = reach(settings, KeyHolder(Role.LEARNER, name)).learner(
            name, session,
            lambda: hello(
                Role.LEARNER, f"learner-{name}", session, agent=name, stored=store.intervals(),
                trained_units=done.first_missing(), totals=store.totals(), settings=identity(settings),
            ),
        )  # fmt: skip
        reported_s = 0.0
        while True:
            if time.monotonic() - reported_s >= REPORT_S:
                link.credit(CREDIT if storing else 0)
                totals, trained = store.totals(), done.first_missing()
                link.report(
                    LearnerReport(
                        agent=name, session=session, totals=totals, trained_units=trained,
                        transitions_trained=totals.transitions, step=0, version=0,
                    )
                )  # fmt: skip
                reported_s = time.monotonic()
            records = [record(event) for event in link.poll(POLL_S) if isinstance(event, Delivered)]
            if not records:
                continue
            new = store.put_many(records)
            link.stored(
                [
                    StoredUnit(unit=each.unit, transitions=each.transitions, duplicate=each.unit not in new)
                    for each in records
                ],
                store.totals(),
            )
            for unit in new:
                done.add(unit)
            with counts.batches.get_lock():
                counts.batches.value += len(new)
                counts.transitions.value += sum(each.transitions for each in records if each.unit in new)


def record(delivered: Delivered) -> UnitRecord:
    """Return what the store keeps of a batch."""
    header = delivered.header
    return UnitRecord(
        unit=Unit(header.unit), body=delivered.body, transitions=header.transitions, games_read=header.games,
        games_used=header.games, games_unselected=0, rejected={},
    )  # fmt: skip

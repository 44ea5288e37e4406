"""A whole run in one thread, in a world that is unkind.

Messages are lost, doubled, delayed and overtaken on every channel, and batches spoiled; processes are killed and
started anew, freeze and speak again after a newer one has come; stores lose units or everything, disks are full,
operators give orders. After each step the books must balance, and once the faults stop, the run must come to its
end with every unit stored once for every agent.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import TypeVar

import zmq
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common import wire
from common.messages import Action, Command, FromBroker, Interval, Lease, Stored, ToBroker
from learner.store import ExperienceReader
from tests.broker.books import check
from tests.model.network import Clock, Network, Socket
from tests.model.processes import AGENTS, LEASE_S, PORTS, Actor, Broker, Disk, Learner, Process, batch_of

ACTORS = ("a", "b", "c")
AHEAD = 4
LEARNERS_OF_AN_AGENT = ACTORS_OF_A_NAME = 3
"""Processes of one name at the same time."""

names = st.sampled_from((*ACTORS, *AGENTS, "broker"))
randoms = st.randoms(use_true_random=False)


Started = TypeVar("Started", bound=Process)


class UnkindRun(RuleBasedStateMachine):
    units = 9

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.network = Network(self.clock, self.watch)
        self.happened: Counter[str] = Counter()
        """Steps and faults by name."""
        self.sent = 0
        """Messages."""
        self.stored = 0
        """Units in all stores at the end."""
        self.started = 0
        self.stack = ExitStack()
        self.stack.enter_context(self.network.in_place())
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="rookery-model-", dir=memory if memory.is_dir() else None))
        self.stack.callback(shutil.rmtree, self.folder)
        self.actors: dict[str, list[Actor]] = {name: [] for name in ACTORS}
        self.learners: dict[str, list[Learner]] = {agent: [] for agent in AGENTS}
        self.start_broker()
        for name in ACTORS:
            self.start_actor(name)
        for agent in AGENTS:
            self.start_learner(Disk(self.folder / "0", agent))
        with self.turn_of("operator"):
            self.operator = self.network.make(None, zmq.DEALER)
            self.operator.identity = b"operator"
            self.network.connect(self.operator, PORTS.control)

    # Processes

    @contextmanager
    def turn_of(self, process: object) -> Iterator[None]:
        self.network.owner = process
        try:
            yield
        finally:
            self.network.owner = None

    def start(self, process: Started) -> Started:
        self.started += 1
        with self.turn_of(process):
            process.start()
        return process

    def start_broker(self) -> None:
        self.broker = self.start(Broker(self.started, self.clock, units=self.units, ahead=AHEAD))

    def start_actor(self, name: str) -> None:
        self.actors[name].append(self.start(Actor(name, self.started, self.clock)))

    def start_learner(self, disk: Disk) -> None:
        self.learners[disk.agent].append(self.start(Learner(self.started, disk)))

    @property
    def peers(self) -> list[Process]:
        return [process for group in (*self.actors.values(), *self.learners.values()) for process in group]

    def of_name(self, name: str) -> list[Process]:
        return [self.broker] if name == "broker" else [*self.actors.get(name, ()), *self.learners.get(name, ())]

    def turn(self, process: Process, *how: int) -> None:
        if process.gone or process.frozen:
            return
        with self.turn_of(process):
            process.turn(*how)
        if process.gone:
            self.network.cut(process)
            newest = self.of_name(process.agent if isinstance(process, Learner) else process.name)[-1]
            assert process is not newest or process.gone == "drained", f"the newest was turned away: {process.gone}"

    def kill(self, process: Process) -> None:
        if not process.gone:
            self.network.cut(process)
            process.die()
            process.gone = "killed"

    # What goes well

    @initialize(rounds=st.integers(0, 3))
    def a_run_has_begun(self, rounds: int) -> None:
        for _ in range(rounds):
            self.kind_round()

    @rule(random=randoms, rounds=st.integers(1, 3))
    def everybody_gets_turns(self, random: Random, rounds: int) -> None:
        for _ in range(rounds):
            peers = self.peers
            random.shuffle(peers)
            for process in peers:
                self.turn(process, *([random.randrange(3)] if isinstance(process, Actor) else []))
            self.turn(self.broker)

    @rule(name=names, newest=st.booleans())
    def one_gets_a_turn(self, name: str, newest: bool) -> None:
        self.turn(self.of_name(name)[-1 if newest else 0])

    @rule(random=randoms, share=st.sampled_from([0.3, 0.7, 1.0]))
    def messages_arrive(self, random: Random, share: float) -> None:
        under_way = self.network.under_way
        for _ in range(round(share * len(under_way))):
            self.network.arrive(random.choice(under_way))

    @rule(agent=st.sampled_from(list(AGENTS)), units=st.integers(1, 3), saves=st.booleans())
    def learner_trains(self, agent: str, units: int, saves: bool) -> None:
        for learner in self.learners[agent]:
            if not (learner.gone or learner.frozen):
                learner.train(units, saves)

    @rule(seconds=st.sampled_from([1.0, 11.0, 31.0, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def somebody_looks_after_it(self) -> None:
        """What is frozen goes on, what has ended is started again, disks are cleared, actors may work."""
        for process in (self.broker, *self.peers):
            process.frozen = False
        for name, actors in self.actors.items():
            if actors[-1].gone:
                self.start_actor(name)
        for learners in self.learners.values():
            if learners[-1].gone:
                self.start_learner(learners[-1].disk)
            learners[-1].store.disk_is_full = False
        self.operator_orders(Action.RESUME, None)

    # What goes wrong

    @rule(random=randoms, share=st.sampled_from([0.2, 0.5, 1.0]))
    def messages_are_lost(self, random: Random, share: float) -> None:
        under_way = self.network.under_way
        for _ in range(round(share * len(under_way))):
            del under_way[random.randrange(len(under_way))]

    @rule(random=randoms)
    def messages_are_doubled(self, random: Random) -> None:
        under_way = self.network.under_way
        for message in random.sample(under_way, len(under_way) // 2):
            under_way.append(type(message)(message.endpoint, message.peer, message.frames))

    @rule(random=randoms)
    def a_batch_is_spoiled(self, random: Random) -> None:
        carry = (PORTS.experience, PORTS.delivery)
        batches = [sent for sent in self.network.under_way if sent.endpoint in carry and len(sent.frames) == 2]
        if batches:
            spoiled = random.choice(batches)
            spoiled.frames = [spoiled.frames[0], spoiled.frames[1][:-1]]

    @rule(name=names, anew=st.sampled_from([False, False, False, True]))
    def one_dies(self, name: str, anew: bool) -> None:
        """And is started again at once, a learner in its directory, or in an empty one."""
        newest = self.of_name(name)[-1]
        self.kill(newest)
        if name == "broker":
            self.start_broker()
        elif name in ACTORS:
            self.start_actor(name)
        elif isinstance(newest, Learner):
            if anew:
                newest.disk.lose_all()
            self.start_learner(newest.disk)
        self.forget_the_dead(name)

    @rule(agent=st.sampled_from(list(AGENTS)), random=randoms)
    def a_store_is_damaged(self, agent: str, random: Random) -> None:
        learner = self.learners[agent][-1]
        if not (learner.gone or learner.frozen):
            with self.turn_of(learner):
                learner.mend([unit for unit in range(self.units) if random.random() < 0.5])

    @rule(name=names)
    def another_is_started(self, name: str) -> None:
        """While the one before it still runs, or is frozen; a learner's on another host, without its store."""
        others = [process for process in self.of_name(name) if not process.gone]
        if name in ACTORS and len(others) < ACTORS_OF_A_NAME:
            self.start_actor(name)
        elif name in AGENTS and len(others) < LEARNERS_OF_AN_AGENT:
            self.start_learner(Disk(self.folder / str(self.started + 1), name))
        self.forget_the_dead(name)

    @rule(name=names, forgotten=st.booleans())
    def a_zombie_comes_back(self, name: str, forgotten: bool) -> None:
        """After a newer one, which says nothing at that moment, and with a broker that knows nothing of it."""
        old = self.of_name(name)[-1]
        if name == "broker" or old.gone:
            return
        old.frozen = True
        self.another_is_started(name)
        self.all_speak(2)
        if forgotten:
            self.one_dies("broker", anew=False)
            self.all_speak(2)
        newest = self.of_name(name)[-1]
        newest.frozen = True
        self.clock.advance(11.0)
        old.frozen = False
        self.all_speak(3)
        newest.frozen = False

    @rule(agent=st.sampled_from(list(AGENTS)))
    def another_takes_the_directory_over(self, agent: str) -> None:
        newest = self.learners[agent][-1]
        if not newest.gone and not newest.frozen:
            with self.turn_of(newest):
                newest.let_go()
            self.network.cut(newest)
            self.start_learner(newest.disk)

    @rule(name=names, newest=st.booleans())
    def one_freezes_or_goes_on(self, name: str, newest: bool) -> None:
        process = self.of_name(name)[-1 if newest else 0]
        process.frozen = not process.frozen

    @rule(agent=st.sampled_from(list(AGENTS)))
    def a_disk_is_full_or_has_room(self, agent: str) -> None:
        store = self.learners[agent][-1].store
        store.disk_is_full = not store.disk_is_full

    @rule(action=st.sampled_from(list(Action)), name=st.sampled_from((*ACTORS, None)))
    def operator_orders(self, action: Action, name: str | None) -> None:
        order = Command(action=action, names=[name] if name else [])
        try:
            self.operator.send_multipart([wire.encode(order)])
        except zmq.Again:
            pass
        self.operator.inbox.clear()

    def forget_the_dead(self, name: str) -> None:
        for group in (self.actors, self.learners):
            if name in group:
                group[name] = [process for process in group[name] if not process.gone]

    # What must hold

    def watch(self, socket: Socket, frames: list[bytes]) -> None:
        """Every message at the moment that it is sent."""
        self.sent += 1
        if socket.endpoint != PORTS.control:
            return
        if socket.kind == zmq.ROUTER:
            message = wire.decode(frames[1], FromBroker)
            if isinstance(message, Lease):
                dispatcher = self.broker.dispatcher
                assert message.unit < min(dispatcher.window_end, self.units)
                assert all(ledger.known for ledger in dispatcher.ledgers.values())
                assert not any(dispatcher.ledgers[agent].has(message.unit) for agent in message.agents)
        elif isinstance(socket.owner, Learner):
            said = wire.decode(frames[0], ToBroker)
            if isinstance(said, Stored):
                with_unit = [socket.owner.store.get(stored.unit) for stored in said.units]
                assert all(with_unit), "acknowledged, and not in the store"

    @invariant()
    def the_books_balance(self) -> None:
        check(self.broker.dispatcher)

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        assert all(len(ledger.held) <= AHEAD for ledger in self.broker.dispatcher.ledgers.values())

    # The faults stop

    def teardown(self) -> None:
        with self.stack:
            try:
                self.come_to_the_end()
            finally:
                for process in self.peers:
                    self.kill(process)

    def begin_once_more(self, agent: str) -> None:
        """After the end, somebody deletes an agent's directory, and starts its learner again."""
        self.come_to_the_end()
        learner = self.learners[agent][-1]
        self.kill(learner)
        learner.disk.lose_all()
        self.start_learner(learner.disk)

    def come_to_the_end(self) -> None:
        self.messages_arrive(Random(0), 1.0)
        self.stored = 0
        for _ in range(80):
            self.kind_round()
            if self.broker.dispatcher.finished and all(self.learners[agent][-1].finished for agent in AGENTS):
                break
        self.one_dies(ACTORS[0], anew=False)  # and has missed the last weights
        for _ in range(6):
            self.kind_round()
        assert self.broker.dispatcher.finished
        for agent, ledger in self.broker.dispatcher.ledgers.items():
            learner = self.learners[agent][-1]
            assert list(ledger.stored) == [(0, self.units - 1)]
            assert learner.store.intervals() == [Interval(0, self.units - 1)]
            self.stored += ExperienceReader.totals(learner.store).units
            assert ledger.closed
            assert ledger.in_flight == 0
            assert ledger.totals == learner.store.totals() == ExperienceReader.totals(learner.store)
            assert ledger.totals.transitions == sum(len(batch_of(unit, agent)) for unit in range(self.units))
            assert [process.gone for process in self.learners[agent][:-1] if not process.gone] == []
            for actor in (actors[-1] for actors in self.actors.values()):
                weights = actor.service._weights[agent].header
                assert (weights.session, weights.version) == (learner.session, learner.intake.version)
        for actors in self.actors.values():
            assert [actor.name for actor in actors[:-1] if not actor.gone] == []
        status = self.broker.router.desk.status()
        assert wire.encode(status)
        assert status.finished
        assert {service.state for service in status.services} <= {"finished", "waiting"}
        assert all(agent.closed for agent in status.agents)

    def kind_round(self) -> None:
        self.somebody_looks_after_it()
        for agent in AGENTS:
            self.learner_trains(agent, self.units, saves=True)
        self.all_arrive()
        self.all_speak(1)
        self.clock.advance(6.0)
        self.the_books_balance()

    def all_speak(self, rounds: int) -> None:
        """Give turns to all, with messages that arrive in their order."""
        for _ in range(rounds):
            for process in self.peers:
                for _ in range(2):
                    self.turn(process, *([2] if isinstance(process, Actor) else []))
            self.all_arrive()
            self.turn(self.broker)
            self.all_arrive()

    def all_arrive(self) -> None:
        while self.network.under_way:
            self.network.arrive(self.network.under_way[0])


STEPS = {
    "everybody_gets_turns": 20, "one_gets_a_turn": 5, "messages_arrive": 25, "learner_trains": 12, "time_passes": 3,
    "somebody_looks_after_it": 3,
}  # fmt: skip
FAULTS = {
    "messages_are_lost": 2, "messages_are_doubled": 2, "a_batch_is_spoiled": 2, "one_dies": 1.5,
    "a_store_is_damaged": 0.3, "another_is_started": 0.5, "a_zombie_comes_back": 0.5,
    "another_takes_the_directory_over": 0.3, "one_freezes_or_goes_on": 1, "a_disk_is_full_or_has_room": 0.5,
    "operator_orders": 0.7,
}  # fmt: skip
"""How often each comes in a long run, against the others."""


class LongRun(UnkindRun):
    """Of more units: there is work left until late."""

    units = 16


def long_run(seed: int, steps: int) -> UnkindRun:
    """Make a run of so many steps: faults come seldom enough for it to get far before them."""
    random = Random(seed)
    name = lambda: random.choice((*ACTORS, *AGENTS, "broker"))  # noqa: E731
    agent = lambda: random.choice(list(AGENTS))  # noqa: E731
    arguments = {
        "everybody_gets_turns": lambda: (random, random.randint(1, 2)),
        "one_gets_a_turn": lambda: (name(), random.random() < 0.5),
        "messages_arrive": lambda: (random, random.choice([0.3, 0.7, 1.0, 1.0, 1.0])),
        "somebody_looks_after_it": tuple,
        "learner_trains": lambda: (agent(), random.randint(1, 2), random.random() < 0.5),
        "time_passes": lambda: (random.choice([1.0, 5.0, 11.0, 31.0, LEASE_S + 1]),),
        "messages_are_lost": lambda: (random, random.choice([0.2, 0.5])),
        "messages_are_doubled": lambda: (random,),
        "a_batch_is_spoiled": lambda: (random,),
        "one_dies": lambda: (name(), random.random() < 0.1),
        "a_store_is_damaged": lambda: (agent(), random),
        "another_is_started": lambda: (name(),),
        "a_zombie_comes_back": lambda: (name(), random.random() < 0.5),
        "another_takes_the_directory_over": lambda: (agent(),),
        "one_freezes_or_goes_on": lambda: (name(), random.random() < 0.5),
        "a_disk_is_full_or_has_room": lambda: (agent(),),
        "operator_orders": lambda: (random.choice(list(Action)), random.choice((*ACTORS, None))),
    }
    run = LongRun()
    run.a_run_has_begun(random.randint(0, 2))
    weights = STEPS | FAULTS
    with run.stack:
        for step in random.choices(list(weights), list(weights.values()), k=steps):
            run.happened[step] += 1
            getattr(run, step)(*arguments[step]())
            run.the_books_balance()
            run.what_is_held_is_bounded()
        if seed % 4 == 0:
            run.begin_once_more(random.choice(list(AGENTS)))
        run.teardown()
    return run

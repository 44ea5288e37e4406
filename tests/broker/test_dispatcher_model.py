"""A whole run as a state machine: a real dispatcher, model actors and learners, and a network that is unkind.

Messages are lost, doubled, delayed and overtaken; actors, learners and the broker die and begin anew; a store may
lose units. After each step the books must balance, and once the faults stop, the run must come to its end with
every unit stored once for every agent.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.dispatcher import Grant
from common.intervals import IntervalSet
from tests.broker.books import ROWS, Books, header, stored_unit, totals

AGENTS = ("white", "black")
ACTORS = ("a", "b", "c")
UNITS = 9
AHEAD = 4
CAPACITY = 2
CREDIT = 2
LEASE_S = 60.0


@dataclass
class ModelActor:
    """An actor process: what it has in hand, for whom, and its progress."""

    name: str
    session: int = 0
    positions: int = 0
    in_hand: dict[int, set[str]] = field(default_factory=dict)


@dataclass
class ModelLearner:
    """A learner process: its store outlives it, its training goes back to the last checkpoint."""

    agent: str
    session: int = 0
    stored: IntervalSet = field(default_factory=IntervalSet)
    trained: int = 0
    checkpoint: int = 0

    @property
    def name(self) -> str:
        return f"{self.agent}-{self.session}"


class UnkindRun(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.actors = {name: ModelActor(name) for name in ACTORS}
        self.learners = {agent: ModelLearner(agent) for agent in AGENTS}
        self.network: list[Callable[[], None]] = []
        """Messages under way; delivering one is calling it."""
        self.store_lost = False
        self.start_broker()

    @initialize(rounds=st.integers(0, 3))
    def a_run_has_begun(self, rounds: int) -> None:
        for _ in range(rounds):
            self.kind_round()

    def start_broker(self) -> None:
        self.books = Books(*AGENTS, ahead=AHEAD, lease_s=LEASE_S, units=UNITS)
        self.newest: dict[str, int] = {}

    @property
    def dispatcher(self):
        return self.books.dispatcher

    def send(self, message: Callable[..., None], *content: object) -> None:
        """Put a message under way: what it says is what holds now, whoever gets it gets it later."""
        self.network.append(lambda: message(*content))

    # What goes well

    @rule()
    def everybody_speaks(self) -> None:
        for actor in self.actors.values():
            actor.positions += bool(actor.in_hand)
            self.send(self.on_request, actor.name, actor.session, CAPACITY)
            self.send(self.on_renew, actor.name, actor.session, tuple(actor.in_hand), actor.positions)
        for learner in self.learners.values():
            self.send(self.on_credit, learner.agent, learner.name, CREDIT)
            self.send(self.on_report, learner.agent, learner.name, learner.trained, learner.stored.count)

    @rule()
    def broker_leases_and_delivers(self) -> None:
        before = self.dispatcher.window_end
        for grant in self.books.lease():
            assert grant.unit < before <= UNITS
            assert all(ledger.known for ledger in self.dispatcher.ledgers.values())
            self.send(self.on_lease, grant, self.actors[grant.actor].session)
        for agent, ledger in self.dispatcher.ledgers.items():
            while (batch := self.dispatcher.next_delivery(agent)) is not None:
                assert ledger.under_way <= ledger.capacity
                self.send(self.on_delivery, agent, ledger.session, batch.header.unit)

    @rule(random=st.randoms(use_true_random=False), share=st.sampled_from([0.3, 0.7, 1.0]))
    def messages_arrive(self, random: Random, share: float) -> None:
        for _ in range(round(share * len(self.network))):
            self.network.pop(random.randrange(len(self.network)))()

    @rule(name=st.sampled_from(ACTORS), batches=st.integers(1, 4))
    def actor_finishes(self, name: str, batches: int) -> None:
        actor = self.actors[name]
        for unit, agent in sorted((unit, agent) for unit, agents in actor.in_hand.items() for agent in agents)[
            :batches
        ]:
            actor.positions += 1
            self.send(self.on_batch, unit, agent, name)
            actor.in_hand[unit].discard(agent)
            if not actor.in_hand[unit]:
                del actor.in_hand[unit]

    @rule(agent=st.sampled_from(AGENTS), units=st.integers(1, 3), saves=st.booleans())
    def learner_trains(self, agent: str, units: int, saves: bool) -> None:
        learner = self.learners[agent]
        learner.trained = min(learner.trained + units, learner.stored.first_missing(learner.trained))
        if saves:
            learner.checkpoint = learner.trained

    # What goes wrong

    @rule(random=st.randoms(use_true_random=False), share=st.sampled_from([0.2, 0.5, 1.0]))
    def messages_are_lost(self, random: Random, share: float) -> None:
        for _ in range(round(share * len(self.network))):
            del self.network[random.randrange(len(self.network))]

    @rule(random=st.randoms(use_true_random=False))
    def messages_are_doubled(self, random: Random) -> None:
        self.network += random.sample(self.network, len(self.network) // 2)

    @rule(seconds=st.sampled_from([1.0, 31.0, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.books.clock.advance(seconds)
        self.dispatcher.expire()
        self.dispatcher.redeliver()

    @rule(name=st.sampled_from(ACTORS), at_once=st.booleans())
    def actor_gives_back_or_dies(self, name: str, at_once: bool) -> None:
        actor = self.actors[name]
        if at_once:
            self.actors[name] = ModelActor(name, actor.session + 1)
        else:
            self.send(self.on_release, name, actor.session, tuple(actor.in_hand))
            actor.in_hand.clear()

    @rule(who=st.sampled_from((*AGENTS, "broker")), kept=st.none() | st.integers(0, UNITS))
    def learner_or_broker_dies(self, who: str, kept: int | None) -> None:
        """A learner may come back with an older store, of the units before `kept`."""
        if who == "broker":
            self.start_broker()
            return
        learner = self.learners[who]
        learner.session += 1
        if kept is not None and kept < UNITS - 3:  # seldom enough
            learner.stored = IntervalSet(
                (first, min(last, kept)) for first, last in learner.stored if first <= kept
            )
            learner.checkpoint = min(learner.checkpoint, learner.stored.first_missing())
            self.store_lost = True
        learner.trained = learner.checkpoint

    # What the broker's router does with messages: strangers are told to say hello

    def on_request(self, name: str, session: int, capacity: int) -> None:
        if self.knows_actor(name, session):
            self.dispatcher.capacity(name, capacity)

    def on_renew(self, name: str, session: int, units: tuple[int, ...], positions: int) -> None:
        if self.knows_actor(name, session):
            self.dispatcher.renewed(name, units, positions)

    def on_release(self, name: str, session: int, units: tuple[int, ...]) -> None:
        if self.knows_actor(name, session):
            self.dispatcher.released(name, units)

    def on_batch(self, unit: int, agent: str, actor: str) -> None:
        message = header(unit, agent, actor)
        if self.dispatcher.expects(message):
            self.dispatcher.received(message, ())

    def on_report(self, agent: str, session: str, trained: int, units: int) -> None:
        if self.knows_learner(agent, session):
            self.dispatcher.trained(agent, session, trained)
            if self.dispatcher.ledgers[agent].stored.count != units:
                self.ask_for_hello(agent, session)

    def on_credit(self, agent: str, session: str, batches: int) -> None:
        self.dispatcher.credit(agent, session, batches)

    def on_stored(self, agent: str, session: str, unit: int, duplicate: bool, units: int) -> None:
        if self.knows_learner(agent, session):
            said = [stored_unit(unit, duplicate=duplicate)]
            self.dispatcher.acknowledged(agent, session, said, totals(units))

    def on_actor_hello(self, name: str, session: int, units: tuple[int, ...]) -> None:
        if self.is_newest(name, session):
            self.dispatcher.actor_joined(name, f"{name}-{session}", units)

    def on_learner_hello(self, agent: str, session: int, stored: tuple[tuple[int, int], ...], trained: int) -> None:
        if self.is_newest(agent, session):
            units = IntervalSet(stored)
            self.dispatcher.learner_joined(agent, f"{agent}-{session}", units, trained, totals(units.count))

    def is_newest(self, name: str, session: int) -> bool:
        """The word of a process that died may overtake that of the one after it: it is turned away."""
        self.newest[name] = max(session, self.newest.get(name, 0))
        return session == self.newest[name]

    def knows_actor(self, name: str, session: int) -> bool:
        if name in self.dispatcher.actors and self.dispatcher.actors[name].session == f"{name}-{session}":
            return True
        actor = self.actors[name]
        if actor.session == session:
            self.send(self.on_actor_hello, name, actor.session, tuple(actor.in_hand))
        return False

    def knows_learner(self, agent: str, session: str) -> bool:
        if self.dispatcher.ledgers[agent].session == session:
            return True
        self.ask_for_hello(agent, session)
        return False

    def ask_for_hello(self, agent: str, session: str) -> None:
        learner = self.learners[agent]
        if learner.name == session:
            self.send(self.on_learner_hello, agent, learner.session, tuple(learner.stored), learner.trained)

    # What peers do with messages

    def on_lease(self, grant: Grant, session: int) -> None:
        actor = self.actors[grant.actor]
        if actor.session == session:
            actor.in_hand.setdefault(grant.unit, set(grant.agents))

    def on_delivery(self, agent: str, session: str, unit: int) -> None:
        learner = self.learners[agent]
        if learner.name == session:
            duplicate = not learner.stored.add(unit)
            self.send(self.on_stored, agent, session, unit, duplicate, learner.stored.count)

    # What must hold

    @invariant()
    def the_books_balance(self) -> None:
        self.books.check()

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        if not self.store_lost:
            assert all(len(ledger.held) <= AHEAD for ledger in self.dispatcher.ledgers.values())

    def teardown(self) -> None:
        """The faults stop: the run comes to its end."""
        self.network.clear()
        for _ in range(60):
            self.kind_round()
            if self.dispatcher.finished:
                break
        self.kind_round()  # the last reports
        assert self.dispatcher.finished
        for agent, ledger in self.dispatcher.ledgers.items():
            assert list(ledger.stored) == list(self.learners[agent].stored) == [(0, UNITS - 1)]
            assert ledger.closed
            assert ledger.totals.transitions == UNITS * ROWS
            assert ledger.in_flight == 0

    def kind_round(self) -> None:
        for name in ACTORS:
            self.actor_finishes(name, UNITS)
        for agent in AGENTS:
            self.learner_trains(agent, UNITS, saves=True)
        self.everybody_speaks()
        self.all_arrive()
        self.broker_leases_and_delivers()
        self.all_arrive()
        self.books.check()
        self.time_passes(31.0)

    def all_arrive(self) -> None:
        while self.network:
            self.network.pop(0)()


WEIGHTS = {
    "everybody_speaks": 6, "broker_leases_and_delivers": 6, "messages_arrive": 8, "actor_finishes": 6,
    "learner_trains": 4, "messages_are_lost": 1, "messages_are_doubled": 1, "time_passes": 2,
    "actor_gives_back_or_dies": 1,
    "learner_or_broker_dies": 1,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(150))
def test_a_long_unkind_run_comes_to_its_end(seed):
    """The same, but for luck: faults come seldom enough for the run to get far before them."""
    random = Random(seed)
    run = UnkindRun()
    arguments = {
        "messages_arrive": lambda: (random, random.choice([0.3, 0.7, 1.0])),
        "actor_finishes": lambda: (random.choice(ACTORS), random.randint(1, 4)),
        "learner_trains": lambda: (random.choice(AGENTS), random.randint(1, 2), random.random() < 0.5),
        "messages_are_lost": lambda: (random, random.choice([0.2, 0.5])),
        "messages_are_doubled": lambda: (random,),
        "time_passes": lambda: (random.choice([1.0, 10.0, 31.0, LEASE_S + 1]),),
        "actor_gives_back_or_dies": lambda: (random.choice(ACTORS), random.random() < 0.5),
        "learner_or_broker_dies": lambda: (
            random.choice((*AGENTS, "broker")),
            random.choice([None, random.randrange(5)]),
        ),
    }
    for name in random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=150):
        getattr(run, name)(*arguments.get(name, tuple)())
        run.the_books_balance()
        run.what_is_held_is_bounded()
    run.teardown()


UnkindRun.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestUnkindRun = UnkindRun.TestCase

"""A broker, actors and learners around streams that lose, forget and pass over what lies in them.

The books are the product's own; server, actors and learners are made small. After every step the books close and no
unit is forgotten; once nothing goes wrong any more, a bounded number of looks brings the run to its end.
"""

from dataclasses import dataclass, field
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.stream_dispatcher import NOBODYS_S, Cut
from common.errors import MessageError
from common.intervals import IntervalSet
from common.messages import BatchHeader
from tests.broker.books import header
from tests.broker.stream_books import StreamBooks, stock

AGENTS = ("white", "black")
ACTORS = ("a", "b")
UNITS = 6
AHEAD = 3
LEASE_S = 20.0
LOOK_S = 5.0
LOOKS_MAX = 4 * round((LEASE_S + NOBODYS_S) / LOOK_S)
"""By then a run without further faults is over: what is lost is found within the two times, loss after loss."""

agents, actors = st.sampled_from(AGENTS), st.sampled_from(ACTORS)
randoms = st.randoms(use_true_random=False)


@dataclass(eq=False)
class UnitMessage:
    """A unit in the stream."""

    unit: int
    agents: tuple[str, ...]
    holder: str | None = None
    """Actor that it was delivered to last, as long as that one's lease lasts."""
    fetched: bool = False
    """Whether it was ever delivered."""
    passed_over: bool = False
    """Whether the server forgets to deliver it."""


@dataclass
class Streams:
    """What a server has."""

    units: dict[int, UnitMessage] = field(default_factory=dict)
    batches: list[tuple[str, int]] = field(default_factory=list)
    passed_over: set[tuple[str, int]] = field(default_factory=set)
    """Batches that the server forgets to deliver."""

    def put(self, cut: Cut) -> None:
        if cut.replaces or cut.unit not in self.units:
            self.units[cut.unit] = UnitMessage(cut.unit, tuple(cut.agents))

    def fetch(self, actor: str) -> UnitMessage | None:
        waiting = (message for message in self.units.values() if not (message.holder or message.passed_over))
        message = next(waiting, None)
        if message is not None:
            message.holder, message.fetched = actor, True
        return message

    def acknowledge(self, message: UnitMessage) -> None:
        if self.units.get(message.unit) is message:
            del self.units[message.unit]

    def batches_for(self, agent: str) -> list[int]:
        """Units of the batches that the server delivers."""
        return [unit for whose, unit in self.batches if whose == agent and (agent, unit) not in self.passed_over]

    def remove(self, agent: str, unit: int) -> None:
        self.batches = [batch for batch in self.batches if batch != (agent, unit)]
        self.passed_over.discard((agent, unit))


class UnreliableStreams(RuleBasedStateMachine):
    """The world; see the module."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = Streams()
        self.on_their_way: dict[int, Cut] = {}
        self.said: list[BatchHeader] = []
        """Words of actors that the broker has not heard yet."""
        self.in_hand: dict[str, list[UnitMessage]] = {actor: [] for actor in ACTORS}
        self.sessions = 0
        self.books = StreamBooks(*AGENTS, ahead=AHEAD, lease_s=LEASE_S, units=UNITS)
        self.learners = {agent: self.books.learner(agent) for agent in AGENTS}

    @initialize(learned=st.integers(0, UNITS // 3))
    def some_is_learned_already(self, learned: int) -> None:
        for learner in self.learners.values():
            learner.train(learned)

    # What goes well

    @rule(random=randoms, steps=st.integers(1, 12))
    def a_while_passes(self, random: Random, steps: int) -> None:
        for _ in range(steps):
            self.one_step(random)
            self.books.check()

    def one_step(self, random: Random) -> None:
        agent, actor, some = random.choice(AGENTS), random.choice(ACTORS), random.randint(1, AHEAD)
        mostly = random.random() < 0.8
        match random.randrange(8):
            case 0:
                self.broker_cuts(taken=mostly)
            case 1:
                self.actor_fetches(actor, some, says=mostly)
            case 2:
                self.actor_finishes(actor, some, acknowledges=mostly, heard=mostly)
            case 3:
                self.words_are_heard(random, 0.5)
            case 4:
                self.learner_stores(agent, some, heard=mostly)
            case 5:
                self.learner_trains(agent)
            case 6:
                self.broker_looks()
            case 7:
                self.time_passes(1.0)

    def broker_cuts(self, taken: bool) -> None:
        """And the server takes what was cut, at once or later."""
        dispatcher = self.books.dispatcher
        while (unit := dispatcher.next_cut()) is not None:
            self.on_their_way[unit] = dispatcher.cut(unit)
        if taken:
            for cut in self.on_their_way.values():
                self.streams.put(cut)
            self.on_their_way.clear()

    def actor_fetches(self, actor: str, units: int, says: bool) -> None:
        fetched = [self.streams.fetch(actor) for _ in range(units)]
        self.in_hand[actor] += [message for message in fetched if message is not None]
        if says:
            self.books.dispatcher.renewed(actor, [message.unit for message in self.in_hand[actor]], 1)

    def actor_finishes(self, actor: str, units: int, acknowledges: bool, heard: bool) -> None:
        for message in self.in_hand[actor][:units]:
            self.in_hand[actor].remove(message)
            for agent in message.agents:
                self.streams.batches.append((agent, message.unit))
                self.said.append(header(message.unit, agent, actor))
            if acknowledges:
                self.streams.acknowledge(message)
        if heard:
            self.words_are_heard(Random(units), 1.0)

    def words_are_heard(self, random: Random, share: float) -> None:
        for _ in range(round(share * len(self.said))):
            try:
                self.books.dispatcher.announced(self.said.pop(random.randrange(len(self.said))))
            except MessageError:
                pass

    def learner_stores(self, agent: str, batches: int, heard: bool) -> None:
        learner = self.learners[agent]
        units = self.streams.batches_for(agent)[:batches]
        learner.store(*units, acknowledge=heard)
        for unit in units:
            self.streams.remove(agent, unit)

    def learner_trains(self, agent: str) -> None:
        learner = self.learners[agent]
        learner.trained = max(learner.trained, learner.units.first_missing())
        self.books.dispatcher.trained(agent, learner.session, learner.trained)

    @rule(agent=agents)
    def learner_says_hello(self, agent: str) -> None:
        self.learners[agent].hello()

    @rule()
    def broker_looks(self) -> None:
        streams = self.streams
        fetched = sum(message.fetched for message in streams.units.values())
        idle = [agent for agent in AGENTS if not streams.batches_for(agent)]
        seen = stock(streams.units, streams.batches, fetched=fetched, idle=idle)
        lost = self.books.dispatcher.seen(seen, self.on_their_way)
        for agent, unit in lost.passed_over:
            streams.remove(agent, unit)
        for unit in self.books.dispatcher.not_needed(seen.units):
            del streams.units[unit]

    @rule(seconds=st.sampled_from([1.0, LOOK_S, NOBODYS_S, LEASE_S]))
    def time_passes(self, seconds: float) -> None:
        self.books.clock.advance(seconds)

    # What goes wrong

    @rule(random=randoms)
    def words_are_lost(self, random: Random) -> None:
        self.said = [word for word in self.said if random.random() < 0.5]

    @rule(actor=actors, gives_back=st.booleans())
    def actor_goes(self, actor: str, gives_back: bool) -> None:
        """Another of its name takes its place; in the server's eyes it has its units still."""
        if gives_back:
            for message in self.in_hand[actor]:
                message.holder = None
        self.in_hand[actor] = []
        self.books.dispatcher.actor_left(actor)
        self.books.dispatcher.actor_joined(actor, actor)

    @rule(random=randoms)
    def a_lease_runs_out(self, random: Random) -> None:
        for message in self.streams.units.values():
            message.holder = message.holder if random.random() < 0.5 else None

    @rule(random=randoms)
    def the_server_passes_over(self, random: Random) -> None:
        for message in self.streams.units.values():
            if random.random() < 0.3:
                message.passed_over = message.fetched = True
        self.streams.passed_over.update(batch for batch in self.streams.batches if random.random() < 0.3)

    @rule(random=randoms)
    def the_server_loses(self, random: Random) -> None:
        for unit in [*self.streams.units]:
            if random.random() < 0.3:
                del self.streams.units[unit]
        for agent, unit in {*self.streams.batches}:
            if random.random() < 0.3:
                self.streams.remove(agent, unit)

    @rule(agent=agents)
    def learner_declines(self, agent: str) -> None:
        learner = self.learners[agent]
        for unit in self.streams.batches_for(agent)[:1]:
            self.streams.remove(agent, unit)
            self.books.dispatcher.declined(agent, learner.session, unit)

    @rule(agent=agents, kept=st.integers(0, UNITS))
    def learner_is_started_anew(self, agent: str, kept: int) -> None:
        """With a store that may have lost some units, and a checkpoint that is older."""
        self.sessions += 1
        learner = self.learners[agent]
        learner.units = IntervalSet(
            (max(0, first), min(last, kept)) for first, last in learner.units if first <= kept
        )
        learner.session, learner.trained = f"{agent}-{self.sessions}", min(learner.trained, kept)
        learner.hello()

    @rule(says_hello=st.booleans(), knows_units=st.booleans())
    def broker_is_started_anew(self, says_hello: bool, knows_units: bool) -> None:
        clock = self.books.clock
        self.books = StreamBooks(*AGENTS, ahead=AHEAD, lease_s=LEASE_S, units=UNITS)
        self.books.clock.now_s = clock.now_s
        self.on_their_way.clear()
        self.broker_looks()  # it puts nothing there before
        for learner in self.learners.values():
            learner.books = self.books
            if says_hello:
                learner.hello()
        for actor, messages in self.in_hand.items():
            units = [message.unit for message in messages] if knows_units else []
            self.books.dispatcher.actor_joined(actor, actor, units)

    # What must hold

    @invariant()
    def the_books_close_and_no_unit_is_forgotten(self) -> None:
        self.books.check()

    def teardown(self) -> None:
        """Nothing goes wrong any more."""
        for agent in AGENTS:
            self.learner_says_hello(agent)
        for _ in range(LOOKS_MAX):
            if self.books.dispatcher.finished:
                break
            self.all_goes_well()
        self.broker_looks()
        assert self.books.dispatcher.finished
        assert self.streams.units == {}
        for agent, ledger in self.books.dispatcher.ledgers.items():
            assert ledger.closed
            assert [*ledger.stored] == [*self.learners[agent].units] == [(0, UNITS - 1)]

    def all_goes_well(self) -> None:
        self.broker_cuts(taken=True)
        for actor in ACTORS:
            self.actor_fetches(actor, AHEAD, says=True)
            self.actor_finishes(actor, AHEAD, acknowledges=True, heard=True)
        for agent in AGENTS:
            self.learner_stores(agent, UNITS * len(ACTORS), heard=True)
            self.learner_trains(agent)
        self.broker_looks()
        self.books.check()
        self.books.clock.advance(LOOK_S)


UnreliableStreams.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestUnreliableStreams = UnreliableStreams.TestCase

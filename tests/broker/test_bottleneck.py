from collections.abc import Callable

import pytest

from broker.bottleneck import LATE_S, bottleneck
from broker.registry import AWAY_AFTER_S, Registry, Service
from common.bottlenecks import BottleneckKind
from common.messages import ActorReport, Hello, LearnerReport, Role, StoreTotals
from tests.broker.books import Books


@pytest.fixture
def books() -> Books:
    return Books(ahead=4)


@pytest.fixture
def registry(books) -> Registry:
    return Registry(books.clock)


def learners_join(books: Books, registry: Registry) -> list:
    learners = books.learners()
    for learner in learners:
        name = f"learner-{learner.agent}"
        registry.join(
            Hello(
                role=Role.LEARNER,
                name=name,
                session=learner.session,
                host="h",
                pid=1,
                software="0",
                agent=learner.agent,
            )
        )
    return learners


def report(service: Service, finished: bool) -> LearnerReport:
    return LearnerReport(
        agent=service.hello.agent, session=service.hello.session,
        totals=StoreTotals(), trained_units=2,
        transitions_trained=0, step=1, version=1, finished=finished,
    )  # fmt: skip


def actor_joins(books: Books, registry: Registry, name: str = "a", **figures) -> None:
    books.actor(name, capacity=1)
    service = registry.join(Hello(role=Role.ACTOR, name=name, session=f"{name}-1", host="h", pid=2, software="0"))
    service.actor = ActorReport(**figures)


def named(books: Books, registry: Registry, broker_share: float = 0.0) -> str:
    return str(bottleneck(books.dispatcher, registry, broker_share))


def test_a_learner_that_never_came_is_named(books, registry):
    books.learner("white")
    assert named(books, registry) == "waiting: no learner has said hello for black"


def test_a_learner_that_has_gone_is_named(books, registry):
    white, _ = learners_join(books, registry)
    books.dispatcher.learner_left("white", white.session)
    assert named(books, registry) == "learner-bound: the learner of white is away"


def test_a_learner_that_has_fallen_silent_is_named(books, registry):
    _, black = learners_join(books, registry)
    books.clock.advance(AWAY_AFTER_S + 1)
    registry.heard(black.session)
    assert named(books, registry) == "learner-bound: the learner of white is away"


def test_without_actors_it_waits_for_them(books, registry):
    learners_join(books, registry)
    assert named(books, registry) == "waiting: no actor is at work"


def test_an_actor_that_has_fallen_silent_counts_no_more(books, registry):
    white, black = learners_join(books, registry)
    actor_joins(books, registry, engine_share=1.0)
    books.clock.advance(AWAY_AFTER_S + 1)
    registry.heard(white.session)
    registry.heard(black.session)
    assert named(books, registry) == "waiting: no actor is at work; away: a"


def test_of_many_actors_that_are_away_some_are_named(books, registry):
    white, black = learners_join(books, registry)
    for number in range(8):
        actor_joins(books, registry, f"far-{number}", engine_share=1.0)
    books.clock.advance(AWAY_AFTER_S + 1)
    registry.heard(white.session)
    registry.heard(black.session)
    assert (
        named(books, registry) == "waiting: no actor is at work; away: far-0, far-1, far-2, far-3, far-4 and 3 more"
    )


@pytest.fixture
def unit_awaited(books, registry) -> Callable[..., str]:
    """The bottleneck when unit 0 was leased to a while ago, and b, the other actor, has done all the others."""
    learners_join(books, registry)
    for name in "ab":
        actor_joins(books, registry, name, engine_share=0.1, lease_wait_share=0.9)
    assert books.leased()[0] == ("a", 0, ("white", "black"))
    for unit in (1, 2, 3):
        for agent in ("white", "black"):
            books.receive(unit, agent, "b")

    def found(seconds: float, *, in_hand: bool = False, away: bool = False) -> str:
        books.clock.advance(seconds)
        actor = registry.by_name["a"]
        actor.units = [0] if in_hand else []
        for service in registry.by_name.values():
            if service is not actor or not away:
                registry.heard(service.hello.session)
        return named(books, registry)

    return found


def test_a_unit_that_is_neither_in_its_actors_hands_nor_come_back_is_the_networks_doing(unit_awaited):
    assert not unit_awaited(LATE_S - 1).startswith("network-bound")
    assert (
        unit_awaited(2)
        == "network-bound: white waits for unit 0, leased to a 6 s ago and stuck on the way there or back"
    )


def test_a_unit_whose_actor_is_away_is_waited_for(unit_awaited):
    found = unit_awaited(AWAY_AFTER_S + 1, away=True)
    assert found == "waiting: white waits for unit 0, leased to a 11 s ago, which is away"


def test_an_actor_that_is_long_at_a_unit_for_which_the_window_waits_is_named(unit_awaited):
    found = unit_awaited(45, in_hand=True)
    assert found == "actor-bound: white waits for unit 0, leased to a 45 s ago, and the window is full"


@pytest.mark.parametrize(
    ("figures", "share", "text"),
    [
        ({"engine_share": 0.9}, 0.1, "Stockfish-bound: engines are busy 90% of the time"),
        ({"engine_share": 0.9}, 0.9, "broker-bound: its loop is busy 90% of the time"),
        (
            {"engine_share": 0.2, "lease_wait_share": 0.7},
            0.1,
            "broker-bound: actors wait for units 70% of the time",
        ),
        ({"engine_share": 0.2}, 0.1, "actor-bound: replaying games; engines are busy 20% of the time"),
    ],
)
def test_with_units_at_work_the_figures_decide(books, registry, figures, share, text):
    learners_join(books, registry)
    actor_joins(books, registry, **figures)
    books.lease()
    assert named(books, registry, share) == text


def test_a_window_full_of_units_to_be_trained_is_the_slowest_learners_doing(books, registry):
    white, _ = learners_join(books, registry)
    actor_joins(books, registry, engine_share=0.1)
    for unit in range(4):
        for agent in ("white", "black"):
            books.receive(unit, agent)
    white.train(3)
    assert named(books, registry) == "learner-bound: black has trained 0 units, the window is full"


def test_a_window_full_of_leased_units_is_not_the_learners_doing(books, registry):
    learners_join(books, registry)
    for name in "abcde":
        actor_joins(books, registry, name, engine_share=0.95)
    assert len(books.lease()) == 4
    assert named(books, registry).startswith("Stockfish-bound")


def test_at_the_end_the_learners_are_what_is_waited_for(books, registry):
    books.dispatcher.units_total = 2
    white, black = learners_join(books, registry)
    actor_joins(books, registry)
    for learner in (white, black):
        learner.store(0, 1)
    assert named(books, registry) == "learner-bound: every unit is stored, training goes on"
    for learner in (white, black):
        learner.train(2)
    assert named(books, registry) == "none: every unit is trained"
    for finished, expected in ((False, "learner-bound: every unit is trained on, the last"), (True, "none:")):
        for service in registry.of_role(Role.LEARNER):
            service.learner = report(service, finished)
        assert named(books, registry).startswith(expected)


def test_for_programs_there_is_the_kind_and_whose_learners_it_is(books, registry):
    def kind_and_agents() -> tuple[BottleneckKind, list[str]]:
        found = bottleneck(books.dispatcher, registry, 0.0)
        return found.kind, list(found.agents)

    assert kind_and_agents() == (BottleneckKind.WAITING, ["white", "black"])
    white, _ = learners_join(books, registry)
    assert kind_and_agents() == (BottleneckKind.WAITING, [])
    actor_joins(books, registry, engine_share=0.9)
    assert kind_and_agents() == (BottleneckKind.STOCKFISH, [])
    for unit in range(4):
        for agent in ("white", "black"):
            books.receive(unit, agent)
    white.train(3)
    assert kind_and_agents() == (BottleneckKind.LEARNER, ["black"])
    books.dispatcher.learner_left("white", white.session)
    assert kind_and_agents() == (BottleneckKind.LEARNER, ["white"])

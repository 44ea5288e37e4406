import pytest

from broker.registry import (
    AWAY_AFTER_S,
    FORGOTTEN_AFTER_S,
    MAX_REPLACED,
    STRANGER_FORGOTTEN_AFTER_S,
    Registry,
)
from common.messages import ActorReport, CollectorReport, Hello, LearnerReport, Role, StoreTotals
from tests.broker.books import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock) -> Registry:
    return Registry(clock)


def hello(name: str, role: Role = Role.ACTOR, session: str = "1") -> Hello:
    return Hello(role=role, name=name, session=f"{name}-{session}", host="here", pid=7, software="0")


def state(registry: Registry, name: str) -> str:
    return next(service.state for service in registry.status() if service.name == name)


def report(**figures) -> LearnerReport:
    figures = {
        "trained_units": 0,
        "transitions_trained": 0,
        "step": 0,
        "version": 0,
        "totals": StoreTotals(),
    } | figures
    return LearnerReport(agent="white", session="w", **figures)


def test_a_service_is_found_by_name_and_by_session_until_it_leaves(registry):
    service = registry.join(hello("a"))
    assert registry.by_name["a"] is registry.of_session("a-1") is service
    registry.leave(service)
    assert "a" not in registry.by_name
    assert registry.heard("a-1") is None


def test_a_service_that_says_hello_again_keeps_what_is_known_of_it(registry):
    service = registry.join(hello("a"))
    service.order = "paused"
    assert registry.join(hello("a")) is service
    assert service.order == "paused"


def test_the_sessions_that_were_replaced_are_remembered_up_to_a_number(registry):
    for number in range(MAX_REPLACED + 5):
        registry.note_replaced(f"s{number}", "newer")
    assert len(registry.replaced) == MAX_REPLACED
    assert "s4" not in registry.replaced
    assert registry.replaced["s5"] == "newer"


def test_progress_is_when_the_counter_moved_not_when_the_service_spoke(registry, clock):
    service = registry.join(hello("a"))
    for seconds, positions in ((5, 10), (5, 10), (5, 11)):
        clock.advance(seconds)
        before = registry.heard("a-1").progress
        service.actor = ActorReport(positions=positions)
        registry.progressed(service, before)
        clock.advance(1)
    (status,) = registry.status()
    assert (status.seen_s, status.progress_s) == (1, 1)
    clock.advance(3)
    before = registry.heard("a-1").progress
    registry.progressed(service, before)
    (status,) = registry.status()
    assert (status.seen_s, status.progress_s) == (0, 4)


@pytest.mark.parametrize(
    ("figures", "progress"),
    [
        ({"actor": ActorReport(positions=3)}, 3),
        ({"learner": report(totals=StoreTotals(transitions=5), transitions_trained=2)}, 7),
        ({"collector": CollectorReport(records=9, missing=1)}, 9),
        ({}, 0),
    ],
)
def test_each_role_has_its_own_counter_of_progress(registry, figures, progress):
    service = registry.join(hello("a"))
    for name, value in figures.items():
        setattr(service, name, value)
    assert service.progress == progress


def test_states_are_what_an_operator_wants_to_know(registry, clock):
    actor = registry.join(hello("a"))
    assert state(registry, "a") == "waiting"
    actor.units = [3]
    assert state(registry, "a") == "working"
    actor.order = "draining"
    assert state(registry, "a") == "draining"
    learner = registry.join(hello("w", Role.LEARNER))
    assert state(registry, "w") == "working"
    learner.learner = report(finished=True)
    assert state(registry, "w") == "finished"
    registry.join(hello("logs", Role.COLLECTOR))
    assert state(registry, "logs") == "collecting"
    clock.advance(AWAY_AFTER_S + 0.1)
    assert [service.state for service in registry.status()] == ["away"] * 3


def test_the_status_is_in_order_of_role_and_name(registry):
    for name, role in (("z", Role.ACTOR), ("l", Role.LEARNER), ("a", Role.ACTOR), ("c", Role.COLLECTOR)):
        registry.join(hello(name, role))
    assert [service.name for service in registry.status()] == ["a", "z", "c", "l"]


def test_a_service_is_long_gone_after_an_hour_of_silence(registry, clock):
    registry.join(hello("a")).actor = ActorReport()
    clock.advance(FORGOTTEN_AFTER_S)
    registry.join(hello("b"))
    assert registry.long_gone() == []
    clock.advance(1)
    assert [service.hello.name for service in registry.long_gone()] == ["a"]


def test_a_service_that_never_said_more_than_hello_is_forgotten_soon(registry, clock):
    registry.join(hello("stranger"))
    registry.join(hello("paused")).order = "paused"
    clock.advance(STRANGER_FORGOTTEN_AFTER_S)
    assert registry.long_gone() == []
    clock.advance(1)
    assert [service.hello.name for service in registry.long_gone()] == ["stranger"]

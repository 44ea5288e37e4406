"""Nothing that a peer sends stops a broker or gets to where it does harm."""

import itertools

from common import wire
from common.links import Delivered, LeasedUnit, Weights
from common.messages import (
    Action,
    BatchHeader,
    Command,
    Interval,
    LeaseRequest,
    LogRecord,
    Role,
    StatusRequest,
    Welcome,
)
from tests.links.peers import AGENTS, agents, weights
from tests.links.said import NONSENSE, actors_hello, heard, learners_hello, say
from tests.until import until

LIE = 10**6
"""Version of weights that are none."""


def test_what_makes_no_sense_is_counted_and_dropped(broker, stranger, operator, actor):
    somebody = stranger(Role.ACTOR, "actor-7")
    for envelope in NONSENSE:
        somebody.say(envelope)
    until(lambda: sum(operator.status(5.0).dropped.values()) == len(NONSENSE))
    actor().wait(Welcome)


def test_a_learner_with_intervals_that_are_none_is_dropped(broker, stranger, operator):
    somebody = stranger(Role.LEARNER, "white", "dead")
    for stored in ([Interval(5, 3)], [Interval(0, 2**53), Interval(3, 1)]):
        say(somebody, learners_hello("white", "dead", stored=stored))
    until(lambda: operator.status(5.0).dropped.get("hello") == 2)
    assert operator.status(5.0).services == []


def test_a_learner_that_claims_the_whole_world_costs_nothing(broker, stranger, actor, operator):
    for agent in AGENTS:
        somebody = stranger(Role.LEARNER, agent, agent)
        say(somebody, learners_hello(agent, agent, stored=[Interval(0, 2**53)], trained_units=2**53))
        assert isinstance(heard(somebody), Welcome)
    actor()
    until(lambda: operator.status(5.0).finished)
    again = stranger(Role.LEARNER, "white", "white2")
    say(again, learners_hello("white", "white2", started_ns=9))
    assert isinstance(heard(again), Welcome)
    assert not operator.status(5.0).finished


def test_one_who_asks_and_is_gone_before_the_answer_hurts_nobody(broker, stranger, operator):
    for message in (
        StatusRequest(),
        Command(action=Action.PAUSE, names=[]),
        LeaseRequest(capacity=1),
        actors_hello("actor-7", "gone"),
    ):
        for _ in range(20):
            somebody = stranger(Role.ACTOR, "actor-7", "gone")
            say(somebody, message)
            somebody.close()
    assert operator.status(5.0)


def test_batches_that_are_none_are_delivered_to_nobody(broker, actor, learners, stranger, operator):
    white, _ = learners()
    first = actor()
    first.wait(LeasedUnit)
    somebody = stranger(Role.ACTOR, "actor-0")
    header = BatchHeader(unit=0, agent="red", transitions=1, games=1, actor="actor-0")
    for envelope in (*NONSENSE, wire.encode(header)):
        somebody.send_batch("white", 0, envelope, b"body")
    first.send(0, "white")
    until(lambda: white.of(Delivered), lambda: (first.poll(), white.poll()))
    for _ in range(5):
        white.poll()
    assert [event.body for event in white.of(Delivered)] == [b"batch"]
    white.store(0)
    until(lambda: agents(operator)["white"].units_stored == 1, white.poll)
    assert agents(operator)["white"].closed


def test_weights_that_are_none_come_to_no_actor(site, broker, actor, learner, stranger, operator):
    white = learner("white").join()
    first = actor()
    first.wait(Welcome)
    somebody = stranger(Role.LEARNER, "white", white.session)
    header, body = white.weights(LIE)
    lies = [
        *((envelope, body) for envelope in NONSENSE),
        (wire.encode(header), b"short"),
        (wire.encode(weights("black", LIE, session=white.session)[0]), body),
    ]
    if site.weights_pass_the_broker:  # of a learner that is not the agent's
        lies.append((wire.encode(weights("white", LIE, session="another")[0]), body))
    versions = itertools.count(1)

    def turn() -> None:
        for envelope, content in lies:
            somebody.publish("white", envelope, content)
        white.link.publish(*white.weights(next(versions)))
        white.poll()
        first.poll()

    until(lambda: first.of(Weights), turn)
    for _ in range(5):
        turn()
    assert {(event.header.agent, event.header.session) for event in first.of(Weights)} == {("white", white.session)}
    assert LIE not in {event.header.version for event in first.of(Weights)}
    assert operator.status(5.0)


def test_log_records_that_are_none_are_counted_by_the_collector(broker, stranger, collector, operator):
    logs, somebody = collector(), stranger(Role.ACTOR, "actor-0")
    until(lambda: logs.link.malformed >= 3, lambda: (somebody.log(b"\xc1"), logs.poll()))
    record = LogRecord(source="actor-0.1", number=0, time_ns=0, level="INFO", logger="x", event="there")
    until(lambda: record in logs.records, lambda: (somebody.log(wire.encode(record)), logs.poll()))
    assert operator.status(5.0)

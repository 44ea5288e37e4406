import random

import pytest

from common import wire
from common.keys import KeyHolder
from common.links import Delivered
from common.messages import (
    BatchHeader,
    Declined,
    Goodbye,
    Hello,
    LearnerReport,
    PublishAgain,
    Refusal,
    Role,
    Stored,
    Totals,
    Unknown,
    Welcome,
)
from common.nats import deliveries as nats_deliveries
from common.nats import frames as nats_frames
from common.nats import learner_link as nats_learner_link
from common.nats import parts as nats_parts
from common.nats import weights as nats_weights
from tests.common.nats.scripted import ScriptedBroker, transport_to
from tests.links.peers import IDENTITY, Actor, Learner
from tests.until import until

ME = KeyHolder(Role.LEARNER, "white")
REDELIVERY_S = 1.0
BODY = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def broker(shared, names):
    with ScriptedBroker(shared.address, names, redelivery_s=REDELIVERY_S) as made:
        yield made


@pytest.fixture
def learner(shared, names, closing):
    def start(agent: str = "white", **others) -> Learner:
        return closing(Learner(transport_to(shared.address, names, "learner", agent), agent, **others))

    return start


@pytest.fixture
def actor(shared, names, closing):
    return closing(Actor(transport_to(shared.address, names)))


def sent(
    broker: ScriptedBroker, unit: int, body: bytes = b"batch", agent: str = "white", sending: str = ""
) -> None:
    """Store a batch as an actor does."""
    header = BatchHeader(unit=unit, agent=agent, transitions=100, games=2, actor="actor-0")
    payload = nats_frames.pack(wire.encode(header), body)
    for part in nats_parts.cut(payload, 2**19, sending or nats_parts.new_sending()):
        broker.do(broker.connection.store(broker.names.batch(agent, unit), part.data, headers=part.headers()))


def units(learner: Learner) -> list[int]:
    return [event.header.unit for event in learner.of(Delivered)]


def left(broker: ScriptedBroker) -> int:
    """Messages in the experience stream."""
    state = broker.do(broker.connection.api(f"STREAM.INFO.{broker.names.experience_stream}"))["state"]
    found: int = state["messages"]
    return found


# Hello and control


def test_a_learner_says_what_it_has_and_is_welcome(broker, learner):
    white = learner(units=3)
    white.wait(Welcome)
    (hello,) = broker.of(Hello)
    assert (hello.name, hello.agent, hello.trained_units) == ("learner-white", "white", 3)
    assert [(each.first, each.last) for each in hello.stored] == [(0, 2)]
    assert hello.settings == IDENTITY
    assert broker.heard[0][0] == ME


def test_what_the_broker_says_comes_and_it_says_hello_again_when_it_is_unknown(broker, learner):
    white = learner()
    white.wait(Welcome)
    broker.say(ME, white.session, Totals(units=8, games=16))
    broker.say(ME, white.session, PublishAgain())
    broker.say(ME, white.session, Unknown())
    assert white.wait(Totals)[0] == Totals(units=8, games=16)
    white.wait(PublishAgain)
    white.wait(Welcome, 2)
    assert white.hellos == 2


def test_what_a_learner_says_gets_to_the_broker(broker, learner):
    white = learner().join()
    sent(broker, 0)
    white.wait(Delivered)
    white.store(0)
    white.report()
    white.link.decline(3, "because" + "!" * 5000)
    assert broker.wait(Stored, 1, white.poll)[0].units[0].unit == 0
    assert broker.wait(LearnerReport)[0].totals.units == 1
    (declined,) = broker.wait(Declined)
    assert (declined.unit, len(declined.reason)) == (3, 4096)


# Batches


def test_batches_come_whole_and_are_gone_once_they_are_stored(broker, learner, actor):
    actor.wait(Welcome)
    actor.send(0, "white", BODY)
    actor.send(1, "white", b"")
    white = learner().join()
    zero, one = white.wait(Delivered, 2)
    assert (zero.header.unit, zero.body) == (0, BODY)
    assert (one.header.unit, one.body, one.header.actor) == (1, b"", "actor-0")
    assert left(broker) == 7
    white.store(0)
    until(lambda: left(broker) == 1, white.poll)
    white.store(1)
    until(lambda: left(broker) == 0, white.poll)


def test_only_its_own_agents_batches_come(broker, learner):
    sent(broker, 0, agent="black")
    sent(broker, 1)
    white = learner().join()
    white.wait(Delivered)
    assert units(white) == [1]


def test_no_more_than_the_credit_come(broker, learner):
    for unit in range(5):
        sent(broker, unit)
    white = learner().join(credit=2)
    white.wait(Delivered, 2)
    for _ in range(5):
        white.poll()
    assert units(white) == [0, 1]
    white.store(0)
    white.wait(Delivered, 3)
    for _ in range(5):
        white.poll()
    assert units(white) == [0, 1, 2]


@pytest.mark.parametrize("credit", [1, 2])
def test_batches_in_more_parts_than_the_credit_come(broker, learner, credit):
    for unit in range(3):
        sent(broker, unit, BODY)
    white = learner().join(credit=credit)
    white.stores = True
    white.wait(Delivered, 3)
    until(lambda: left(broker) == 0, white.poll)


def test_without_credit_or_a_welcome_nothing_comes(broker, learner):
    sent(broker, 0)
    white = learner().join(credit=0)
    for _ in range(20):
        white.poll()
    assert units(white) == []
    broker.refusing = "no"
    other = learner(name="other")
    other.wait(Refusal)
    other.credit = 8
    for _ in range(20):
        other.poll()
    assert units(other) == []
    white.credit = 1
    white.wait(Delivered)


def test_a_batch_that_is_not_acknowledged_comes_again(broker, learner):
    sent(broker, 0, BODY)
    white = learner().join()
    white.wait(Delivered)
    again = white.wait(Delivered, 2)
    assert again[0] == again[1]
    white.store(0)
    until(lambda: left(broker) == 0, white.poll)


def test_a_batch_that_comes_twice_is_handed_on_twice_and_one_word_of_it_is_enough(broker, learner):
    sent(broker, 0)
    sent(broker, 0)
    white = learner().join()
    white.wait(Delivered, 2)
    white.store(0)
    until(lambda: left(broker) == 0, white.poll)


def test_parts_of_a_unit_that_is_stored_are_dropped_though_the_others_never_come(broker, learner):
    header = BatchHeader(unit=0, agent="white", transitions=100, games=2, actor="gone")
    first, *_ = nats_parts.cut(nats_frames.pack(wire.encode(header), BODY), 2**19, "unfinished")
    broker.do(broker.connection.store(broker.names.batch("white", 0), first.data, headers=first.headers()))
    sent(broker, 0)
    white = learner().join()
    white.wait(Delivered)
    white.store(0)
    until(lambda: left(broker) == 0, white.poll)


def test_parts_whose_sender_is_gone_are_given_up_after_a_while(broker, learner, monkeypatch):
    monkeypatch.setattr(nats_deliveries, "ABANDONED_S", 0.5)
    monkeypatch.setattr(nats_learner_link, "TIDY_S", 0.1)
    header = BatchHeader(unit=0, agent="white", transitions=100, games=2, actor="gone")
    first, *_ = nats_parts.cut(nats_frames.pack(wire.encode(header), BODY), 2**19, "unfinished")
    broker.do(broker.connection.store(broker.names.batch("white", 0), first.data, headers=first.headers()))
    white = learner().join()
    until(lambda: left(broker) == 0, white.poll)
    assert units(white) == []


def test_a_declined_batch_is_gone_and_another_copy_of_its_unit_stays(broker, learner):
    sent(broker, 0, b"bad")
    sent(broker, 0, b"good")
    white = learner().join()
    white.wait(Delivered, 2)
    white.link.decline(0, "bad")
    until(lambda: left(broker) == 1, white.poll)
    again = white.wait(Delivered, 3)
    assert again[2].body == b"good"
    white.store(0)
    until(lambda: left(broker) == 0, white.poll)


def test_what_a_learner_leaves_comes_to_the_next_one_at_once(shared, names, learner):
    with ScriptedBroker(shared.address, names) as broker:  # which delivers again after 30 s by itself
        sent(broker, 0, BODY)
        sent(broker, 1)
        first = learner().join()
        first.wait(Delivered, 2)
        first.close()
        anew = learner().join()
        assert sorted(event.body for event in anew.wait(Delivered, 2)) == sorted((BODY, b"batch"))
        assert broker.wait(Goodbye)


@pytest.mark.parametrize(
    ("agent", "unit", "headers", "data"),
    [
        ("white", 0, None, b"nonsense"),
        ("white", 0, {"Sending": "a", "Part": "0", "Parts": "1", "Size": "8"}, b"nonsense"),
        ("white", 0, {"Sending": "a", "Part": "0", "Parts": "1", "Size": "9"}, b"nonsense"),
        ("white", 0, {"Sending": "a", "Part": "0", "Parts": "9", "Size": "99999999999"}, b"nonsense"),
        ("white", 0, {"Sending": "a", "Part": "9", "Parts": "1", "Size": "8"}, b"nonsense"),
    ],
)
def test_messages_that_are_no_batches_are_dropped_for_good(broker, learner, agent, unit, headers, data):
    broker.do(broker.connection.store(broker.names.batch(agent, unit), data, headers=headers))
    white = learner().join()
    until(lambda: left(broker) == 0, white.poll)
    assert white.link._deliveries.dropped == 1
    sent(broker, 5)
    white.wait(Delivered)
    assert units(white) == [5]


@pytest.mark.parametrize("header", [
    BatchHeader(unit=1, agent="white", transitions=1, games=1, actor="a"),
    BatchHeader(unit=0, agent="black", transitions=1, games=1, actor="a"),
])  # fmt: skip
def test_batches_under_anothers_subject_are_dropped_for_good(broker, learner, header):
    (part,) = nats_parts.cut(nats_frames.pack(wire.encode(header)), 2**19, "s")
    broker.do(broker.connection.store(broker.names.batch("white", 0), part.data, headers=part.headers()))
    white = learner().join()
    until(lambda: left(broker) == 0, white.poll)
    assert units(white) == []


# Weights


def test_weights_are_published_the_latest_before_the_end(broker, learner):
    white = learner().join()
    for version in range(1, 6):
        white.link.publish(*white.weights(version, BODY[:800_000]))
    white.close()
    told = broker.do(nats_weights.look(broker.connection, broker.names.weights, "white"))
    assert (told.session, told.version) == (white.session, 5)


def test_weights_that_the_broker_misses_can_be_published_again(broker, learner):
    white = learner().join()
    white.link.publish(*white.weights(3))
    bucket = broker.names.weights

    def told():
        return broker.do(nats_weights.look(broker.connection, bucket, "white"))

    until(told)
    broker.do(broker.connection.api(f"STREAM.PURGE.{bucket.stream}", {}))
    broker.say(ME, white.session, PublishAgain())
    white.wait(PublishAgain)
    white.link.publish(*white.weights(3))
    until(told)


# A server that goes and comes


def test_deliveries_go_on_over_a_server_that_is_killed(server, names, closing):
    with ScriptedBroker(server.address, names) as broker:
        sent(broker, 0)
        white = closing(Learner(transport_to(server.address, names, "learner", "white"), "white")).join()
        white.wait(Delivered)
        server.kill()
        white.store(0)  # the word of it gets lost
        for _ in range(10):
            white.poll()
        server.start()
        sent(broker, 1)
        until(lambda: 1 in units(white), white.poll)
        white.store(1)
        until(lambda: left(broker) == 1, white.poll)


def test_an_acknowledgement_that_got_lost_is_given_again_and_the_batch_not_handed_on(server, names, closing):
    with ScriptedBroker(server.address, names, redelivery_s=1.0) as broker:
        sent(broker, 0)
        white = closing(Learner(transport_to(server.address, names, "learner", "white"), "white")).join()
        white.wait(Delivered)
        server.kill()
        until(lambda: white.link._channel.connection is None, white.poll)
        white.store(0)
        server.start()
        until(lambda: left(broker) == 0, white.poll)
        assert units(white) == [0]

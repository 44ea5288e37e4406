"""The router over its sockets: frames as they stand, and what it makes of them inside.

What peers may count on, whatever the transport, is in tests/links.
"""

import time

import msgpack
import pytest
import zmq

from broker.feed import UnitFeed
from common import wire
from common.errors import BrokerUnreachable, OperatorError, SourceError
from common.links import LeasedUnit, Weights
from common.messages import (
    Action,
    Command,
    CommandReply,
    Credit,
    Hello,
    LeaseRequest,
    Refusal,
    Role,
    Status,
    StatusRequest,
    WeightsHeader,
    WeightsRequest,
    Welcome,
)
from common.zmq import sockets
from common.zmq.ports import Ports, own_topic
from tests.broker.live import LiveBroker, way_to
from tests.links.peers import IDENTITY, Actor, Learner, services, weights
from tests.links.said import hello_of
from tests.until import until


@pytest.fixture
def broker(base_port):
    with LiveBroker(base_port) as broker:
        yield broker


@pytest.fixture
def actor(base_port, closing):
    def start(name: str = "actor-0", **others) -> Actor:
        return closing(Actor(way_to(base_port), name, **others))

    return start


@pytest.fixture
def learner(base_port, closing):
    def start(agent: str, **others) -> Learner:
        return closing(Learner(way_to(base_port), agent, **others))

    return start


@pytest.fixture
def learners(learner):
    def start(**others) -> list[Learner]:
        return [learner(agent, **others).join() for agent in ("white", "black")]

    return start


@pytest.fixture
def operator(base_port, closing):
    return closing(way_to(base_port).operator())


@pytest.fixture
def stranger(base_port, closing):
    """Makes raw sockets to one of the broker's channels."""

    def connect(kind: int, channel: str, identity: str | None = None) -> zmq.Socket:
        socket = sockets.make(zmq.Context.instance(), kind)
        socket.setsockopt(zmq.LINGER, 0)
        if identity is not None:
            socket.setsockopt(zmq.ROUTING_ID, identity.encode())
        socket.connect(getattr(Ports("127.0.0.1", base_port), channel))
        return closing(socket)

    return connect


def answer(socket: zmq.Socket, kinds) -> object:
    assert socket.poll(5000), "no answer"
    return wire.decode(socket.recv_multipart()[0], kinds)


# Hello


def test_a_session_that_is_not_the_senders_is_no_hello(broker, stranger, operator):
    socket = stranger(zmq.DEALER, "control", "aaaa")
    hello = Hello(role=Role.COLLECTOR, name="logs", session="bbbb", host="h", pid=1, software="0")
    socket.send(wire.encode(hello))
    assert operator.status(5.0).services == []


def test_a_process_that_was_replaced_gives_its_units_to_the_newer_one_at_once_and_stays_away(
    broker, actor, learners
):
    learners()
    first = actor()
    first.wait(LeasedUnit)
    second = actor()
    second.wait(Welcome)
    first.wait(Refusal)
    assert [event.lease.unit for event in second.wait(LeasedUnit)] == [0]
    for _ in range(5):
        first.link.capacity(1)
        first.poll()
        second.poll()
    assert broker.router.desk.registry.by_name["actor-0"].hello.session == second.session
    assert second.of(Refusal) == []


def test_a_session_that_goes_by_another_name_leaves_its_first(broker, stranger, operator):
    socket = stranger(zmq.DEALER, "control", "one")
    for name in ("a", "b"):
        socket.send(wire.encode(hello_of("one", role=Role.ACTOR, name=name, settings=IDENTITY)))
        answer(socket, Welcome)
        socket.send(wire.encode(LeaseRequest(capacity=1)))
    assert set(services(operator)) == {"b"}
    assert set(broker.dispatcher.actors) == {"b"}


def test_without_a_broker_an_operator_is_told_where_it_was_looked_for(base_port, operator):
    with pytest.raises(
        BrokerUnreachable,
        match=rf"^no broker answers at tcp://127\.0\.0\.1:{base_port} within 0\.05 s: is it running",
    ):
        operator.status(0.05)


# Leases and batches


def test_credit_of_another_session_is_none(broker, learner, stranger):
    white = learner("white").join(credit=3)
    until(lambda: broker.dispatcher.ledgers["white"].capacity == 3, white.poll)
    white.credit = None  # it gives no more itself
    socket = stranger(zmq.DEALER, "delivery", "eeee")
    for session in ("eeee", white.session):
        socket.send(wire.encode(Credit(agent="white", session=session, batches=99)))
    socket.send(wire.encode(Credit(agent="red", session="eeee", batches=99)))
    until(lambda: broker.router.desk.dropped["credit for an unknown agent"])
    assert broker.dispatcher.ledgers["white"].capacity == 3


def test_a_unit_whose_lease_ran_out_is_the_next_one_to_be_leased(broker, actor, learners):
    learners()
    first = actor()
    first.wait(LeasedUnit)
    first.renew([0], 5)
    until(lambda: broker.dispatcher.actors["actor-0"].positions == 5)
    broker.clock.advance(61.0)
    until(lambda: not broker.dispatcher.actors["actor-0"].leases)
    second = actor("actor-1")
    assert second.wait(LeasedUnit)[0].lease.unit == 0


def test_a_unit_of_an_actor_that_said_goodbye_is_the_next_one_to_be_leased(broker, actor, learners):
    learners()
    first = actor()
    first.wait(LeasedUnit)
    first.close()
    assert actor("actor-1").wait(LeasedUnit)[0].lease.unit == 0


def test_an_actor_that_is_gone_without_a_word_loses_its_lease_when_it_is_sent_to(
    broker, base_port, actor, learners
):
    learners()
    first = Actor(way_to(base_port), capacity=1)
    first.wait(LeasedUnit)
    first.link._control.close(goodbye=False)
    first.link._batches.close(linger=0)
    first.link._weights.close(linger=0)
    broker.clock.advance(61.0)
    assert actor("actor-1").wait(LeasedUnit)[0].lease.unit == 0


# Weights


def test_weights_with_a_wrong_hash_are_dropped(broker, actor, learner):
    white = learner("white").join()
    first = actor()
    first.wait(Welcome)
    header, _ = white.weights(3)
    until(lambda: broker.router.desk.dropped["weights are not what they say"],
          lambda: (white.link.publish(header, b"\x01" * 8), first.poll()))  # fmt: skip
    white.link.publish(*white.weights(4))
    first.wait(Weights)
    assert [event.header.version for event in first.of(Weights)] == [4]


def test_weights_that_are_not_what_they_say_are_dropped_by_the_broker(broker, learner, stranger):
    white = learner("white").join()
    socket = stranger(zmq.PUB, "weights_in")
    header, body = white.weights(3)
    other, _ = weights("white", 3, session="another")
    red, _ = weights("red", 3)
    for frames in ([b"white", wire.encode(header), b"short"], [b"black", wire.encode(header), body],
                   [b"red", wire.encode(red), body], [b"white", wire.encode(other), body],
                   [b"white", wire.encode(header)]):  # fmt: skip
        before = sum(broker.router.desk.dropped.values())
        until(lambda before=before: sum(broker.router.desk.dropped.values()) > before,
              lambda frames=frames: (socket.send_multipart(frames), time.sleep(0.002)))  # fmt: skip
    assert broker.router._weights.version("white", white.session) == -1


# Operator


def test_the_answer_to_an_earlier_question_is_not_taken_for_this_ones(broker, operator):
    operator._socket.send(wire.encode(StatusRequest()))  # its asker has given up
    assert operator.command("pause", [], 5.0) == ([], [])
    assert isinstance(operator.status(5.0), Status)


# Nothing that a peer sends stops it


def garbage() -> list[list[bytes]]:
    totals = {"kind": "totals", "units": 1, "games": 1}
    return [
        [b""], [b"\xc1"], [b"x" * 5000], [b"\x91" * 100_000], [b"", b"", b""], [msgpack.packb({"v": 3, **totals})],
        [msgpack.packb({"v": 7, **totals})], [wire.encode(LeaseRequest(capacity=1))] * 9,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "channel"),
    [(zmq.DEALER, "control"), (zmq.PUSH, "experience"), (zmq.DEALER, "delivery"), (zmq.PUB, "weights_in")],
)
def test_what_makes_no_sense_is_counted_and_dropped(broker, stranger, operator, kind, channel):
    socket = stranger(kind, channel)
    count = len(garbage())

    def send_all() -> None:
        for frames in garbage():
            socket.send_multipart(frames)

    if kind != zmq.PUB:
        send_all()
        until(lambda: sum(broker.router.desk.dropped.values()) == count)
    else:  # what comes before the subscription is lost
        until(lambda: sum(broker.router.desk.dropped.values()) >= count, lambda: (send_all(), time.sleep(0.002)))
    assert sum(operator.status(5.0).dropped.values()) >= count


def test_what_makes_no_sense_is_forwarded_to_collectors_and_hurts_nobody(
    broker, stranger, operator, base_port, closing
):
    logs = closing(way_to(base_port).collector("logs", "c011ec70"))
    socket = stranger(zmq.PUB, "logs_in")
    until(lambda: logs.malformed >= 3, lambda: (socket.send(b"\xc1"), logs.poll(0.01)))
    until(lambda: broker.router.desk.dropped["log record frames"], lambda: socket.send_multipart([b"\xc1", b"x"]))
    assert operator.status(5.0)


def test_one_who_asks_and_never_reads_does_not_hold_the_others_up(broker, base_port, operator, closing):
    socket = closing(zmq.Context.instance().socket(zmq.DEALER))
    for option, value in ((zmq.RCVHWM, 1), (zmq.RCVBUF, 4096), (zmq.LINGER, 0), (zmq.SNDHWM, 0)):
        socket.setsockopt(option, value)
    socket.connect(Ports("127.0.0.1", base_port).control)
    big = [wire.encode(Command(action=Action.PAUSE, names=[f"{'x' * 100}{number}" for number in range(100)]))]
    for _ in range(2000):
        socket.send_multipart(big)
    socket.send(b"nonsense")
    until(lambda: broker.router.desk.dropped)  # all of them have been answered, or given up
    assert operator.command("pause", [], 5.0) == ([], [])


def test_weights_asked_for_do_not_come_before_leases_on_their_channel(broker, stranger, learner):
    white = learner("white").join()
    until(lambda: broker.router._weights.version("white", white.session) == 1,
          lambda: (white.link.publish(*white.weights(1)), white.poll()))  # fmt: skip
    weights_out = stranger(zmq.SUB, "weights_out")
    weights_out.setsockopt(zmq.SUBSCRIBE, own_topic("far"))
    control = stranger(zmq.DEALER, "control", "far")
    control.send(wire.encode(hello_of("far", role=Role.ACTOR, name="far", settings=IDENTITY)))
    answer(control, Welcome)
    until(lambda: weights_out.poll(100),
          lambda: control.send(wire.encode(WeightsRequest(agent="white", newer_than=-1))))  # fmt: skip
    topic, envelope, body = weights_out.recv_multipart()
    assert topic == own_topic("far")
    assert wire.decode(envelope, WeightsHeader).version == 1
    assert body == white.weights(1)[1]
    assert not control.poll(0)


def test_one_who_asks_for_weights_and_never_reads_does_not_hold_the_others_up(broker, stranger, learner, operator):
    white = learner("white").join()
    until(lambda: broker.router._weights.version("white", white.session) == 1,
          lambda: (white.link.publish(*white.weights(1, b"x" * 100_000)), white.poll()))  # fmt: skip
    socket = stranger(zmq.DEALER, "control", "slow")
    socket.send(wire.encode(hello_of("slow", role=Role.ACTOR, name="slow", settings=IDENTITY)))
    answer(socket, Welcome)
    for _ in range(30):
        socket.send(wire.encode(WeightsRequest(agent="white", newer_than=-1)))
    socket.close(linger=100)
    assert operator.status(5.0)


def test_reasons_of_dropped_messages_are_told_apart_up_to_a_number(broker, operator):
    for number in range(150):
        broker.router.desk.drop(f"reason {number}")
    dropped = operator.status(5.0).dropped
    assert len(dropped) == 101
    assert dropped["other reasons"] == 50


def test_a_batch_of_an_unknown_agent_or_past_the_end_is_dropped(broker, actor, learners):
    learners()
    first = actor()
    until(lambda: broker.dispatcher.units_total == 8)
    first.send(0, "red")
    first.send(8, "white")
    until(lambda: broker.router.desk.dropped["batch not expected"] == 2)


# Start and end


def test_a_taken_port_is_one_clear_line(broker, base_port):
    with pytest.raises(
        OperatorError, match=rf"^tcp://127\.0\.0\.1:{base_port} is taken: is another broker running\?"
    ):
        LiveBroker(base_port).router.__enter__()


def test_any_of_the_seven_ports_can_be_the_taken_one_and_all_are_free_again(base_port, closing):
    taken = closing(sockets.make(zmq.Context.instance(), zmq.ROUTER))
    taken.bind(Ports("127.0.0.1", base_port).logs_out)
    with pytest.raises(OperatorError, match=rf":{base_port + 6} is taken"):
        LiveBroker(base_port).router.__enter__()
    taken.close(linger=0)
    with LiveBroker(base_port):
        pass


def test_games_that_cannot_be_read_end_the_broker_with_their_line(base_port):
    class Broken:
        units_total = games_total = None

        def get(self, unit: int) -> None:
            raise SourceError("a.pgn.zst: cut off")

    broker = LiveBroker(base_port)
    broker.router.desk.feed = broker.feed = UnitFeed(Broken())
    with pytest.raises(AssertionError, match="the router has ended"), broker:
        until(lambda: broker.error)
    assert isinstance(broker.error, SourceError)


def test_a_command_reply_lists_only_whom_the_order_reached(broker, stranger):
    socket = stranger(zmq.DEALER, "control")
    socket.send(wire.encode(Command(action=Action.DRAIN, names=["nobody", "nobody"])))
    assert answer(socket, CommandReply) == CommandReply(names=[], unknown=["nobody"])


def test_the_status_of_a_large_fleet_comes_through(broker, stranger, operator):
    for number in range(6000):
        session = f"session-{number}"
        broker.router.desk.registry.join(hello_of(session, role=Role.ACTOR, name=f"actor-{number}"))
    assert len(operator.status(20.0).services) == 6000

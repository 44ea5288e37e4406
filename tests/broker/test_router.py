import time

import msgpack
import pytest
import zmq

from broker.feed import UnitFeed
from common import sockets, wire
from common.errors import BrokerUnreachable, OperatorError, Refused, SourceError
from common.links import Delivered, LeasedUnit, Weights
from common.messages import (
    Action,
    Command,
    CommandReply,
    Credit,
    Hello,
    Interval,
    LeaseRequest,
    Order,
    PublishAgain,
    Refusal,
    Role,
    Status,
    StatusRequest,
    ToBroker,
    Totals,
    Unknown,
    WeightsHeader,
    WeightsRequest,
    Welcome,
)
from common.ports import Ports
from common.zmq_links import ZmqCollectorLink, ZmqOperatorLink, own_topic
from tests.broker.live import IDENTITY, Actor, Learner, LiveBroker, game, until, weights


@pytest.fixture
def broker(base_port):
    with LiveBroker(base_port) as broker:
        yield broker


@pytest.fixture
def actor(base_port, closing):
    def start(name: str = "actor-0", **others) -> Actor:
        found = Actor(base_port, name, **others)
        closing(found.link)
        return found

    return start


@pytest.fixture
def learner(base_port, closing):
    def start(agent: str, **others) -> Learner:
        found = Learner(base_port, agent, **others)
        closing(found.link)
        return found

    return start


@pytest.fixture
def learners(learner):
    def start(**others) -> list[Learner]:
        return [learner(agent, **others).join() for agent in ("white", "black")]

    return start


@pytest.fixture
def operator(base_port, closing):
    return closing(ZmqOperatorLink(Ports("127.0.0.1", base_port)))


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


def agents(operator: ZmqOperatorLink) -> dict:
    return {agent.name: agent for agent in operator.status(5.0).agents}


def services(operator: ZmqOperatorLink) -> dict:
    return {service.name: service for service in operator.status(5.0).services}


# Hello


def test_whoever_says_hello_is_welcome_and_in_the_status(broker, actor, learner, operator, base_port, closing):
    first, white = actor(), learner("white")
    logs = closing(ZmqCollectorLink(Ports("127.0.0.1", base_port), "logs", "c011ec70"))
    for welcome in (first.wait(Welcome)[0], white.wait(Welcome)[0]):
        assert welcome == Welcome(broker=broker.session, agents=["white", "black"])
    until(lambda: len(services(operator)) == 3, lambda: logs.poll(0.01))
    assert {name: service.role for name, service in services(operator).items()} == {
        "actor-0": Role.ACTOR, "learner-white": Role.LEARNER, "logs": Role.COLLECTOR,
    }  # fmt: skip
    states = {name: agent.learner for name, agent in agents(operator).items()}
    assert states == {"white": "connected", "black": "never seen"}


def test_a_learner_of_an_unknown_agent_is_refused_and_told_the_known_ones(broker, learner):
    (refusal,) = learner("red").wait(Refusal)
    assert refusal.reason == "no agent is called 'red'; this broker has: white, black: share one settings file"


@pytest.mark.parametrize("role", ["actor", "learner"])
def test_a_peer_with_other_settings_is_refused_and_told_the_differences(broker, actor, learner, role):
    others = {"identity": {**IDENTITY, "nodes": "5"}}
    peer = actor(**others) if role == "actor" else learner("white", **others)
    (refusal,) = peer.wait(Refusal)
    assert (
        refusal.reason == "settings differ from the broker's (nodes is 1000 there, 5 here): share one settings file"
    )


def test_a_reason_longer_than_a_message_may_carry_is_cut(broker, actor):
    (refusal,) = actor(identity={**IDENTITY, "agents": "x" * 6000}).wait(Refusal)
    assert len(refusal.reason) == 4096


def test_a_peer_of_another_protocol_version_is_told_so(broker, stranger):
    socket = stranger(zmq.DEALER, "control")
    socket.send(msgpack.packb({"v": 4, "kind": "hello", "from": "the future"}))
    told = answer(socket, Refusal).reason
    assert told == "protocol version 4 is not ours (3): run the same release of Rookery on all hosts"
    until(lambda: sum(broker.router.dropped.values()) == 1)


def test_a_broker_of_another_protocol_version_is_told_to_the_operator(base_port, actor, learner, operator, closing):
    other = closing(sockets.make(zmq.Context.instance(), zmq.ROUTER))
    other.setsockopt(zmq.LINGER, 0)
    sockets.bind(other, Ports("127.0.0.1", base_port).control)

    def answer_all() -> None:
        while other.poll(10):
            other.send_multipart([other.recv_multipart()[0], msgpack.packb({"v": 4, "kind": "anything"})])

    for peer in (actor(), learner("white")):
        with pytest.raises(Refused, match="the broker speaks another protocol: protocol version 4 is not ours"):
            until(lambda: None, lambda peer=peer: (peer.poll(), answer_all()))
    operator._socket.send(wire.encode(StatusRequest()))
    until(lambda: operator._socket.poll(0), answer_all)
    with pytest.raises(Refused, match="speaks another protocol: protocol version 4"):
        operator.status(2.0)


def test_a_session_that_is_not_the_senders_is_no_hello(broker, stranger, operator):
    socket = stranger(zmq.DEALER, "control", "aaaa")
    hello = Hello(role=Role.COLLECTOR, name="logs", session="bbbb", host="h", pid=1, software="0")
    socket.send(wire.encode(hello))
    assert operator.status(5.0).services == []


def test_the_process_started_later_goes_on_and_the_other_is_told_why(broker, actor, learners):
    learners()
    first = actor(capacity=1)
    first.wait(LeasedUnit)
    second = actor(capacity=1)
    second.wait(Welcome)
    (refusal,) = first.wait(Refusal)
    assert "actor-0 was started anew on " in refusal.reason
    assert [event.lease.unit for event in second.wait(LeasedUnit)] == [0]  # given back by the first
    for _ in range(5):  # the first does not come back by itself
        first.link.capacity(1)
        first.poll()
        second.poll()
    assert broker.router.registry.by_name["actor-0"].hello.session == second.session
    assert second.of(Refusal) == []


def test_the_word_of_a_process_that_was_started_earlier_replaces_nobody(broker, stranger):
    for session, started_ns, expected in (("new", 2000, Welcome), ("old", 1000, Refusal), ("old", 1000, Refusal)):
        socket = stranger(zmq.DEALER, "control", session)
        hello = Hello(
            role=Role.COLLECTOR, name="logs", session=session, started_ns=started_ns, host="h", pid=1, software="0"
        )
        socket.send(wire.encode(hello))
        assert isinstance(answer(socket, Welcome | Refusal), expected)
        socket.close()
    assert broker.router.registry.by_name["logs"].hello.session == "new"


def test_one_started_later_that_was_silent_goes_on_when_it_speaks_again(broker, stranger):
    """The older one, back from the dead, gets the name only for as long as the newer one says nothing."""
    new, old = stranger(zmq.DEALER, "control", "new"), stranger(zmq.DEALER, "control", "old")
    new.send(wire.encode(hello_of("new", started_ns=2000)))
    answer(new, Welcome)
    broker.clock.advance(11.0)
    old.send(wire.encode(hello_of("old", started_ns=1000)))
    answer(old, Welcome)
    new.send(wire.encode(LeaseRequest(capacity=1)))
    answer(new, Unknown)
    new.send(wire.encode(hello_of("new", started_ns=2000)))
    answer(new, Welcome)
    assert "the newer one goes on" in answer(old, Refusal).reason


def test_the_word_of_a_learner_that_was_started_earlier_replaces_no_other_of_its_agent(broker, stranger):
    learner = {"role": Role.LEARNER, "agent": "white", "settings": IDENTITY}
    for name, started_ns, expected in (("new", 2000, Welcome), ("old", 1000, Refusal)):
        socket = stranger(zmq.DEALER, "control", name)
        socket.send(wire.encode(hello_of(name, **{**learner, "name": name, "started_ns": started_ns})))
        assert isinstance(answer(socket, Welcome | Refusal), expected)
    assert broker.dispatcher.ledgers["white"].session == "new"


def test_an_actor_that_names_an_agent_replaces_no_learner(broker, stranger, learner):
    white = learner("white").join()
    socket = stranger(zmq.DEALER, "control", "liar")
    socket.send(wire.encode(hello_of("liar", role=Role.ACTOR, name="liar", agent="white", settings=IDENTITY)))
    answer(socket, Welcome)
    white.poll()
    assert white.of(Refusal) == []
    assert broker.dispatcher.ledgers["white"].session == white.session


def test_a_session_that_was_replaced_is_told_again_whatever_it_says(broker, stranger):
    old = stranger(zmq.DEALER, "control", "old")
    new = stranger(zmq.DEALER, "control", "new")
    for socket, session in ((old, "old"), (new, "new")):
        hello = Hello(role=Role.COLLECTOR, name="logs", session=session, host="h", pid=1, software="0")
        socket.send(wire.encode(hello))
        answer(socket, Welcome)
    answer(old, Refusal)
    for message in (LeaseRequest(capacity=1), hello_of("old")):
        old.send(wire.encode(message))
        assert "the newer one goes on" in answer(old, Refusal).reason


def test_after_a_refusal_a_peer_says_no_hello_more(base_port, actor, closing):
    other = closing(sockets.make(zmq.Context.instance(), zmq.ROUTER))
    other.setsockopt(zmq.LINGER, 0)
    sockets.bind(other, Ports("127.0.0.1", base_port).control)
    peer = actor()
    said: list[object] = []

    def listen() -> None:
        peer.poll()
        while other.poll(0):
            said.append(wire.decode(other.recv_multipart()[1], ToBroker))

    until(lambda: any(isinstance(message, Hello) for message in said), listen)
    said.clear()
    for message in (Welcome(broker="b", agents=[]), Refusal(reason="a newer one goes on"), Unknown(), Unknown()):
        other.send_multipart([peer.session.encode(), wire.encode(message)])
    until(lambda: peer.of(Refusal), peer.poll)
    peer.link.capacity(7)
    until(lambda: LeaseRequest(capacity=7) in said, listen)
    assert not [message for message in said if isinstance(message, Hello)]


def hello_of(session: str, **fields) -> Hello:
    given = {"role": Role.COLLECTOR, "name": "logs", "host": "h", "pid": 1, "software": "0"} | fields
    return Hello(session=session, **given)


def test_a_second_learner_of_an_agent_takes_over_whatever_its_name(broker, learner, operator):
    first = learner("white").join()
    second = learner("white", name="learner-white-2").join()
    assert "learner-white-2 was started anew" in first.wait(Refusal)[0].reason
    assert set(services(operator)) == {"learner-white-2"}
    assert agents(operator)["white"].learner == "connected"
    assert second.of(Refusal) == []


def test_a_name_that_a_service_of_another_role_has_is_refused(broker, actor, learner):
    actor().wait(Welcome)
    (refusal,) = learner("white", name="actor-0").wait(Refusal)
    assert refusal.reason.startswith("the name actor-0 is taken by the actor on ")


def test_a_session_that_goes_by_another_name_leaves_its_first(broker, stranger, operator):
    socket = stranger(zmq.DEALER, "control", "one")
    for name in ("a", "b"):
        socket.send(wire.encode(hello_of("one", role=Role.ACTOR, name=name, settings=IDENTITY)))
        answer(socket, Welcome)
        socket.send(wire.encode(LeaseRequest(capacity=1)))
    assert set(services(operator)) == {"b"}
    assert set(broker.dispatcher.actors) == {"b"}


def test_a_stranger_is_told_to_say_hello(broker, stranger):
    socket = stranger(zmq.DEALER, "control", "zzzz")
    socket.send(wire.encode(LeaseRequest(capacity=1)))
    assert answer(socket, Unknown) == Unknown()


# Leases and batches


def test_a_lease_comes_with_its_games(broker, actor, learners):
    first = actor(capacity=2)
    learners()
    zero, one = first.wait(LeasedUnit, 2)
    assert (zero.lease.unit, one.lease.unit, zero.lease.agents) == (0, 1, ["white", "black"])
    assert list(zero.games) == [game(0), game(1)]
    assert list(one.games) == [game(2), game(3)]


def test_batches_go_to_the_learners_of_their_agents_and_are_acknowledged(broker, actor, learners, operator):
    white, black = learners()
    first = actor()
    first.wait(LeasedUnit)
    bodies = {"white": b"w" * 100_000, "black": b"b" * 300}
    for agent, body in bodies.items():
        first.send(0, agent, body)
    for receiver in (white, black):
        (delivered,) = receiver.wait(Delivered)
        assert delivered.body == bodies[receiver.agent]
        assert (delivered.header.unit, delivered.header.agent, delivered.header.actor) == (
            0,
            receiver.agent,
            "actor-0",
        )
        assert agents(operator)[receiver.agent].in_flight == 100
        receiver.store(0)
    for agent in ("white", "black"):
        found = until(lambda agent=agent: status if (status := agents(operator)[agent]).units_stored else None)
        assert (found.produced, found.stored, found.in_flight, found.duplicates, found.closed) == (
            100,
            100,
            0,
            0,
            True,
        )
    assert first.wait(LeasedUnit, 2)[1].lease.unit == 1


def test_a_learner_gets_no_more_batches_than_its_credit(broker, actor, learner):
    white = learner("white").join(credit=2)
    first = actor(capacity=0)
    for unit in range(4):
        first.send(unit, "white")
    assert [event.header.unit for event in white.wait(Delivered, 2)] == [0, 1]
    white.link.credit(2)
    until(lambda: len(broker.dispatcher.ledgers["white"].held) == 4)
    white.poll()
    assert len(white.of(Delivered)) == 2
    white.store(0)
    assert white.wait(Delivered, 3)[2].header.unit == 2


def test_credit_of_another_session_is_none(broker, learner, stranger):
    white = learner("white").join(credit=3)
    socket = stranger(zmq.DEALER, "delivery", "eeee")
    for session in ("eeee", white.session):
        socket.send(wire.encode(Credit(agent="white", session=session, batches=99)))
    socket.send(wire.encode(Credit(agent="red", session="eeee", batches=99)))
    until(lambda: broker.router.dropped["credit for an unknown agent"])
    assert broker.dispatcher.ledgers["white"].capacity == 3


def test_a_batch_that_is_not_acknowledged_is_delivered_again(broker, actor, learner):
    white = learner("white").join()
    actor(capacity=0).send(0, "white")
    white.wait(Delivered)
    broker.clock.advance(31.0)
    first, second = white.wait(Delivered, 2)
    assert first == second


def test_a_lost_acknowledgement_is_made_good_by_the_next_report(broker, actor, learner):
    white = learner("white").join()
    actor(capacity=0).send(0, "white")
    white.wait(Delivered)
    white.units.add(0)  # stored; the word of it is lost
    white.report()
    until(lambda: not broker.dispatcher.ledgers["white"].held, white.poll)
    assert white.hellos == 2
    assert broker.dispatcher.ledgers["white"].closed


def test_a_batch_that_the_learner_declines_is_leased_again(broker, actor, learners, operator):
    white, _ = learners()
    first = actor()
    first.wait(LeasedUnit)
    first.send(0, "white")
    first.send(0, "black")
    white.wait(Delivered)
    first.link.capacity(0)
    white.link.decline(0, "the batch is for black" + "!" * 5000)
    until(lambda: broker.router.dropped["batch declined"])
    first.link.capacity(2)
    again = until(lambda: [event for event in first.of(LeasedUnit) if event.lease.agents == ["white"]], first.poll)
    assert again[0].lease.unit == 0
    assert agents(operator)["white"].closed


def test_a_lease_without_progress_goes_to_another_actor(broker, actor, learners):
    learners()
    first = actor()
    first.wait(LeasedUnit)
    first.renew([0], 5)
    until(lambda: broker.dispatcher.actors["actor-0"].positions == 5)
    broker.clock.advance(61.0)
    until(lambda: not broker.dispatcher.actors["actor-0"].leases)
    second = actor("actor-1")
    assert second.wait(LeasedUnit)[0].lease.unit == 0


def test_an_actor_that_says_goodbye_frees_its_units_at_once(broker, base_port, actor, learners):
    learners()
    first = Actor(base_port)
    first.wait(LeasedUnit)
    first.link.close()
    assert actor("actor-1").wait(LeasedUnit)[0].lease.unit == 0


def test_an_actor_that_is_gone_without_a_word_loses_its_lease_when_it_is_sent_to(
    broker, base_port, actor, learners
):
    learners()
    first = Actor(base_port, capacity=1)
    first.wait(LeasedUnit)
    first.link._control.close(goodbye=False)
    first.link._batches.close(linger=0)
    first.link._weights.close(linger=0)
    broker.clock.advance(61.0)
    assert actor("actor-1").wait(LeasedUnit)[0].lease.unit == 0


def test_a_learner_hears_how_many_units_there_are_until_it_has_finished(broker, learners):
    white, black = learners(units=8)
    assert white.wait(Totals)[0] == black.wait(Totals)[0] == Totals(units=8, games=16)
    seen = len(white.of(Totals))
    white.report()  # trained on all, and not finished: did it never hear?
    white.wait(Totals, seen + 1)
    white.report(finished=True)
    black.report(finished=True)
    until(lambda: broker.router.status().finished, white.poll)


# A broker started anew


def test_peers_say_hello_again_by_themselves_and_units_in_hand_are_adopted(base_port, actor, learners, operator):
    with LiveBroker(base_port) as broker:
        white, black = learners()
        first = actor(capacity=1)
        first.wait(LeasedUnit)
        first.renew([0], 7)
        until(lambda: broker.dispatcher.actors["actor-0"].positions == 7)
    with LiveBroker(base_port) as broker:

        def everybody_goes_on() -> None:
            for learner in (white, black):
                learner.poll()
                learner.report()
                learner.link.credit(8)
            first.poll()
            first.renew([0], 8)

        until(lambda: len(first.of(Welcome)) == 2 and white.hellos == 2 and black.hellos == 2, everybody_goes_on)
        until(lambda: broker.dispatcher.leased_for("white") == 1, everybody_goes_on)
        assert list(broker.dispatcher.actors["actor-0"].leases) == [0]
        second = actor("actor-1")
        assert second.wait(LeasedUnit)[0].lease.unit == 1
        first.send(0, "white")
        until(lambda: white.of(Delivered), everybody_goes_on)
        white.store(0)
        until(lambda: agents(operator)["white"].units_stored == 1)
        assert agents(operator)["white"].closed
        assert first.of(Welcome)[1].broker == broker.session


def test_a_unit_leased_a_moment_before_the_broker_died_is_told_as_in_hand(base_port, actor, learners):
    with LiveBroker(base_port):
        learners()
        first = actor(capacity=2)
        first.wait(LeasedUnit, 2)  # no report in between
        first.link.release([1])
    with LiveBroker(base_port) as broker:
        until(lambda: "actor-0" in broker.dispatcher.actors, lambda: (first.link.capacity(2), first.poll()))
        assert list(broker.dispatcher.actors["actor-0"].leases) == [0]


def test_peers_that_were_there_first_are_welcome_when_a_broker_comes(base_port, actor, learner, operator):
    first, white = actor(), learner("white")
    first.poll()
    white.poll()
    with pytest.raises(
        BrokerUnreachable, match=r"no broker answers at tcp://127\.0\.0\.1:\d+ within 0\.05 s: is it running"
    ):
        operator.status(0.05)
    with LiveBroker(base_port):
        first.wait(Welcome)
        white.wait(Welcome)
        assert set(services(operator)) == {"actor-0", "learner-white"}


# Weights


def test_weights_go_to_the_actors_and_the_last_ones_to_who_comes_late(broker, actor, learner):
    white = learner("white").join()
    early = actor()
    early.wait(Welcome)
    until(lambda: early.of(Weights), lambda: (white.link.publish(*white.weights(3)), early.poll()))
    assert early.of(Weights)[0].header.version == 3
    late = actor("actor-1")
    (found,) = late.wait(Weights)
    assert (found.header, found.body) == white.weights(3)


def test_old_weights_and_those_known_already_are_passed_over(broker, actor, learner):
    white = learner("white").join()
    first = actor()
    first.wait(Welcome)
    until(lambda: first.of(Weights), lambda: (white.link.publish(*white.weights(3)), first.poll()))
    for version in (2, 3, 4):
        white.link.publish(*white.weights(version, bytes([version]) * 8))
    first.wait(Weights, 2)
    assert [event.header.version for event in first.of(Weights)] == [3, 4]


def test_a_learner_that_begins_anew_with_nothing_has_its_weights_taken(broker, actor, learner):
    before = learner("white").join()
    first = actor()
    first.wait(Welcome)
    until(lambda: first.of(Weights), lambda: (before.link.publish(*before.weights(50)), first.poll()))
    anew = learner("white").join()
    anew.version = 1
    until(lambda: anew.of(PublishAgain), lambda: (anew.report(), anew.poll()))
    until(lambda: len(first.of(Weights)) == 2, lambda: (anew.link.publish(*anew.weights(1)), first.poll()))
    assert first.of(Weights)[1].header == anew.weights(1)[0]
    late = actor("actor-1")
    (found,) = late.wait(Weights)
    assert found.header == anew.weights(1)[0]


def test_weights_with_a_wrong_hash_are_dropped(broker, actor, learner):
    white = learner("white").join()
    first = actor()
    first.wait(Welcome)
    header, _ = white.weights(3)
    until(lambda: broker.router.dropped["weights are not what they say"],
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
        before = sum(broker.router.dropped.values())
        until(lambda before=before: sum(broker.router.dropped.values()) > before,
              lambda frames=frames: (socket.send_multipart(frames), time.sleep(0.002)))  # fmt: skip
    assert broker.router._weights.version("white", white.session) == -1


def test_a_broker_that_misses_the_weights_has_them_published_again(broker, learner):
    white = learner("white").join()
    white.version = 5
    until(lambda: white.of(PublishAgain), lambda: (white.report(), white.poll()))


# Operator


def test_orders_reach_the_actors(broker, actor, learners, operator):
    learners()
    first, second = actor(capacity=0), actor("actor-1", capacity=0)
    for peer in (first, second):
        peer.wait(Welcome)
    assert operator.command("pause", ["actor-0"], 5.0) == (["actor-0"], [])
    assert first.wait(Order)[0].action is Action.PAUSE
    assert services(operator)["actor-0"].state == "paused"
    first.link.capacity(1)
    until(lambda: broker.dispatcher.actors["actor-0"].capacity == 1, first.poll)
    assert first.of(LeasedUnit) == []
    assert operator.command("resume", [], 5.0) == (["actor-0", "actor-1"], [])
    first.wait(LeasedUnit)
    assert operator.command("reset", ["actor-0", "actor-0"], 5.0) == (["actor-0"], [])
    assert operator.command("drain", ["actor-1", "actor-7"], 5.0) == (["actor-1"], ["actor-7"])
    assert [event.action for event in first.wait(Order, 3)] == [Action.PAUSE, Action.RESUME, Action.RESET]
    assert [event.action for event in second.wait(Order, 2)] == [Action.RESUME, Action.DRAIN]
    assert services(operator)["actor-1"].state == "draining"


def test_a_paused_actor_that_is_started_anew_stays_paused(broker, actor, learners, operator):
    learners()
    actor(capacity=0).wait(Welcome)
    operator.command("pause", [], 5.0)
    again = actor(capacity=1)
    again.wait(Welcome)
    until(lambda: broker.dispatcher.actors["actor-0"].capacity == 1, again.poll)
    assert again.of(LeasedUnit) == []
    assert services(operator)["actor-0"].state == "paused"


def test_the_answer_to_an_earlier_question_is_not_taken_for_this_ones(broker, operator):
    operator._socket.send(wire.encode(StatusRequest()))  # its asker has given up
    assert operator.command("pause", [], 5.0) == ([], [])
    assert isinstance(operator.status(5.0), Status)


def test_the_status_closes_and_knows_the_whole(broker, actor, learners, operator):
    learners(units=3)
    actor().wait(LeasedUnit)
    status = until(lambda: found if (found := operator.status(5.0)).units_total is not None else None)
    assert (status.units_total, status.games_total, status.games_cut, status.fraction_read) == (8, 16, 16, 1.0)
    assert (status.broker, status.finished) == (broker.session, False)
    assert status.memory_bytes > 0
    for agent in status.agents:
        assert (agent.produced, agent.stored, agent.units_stored, agent.units_trained) == (300, 300, 3, 3)
        assert (agent.leased, agent.closed) == (1, True)


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
        until(lambda: sum(broker.router.dropped.values()) == count)
    else:  # what comes before the subscription is lost
        until(lambda: sum(broker.router.dropped.values()) >= count, lambda: (send_all(), time.sleep(0.002)))
    assert sum(operator.status(5.0).dropped.values()) >= count


def test_what_makes_no_sense_is_forwarded_to_collectors_and_hurts_nobody(
    broker, stranger, operator, base_port, closing
):
    logs = closing(ZmqCollectorLink(Ports("127.0.0.1", base_port), "logs", "c011ec70"))
    socket = stranger(zmq.PUB, "logs_in")
    until(lambda: logs.malformed >= 3, lambda: (socket.send(b"\xc1"), logs.poll(0.01)))
    until(lambda: broker.router.dropped["log record frames"], lambda: socket.send_multipart([b"\xc1", b"x"]))
    assert operator.status(5.0)


def test_a_learner_with_intervals_that_are_none_is_dropped(broker, stranger, operator):
    socket = stranger(zmq.DEALER, "control", "dead")
    for stored in ([Interval(5, 3)], [Interval(0, 2**53), Interval(3, 1)]):
        fields = {"role": Role.LEARNER, "name": "w", "agent": "white", "settings": IDENTITY}
        socket.send(wire.encode(hello_of("dead", stored=stored, **fields)))
    until(lambda: broker.router.dropped["hello"] == 2)
    assert operator.status(5.0).services == []


def test_a_learner_that_claims_the_whole_world_costs_nothing(broker, stranger, actor, operator):
    for agent in ("white", "black"):
        socket = stranger(zmq.DEALER, "control", agent)
        fields = {"role": Role.LEARNER, "name": f"learner-{agent}", "agent": agent, "settings": IDENTITY}
        socket.send(wire.encode(hello_of(agent, stored=[Interval(0, 2**53)], trained_units=2**53, **fields)))
        answer(socket, Welcome)
    actor()
    until(lambda: operator.status(5.0).finished)
    again = stranger(zmq.DEALER, "control", "white2")
    again.send(
        wire.encode(hello_of("white2", started_ns=9, **{**fields, "name": "learner-white", "agent": "white"}))
    )
    answer(again, Welcome)
    assert not operator.status(5.0).finished


def test_one_who_asks_and_is_gone_before_the_answer_hurts_nobody(broker, stranger, operator):
    for message in (
        StatusRequest(),
        Command(action=Action.PAUSE, names=[]),
        LeaseRequest(capacity=1),
        hello_of("gone"),
    ):
        for _ in range(20):
            socket = stranger(zmq.DEALER, "control", "gone")
            socket.send(wire.encode(message))
            socket.close(linger=100)
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
    until(lambda: broker.router.dropped)  # all of them have been answered, or given up
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
        broker.router._drop(f"reason {number}")
    dropped = operator.status(5.0).dropped
    assert len(dropped) == 101
    assert dropped["other reasons"] == 50


def test_a_batch_of_an_unknown_agent_or_past_the_end_is_dropped(broker, actor, learners):
    learners()
    first = actor()
    until(lambda: broker.dispatcher.units_total == 8)
    first.send(0, "red")
    first.send(8, "white")
    until(lambda: broker.router.dropped["batch not expected"] == 2)


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
    broker.router._feed = broker.feed = UnitFeed(Broken())
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
        broker.router.registry.join(hello_of(session, role=Role.ACTOR, name=f"actor-{number}"))
    assert len(operator.status(20.0).services) == 6000

import os
import random
import signal
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from common import wire
from common.errors import RookeryError
from common.keys import KeyHolder
from common.links import LeasedUnit, Weights
from common.messages import (
    Action,
    ActorReport,
    BatchHeader,
    Goodbye,
    Hello,
    Lease,
    LeaseRequest,
    Order,
    Refusal,
    Renew,
    Role,
    Unknown,
    Welcome,
)
from common.nats import actor_link as nats_actor_link
from common.nats import frames as nats_frames
from common.nats.transport import NatsTransport
from common.session import new_session
from tests.common.nats.scripted import AGENTS, ScriptedBroker, transport_to, way_to
from tests.links.games import game
from tests.links.peers import IDENTITY, Actor, weights
from tests.until import until

ME = KeyHolder(Role.ACTOR, "actor-0")
LEASE_S = 1.0
BODY = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def broker(shared, names):
    with ScriptedBroker(shared.address, names, lease_timeout_s=LEASE_S) as made:
        yield made


@pytest.fixture
def actor(shared, names, closing):
    def start(name: str = "actor-0", **others) -> Actor:
        transport = transport_to(shared.address, names, "actor", name)
        return closing(Actor(transport, name, **{"works": True, **others}))

    return start


def order(broker: ScriptedBroker, actor: Actor, action: Action) -> None:
    """Order, and have it come; what was leased before has come, too."""
    seen = len(actor.of(Order))
    broker.say(KeyHolder(Role.ACTOR, actor.name), actor.session, Order(action=action))
    actor.wait(Order, seen + 1)


# Hello


def test_an_actor_says_who_it_is_and_is_welcome(broker, actor):
    first = actor()
    assert first.wait(Welcome)[0].agents == list(AGENTS)
    (hello,) = broker.of(Hello)
    assert (hello.name, hello.session, hello.settings, hello.role.value) == (
        "actor-0",
        first.session,
        IDENTITY,
        "actor",
    )
    assert broker.heard[0][0] == ME


def test_it_says_hello_again_and_again_until_somebody_answers(broker, actor, monkeypatch):
    from common.nats import control as nats_control

    monkeypatch.setattr(nats_control, "HELLO_INTERVAL_S", 0.05)
    broker.welcoming = False
    first = actor()
    broker.wait(Hello, 3, first.poll)
    broker.welcoming = True
    first.wait(Welcome)


def test_who_is_not_known_any_more_says_hello_again_with_the_units_in_hand(broker, actor):
    first = actor()
    first.wait(Welcome)
    broker.lease(7)
    first.wait(LeasedUnit)
    broker.say(ME, first.session, Unknown())
    first.wait(Welcome, 2)
    assert broker.of(Hello)[1].units == [7]


def test_who_is_refused_says_no_more_hello_and_fetches_nothing(broker, actor):
    broker.refusing = "no"
    first = actor()
    assert first.wait(Refusal)[0].reason == "no"
    broker.lease(0)
    for _ in range(5):
        first.link.capacity(1)
        first.poll()
    assert first.leased == []
    assert len(broker.of(Hello)) == 1


def test_what_is_said_to_another_start_of_the_same_name_is_not_heard(broker, actor):
    first = actor()
    first.wait(Welcome)
    broker.say(ME, new_session(), Refusal(reason="the newer one goes on"))
    order(broker, first, Action.RESUME)
    assert first.of(Refusal) == []


@pytest.mark.parametrize("payload", [b"", b"\x00\x00\x00\x01\xc1", b"x" * 100])
def test_what_the_broker_says_and_makes_no_sense_is_dropped(broker, actor, payload):
    first = actor()
    first.wait(Welcome)
    broker.say_bytes(ME, first.session, payload)
    until(lambda: first.link._control.dropped, first.poll)
    order(broker, first, Action.RESUME)


# Leases


def test_units_come_with_their_games_up_to_the_capacity(broker, actor):
    for unit in range(4):
        broker.lease(unit)
    first = actor(capacity=2)
    zero, one = first.wait(LeasedUnit, 2)
    assert (zero.lease, one.lease) == (Lease(unit=0, agents=list(AGENTS)), Lease(unit=1, agents=list(AGENTS)))
    assert list(zero.games) == [game(0), game(1)]
    order(broker, first, Action.RESUME)
    assert first.leased == [0, 1]
    first.link.capacity(3)
    first.wait(LeasedUnit, 3)


def test_an_actor_that_waits_gets_a_unit_as_soon_as_there_is_one(broker, actor):
    first = actor()
    first.wait(Welcome)
    first.link.capacity(1)
    until(lambda: broker.consumer(broker.names.units_stream, "actors")["num_waiting"] == 1, first.poll)
    begun_s = time.monotonic()
    broker.lease(0)
    first.wait(LeasedUnit)
    assert time.monotonic() - begun_s < 2.0


def test_games_that_no_message_can_carry_come_by_the_object_store(broker, actor):
    games = [game(number) for number in range(2)]
    broker.lease_by_object(3, games)
    assert list(actor().wait(LeasedUnit)[0].games) == games


def test_games_that_are_not_there_cost_their_lease_and_come_when_they_are(broker, actor):
    lease = nats_frames.pack(wire.encode(Lease(unit=0, agents=list(AGENTS))))
    broker.do(broker.connection.store(broker.names.unit(0), lease, headers={nats_actor_link.GAMES: "unit-0"}))
    first = actor()
    until(lambda: first.link._dropped, first.poll)
    from common.leased_games import pack_games
    from common.nats import objects as nats_objects

    broker.do(nats_objects.put(broker.connection, broker.names.games, "unit-0", "u", pack_games([game(0)]), {}))
    assert list(first.wait(LeasedUnit)[0].games) == [game(0)]


def test_a_lease_without_progress_goes_to_another_actor(broker, actor):
    broker.lease(0)
    first = actor(works=False)
    first.wait(LeasedUnit)
    first.renew([0], 5)
    second = actor("actor-1")
    begun_s = time.monotonic()
    until(lambda: second.leased, lambda: (second.poll(), first.poll(), first.renew([0], 5)))
    assert time.monotonic() - begun_s > 0.5 * LEASE_S


def test_leases_are_renewed_no_more_often_than_their_time_asks_for(shared, names, broker, closing, monkeypatch):
    renewed_s = []

    def post(link, reply, word):
        if word == b"+WPI":
            renewed_s.append(time.monotonic())

    monkeypatch.setattr(nats_actor_link.NatsActorLink, "_post", post)
    way = replace(way_to(shared.address, names), renew_after_s=0.3)
    hand = closing(Actor(NatsTransport(way), "actor-0", works=True))
    broker.lease(0)
    until(lambda: len(renewed_s) >= 3, hand.poll)
    assert min(later - before for before, later in pairwise(renewed_s)) >= 0.25


def test_a_lease_with_progress_lives_on_past_its_time(broker, actor):
    broker.lease(0)
    first = actor()  # whose polls renew with progress
    first.wait(LeasedUnit)
    second = actor("actor-1")
    end_s = time.monotonic() + 3 * LEASE_S
    while time.monotonic() < end_s:
        first.poll()
        second.poll()
    assert second.leased == []
    assert first.leased == [0]


def test_a_unit_that_comes_to_the_same_actor_again_is_not_told_twice(broker, actor):
    broker.lease(0)
    first = actor(works=False, capacity=2)
    first.wait(LeasedUnit)
    until(lambda: broker.consumer(broker.names.units_stream, "actors")["num_redelivered"], first.poll)
    for agent in AGENTS:
        first.send(0, agent)
    until(lambda: not broker.stock().units, first.poll)
    assert first.leased == [0]


def test_a_unit_that_is_given_back_goes_to_another_at_once(broker, actor):
    broker.lease(0)
    first = actor()
    first.wait(LeasedUnit)
    first.link.capacity(0)
    first.release([0])
    second = actor("actor-1")
    begun_s = time.monotonic()
    second.wait(LeasedUnit)
    assert time.monotonic() - begun_s < 5.0
    assert broker.of(Renew)[-1].units in ([], [0])


def test_who_leaves_gives_back_what_is_not_done_and_says_goodbye(broker, actor):
    broker.lease(0)
    first = actor()
    first.wait(LeasedUnit)
    first.close()
    assert broker.wait(Goodbye)
    second = actor("actor-1")
    second.wait(LeasedUnit)


def test_who_vanishes_loses_its_lease(broker, actor):
    broker.lease(0)
    first = actor()
    first.wait(LeasedUnit)
    second = actor("actor-1")
    until(lambda: second.leased, second.poll)


@pytest.mark.parametrize("action", [Action.PAUSE, Action.DRAIN])
def test_who_is_paused_or_drained_fetches_nothing_whatever_its_capacity(broker, actor, action):
    first = actor(capacity=0)
    first.wait(Welcome)
    order(broker, first, action)
    first.link.capacity(2)
    broker.lease(0)
    for _ in range(20):
        first.poll()
    assert first.leased == []
    if action is Action.PAUSE:
        order(broker, first, Action.RESUME)
        first.wait(LeasedUnit)


def test_who_is_paused_before_it_is_welcome_fetches_nothing(broker, actor):
    broker.welcoming = False
    broker.lease(0)
    first = actor()
    broker.wait(Hello, 1, first.poll)
    broker.say(ME, first.session, Order(action=Action.PAUSE))
    broker.say(ME, first.session, Welcome(broker="b", agents=list(AGENTS)))
    first.wait(Welcome)
    for _ in range(20):
        first.poll()
    assert first.leased == []


def test_a_unit_that_comes_after_the_pause_goes_back_at_once(broker, actor):
    first = actor()
    first.wait(Welcome)
    until(lambda: broker.consumer(broker.names.units_stream, "actors")["num_waiting"] == 1, first.poll)
    order(broker, first, Action.PAUSE)
    second = actor("actor-1")
    second.wait(Welcome)
    broker.lease(0)  # the server gives it to who asked first
    until(lambda: second.leased, lambda: (second.poll(), first.poll()))
    assert first.leased == []


@pytest.mark.parametrize(
    ("subject", "payload"),
    [
        (lambda names: names.unit(0), b"nonsense"),
        (lambda names: names.unit(0), nats_frames.pack(wire.encode(Lease(unit=1, agents=[])))),
        (lambda names: names.unit(0), nats_frames.pack(wire.encode(LeaseRequest(capacity=1)))),
        (lambda names: names.units.replace("*", "odd"), nats_frames.pack(wire.encode(Lease(unit=0, agents=[])))),
    ],
)
def test_units_that_are_none_are_dropped_for_good(broker, actor, names, subject, payload):
    broker.do(broker.connection.store(subject(names), payload))
    first = actor()
    until(lambda: first.link._dropped == 1, first.poll)
    broker.lease(5)
    first.wait(LeasedUnit)
    assert first.leased == [5]
    state = broker.do(broker.connection.api(f"STREAM.INFO.{names.units_stream}"))["state"]
    assert state["messages"] == 1


def test_games_that_are_none_are_dropped_and_the_lease_runs_out(broker, actor, names):
    payload = nats_frames.pack(wire.encode(Lease(unit=0, agents=["white"])), b"no games")
    broker.do(broker.connection.store(names.unit(0), payload))
    first = actor()
    until(lambda: first.link._control.dropped >= 2, first.poll)
    assert first.leased == []


def test_a_unit_of_another_version_of_the_protocol_is_refused(broker, actor, names):
    import msgpack

    from common.errors import Refused

    envelope = msgpack.packb({"v": 99, "kind": "lease"})
    first = actor()
    first.wait(Welcome)
    broker.do(broker.connection.store(names.unit(0), nats_frames.pack(envelope)))
    with pytest.raises(Refused, match="speaks another protocol: protocol version 99"):
        until(lambda: None, first.poll)


# Batches


def test_a_unit_is_acknowledged_once_the_server_has_all_of_its_batches(broker, actor):
    broker.lease(0)
    first = actor()
    first.wait(LeasedUnit)
    first.send(0, "white", BODY)
    until(lambda: broker.of(BatchHeader), first.poll)
    assert broker.stock().units == {0}
    first.send(0, "black")
    until(lambda: not broker.stock().units, first.poll)
    assert broker.stock().batches == {("white", 0), ("black", 0)}
    assert {(header.agent, header.unit) for header in broker.of(BatchHeader)} == {("white", 0), ("black", 0)}
    broker.lease(1)
    first.wait(LeasedUnit, 2)


def test_only_the_batches_of_the_lease_are_waited_for(broker, actor):
    broker.lease(0, agents=["black"])
    first = actor()
    first.wait(LeasedUnit)
    first.send(0, "black")
    until(lambda: not broker.stock().units, first.poll)


def test_batches_are_sent_though_there_is_no_lease_any_more(broker, actor):
    first = actor()
    first.wait(Welcome)
    first.send(3, "white")
    until(lambda: broker.stock().batches == {("white", 3)}, first.poll)


def test_more_batches_than_can_wait_are_not_taken(shared, names, actor):
    """There is no broker yet, and so no stream."""
    first = actor()
    header = BatchHeader(unit=0, agent="white", transitions=1, games=1, actor="actor-0")
    taken = 0
    while first.link.send(header, b"x" * 2**20):
        taken += 1
    assert taken == 31
    with ScriptedBroker(shared.address, names) as broker:
        until(lambda: first.link.send(header, b"x" * 2**20), first.poll)
        until(lambda: broker.stock().batches, first.poll)


def test_a_batch_larger_than_all_that_can_wait_goes_alone(broker, actor):
    first = actor()
    header = BatchHeader(unit=0, agent="white", transitions=1, games=1, actor="actor-0")
    assert first.link.send(header, bytes(40 * 2**20))
    assert not first.link.send(header, b"x")
    until(lambda: broker.of(BatchHeader), first.poll)
    until(lambda: first.link.send(header, b"x"), first.poll)


def test_what_was_sent_before_the_end_gets_to_the_server(broker, actor):
    broker.lease(0)
    first = actor()
    first.wait(LeasedUnit)
    for agent in AGENTS:
        first.send(0, agent, BODY)
    first.close()
    stock = broker.stock()
    assert stock.batches == {("white", 0), ("black", 0)}
    assert stock.units == set()
    assert broker.wait(Goodbye)
    assert len(broker.of(BatchHeader)) == 2


def test_batches_that_take_longer_than_the_lease_keep_it(broker, actor, monkeypatch):
    """A thin link: the actor works on nothing, its batch gets on."""
    from common.nats import connection as nats_connection

    real = nats_connection.NatsConnection.store

    async def slow(self, subject, data, **others):
        import asyncio

        await asyncio.sleep(0.1)
        return await real(self, subject, data, **others)

    broker.lease(0)
    first, second = actor(works=False), actor("actor-1", works=False)
    until(lambda: first.leased or second.leased, lambda: (first.poll(), second.poll()))
    holder, other = (first, second) if first.leased else (second, first)
    monkeypatch.setattr(nats_connection.NatsConnection, "store", slow)
    monkeypatch.setattr("common.nats.outbox.WINDOW_BYTES", 2**19)
    for agent in AGENTS:
        holder.send(0, agent, bytes(10 * 2**20))

    def turn() -> None:
        holder.poll()
        other.poll()
        holder.link.renew([], ActorReport(positions=1))
        time.sleep(0.05)

    until(lambda: len(broker.of(BatchHeader)) == 2, turn)
    assert other.leased == []


# Weights


def test_weights_come_as_they_are_put(broker, actor):
    from common.nats import weights as nats_weights

    first = actor()
    first.wait(Welcome)
    header, body = weights("white", 3, BODY)
    broker.do(nats_weights.put(broker.connection, broker.names.weights, header, body))
    assert first.wait(Weights) == [Weights(header, body)]
    late = actor("actor-1")
    assert late.wait(Weights) == [Weights(header, body)]


def test_of_weights_that_nobody_takes_only_the_latest_are_kept(broker, actor):
    from common.nats import weights as nats_weights

    first = actor()
    first.wait(Welcome)
    for version in range(1, 6):
        broker.do(nats_weights.put(broker.connection, broker.names.weights, *weights("white", version, bytes(8))))
    until(lambda: first.link._watch._agents["white"].held and first.link._watch._agents["white"].held.version == 5)
    first.poll()
    assert [event.header.version for event in first.of(Weights)] == [5]


# A server that goes and comes


def test_work_goes_on_over_a_server_that_is_killed(server, names, closing):
    with ScriptedBroker(server.address, names) as broker:
        broker.lease(0)
        first = closing(Actor(transport_to(server.address, names), works=True))
        first.wait(LeasedUnit)
        first.send(0, "white")
        until(lambda: broker.stock().batches, first.poll)
        server.kill()
        first.send(0, "black")
        for _ in range(10):
            first.poll()
        server.start()
        until(lambda: not broker.stock().units, first.poll)
        assert broker.stock().batches == {("white", 0), ("black", 0)}
        broker.lease(1)
        first.wait(LeasedUnit, 2)


def test_a_server_that_hangs_for_a_moment_doubles_no_unit(server, names, closing):
    with ScriptedBroker(server.address, names) as broker:
        first = closing(Actor(transport_to(server.address, names), works=True, capacity=4))
        first.wait(Welcome)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(server.pid, signal.SIGCONT)
        for unit in range(4):
            broker.lease(unit)
        first.wait(LeasedUnit, 4)
        assert sorted(first.leased) == [0, 1, 2, 3]


def test_a_link_closes_soon_though_no_server_is_there(server, names):
    first = Actor(transport_to(server.address, names))
    server.kill()
    until(lambda: first.link._channel.stats().losses or first.link._channel.reason)
    first.send(0, "white")
    begun_s = time.monotonic()
    first.close()
    assert time.monotonic() - begun_s < 4.0


def test_an_error_of_our_own_comes_out_of_poll(broker, actor, monkeypatch):
    first = actor()
    first.wait(Welcome)
    monkeypatch.setattr(first.link._hand, "came", lambda *arguments: 1 // 0)
    broker.lease(0)
    with pytest.raises(RookeryError, match="internal error in a NATS link"):
        until(lambda: None, first.poll)

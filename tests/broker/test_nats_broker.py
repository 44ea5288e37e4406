"""The broker on a real NATS server: what it finds lost, whom it takes for whom, what it leaves alone."""

import asyncio
import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from broker.stream_dispatcher import NOBODYS_S
from common import wire
from common.errors import OperatorError
from common.keys import BROKER, KeyHolder
from common.links import Delivered, LeasedUnit
from common.messages import RawGame, Refusal, Role, StatusRequest, Welcome
from common.nats import frames, seat
from common.nats.address import NatsAddress
from common.nats.connection import Message
from common.nats.names import ACTORS, NatsNames
from common.nats.plan import NatsPlan
from common.nats.server import NatsServer
from common.nats.server_config import NatsServerSettings
from common.nats.streams import prepare, read_stock
from common.nats.transport import NatsTransport
from common.nats.way import NatsWay
from tests.common.nats.driven import Driven
from tests.conftest import free_base_port
from tests.links import games
from tests.links.nats_site import LiveNatsBroker
from tests.links.peers import AGENTS, ROWS, Actor, Learner, agents
from tests.until import until

NAMES = NatsNames("run")
NOISE = random.Random(1).randbytes(700_000)


@pytest.fixture
def server(nats_server_binary: str, tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(NatsServerSettings(directory=tmp_path / "nats", port=free_base_port())) as made:
        yield made


@pytest.fixture
def driven(server: NatsServer) -> Iterator[Driven]:
    with Driven(server.address) as made:
        yield made


def way(server: NatsServer, holder: KeyHolder) -> NatsWay:
    return NatsWay(NatsAddress.parse(server.address), NAMES, holder)


def broker(server: NatsServer, **others) -> LiveNatsBroker:
    settings = {"units": 8, "ahead": 64, "lease_s": 60.0, "redelivery_s": 30.0, **others}
    return LiveNatsBroker(way(server, BROKER), **settings)


@pytest.fixture
def learners(server, closing):
    def start() -> list[Learner]:
        made = [Learner(NatsTransport(way(server, KeyHolder(Role.LEARNER, agent))), agent) for agent in AGENTS]
        return [closing(learner).join() for learner in made]

    return start


@pytest.fixture
def actor(server, closing):
    def start(name: str = "actor-0", **others) -> Actor:
        transport = NatsTransport(way(server, KeyHolder(Role.ACTOR, name)))
        return closing(Actor(transport, name, **{"works": True, **others}))

    return start


@pytest.fixture
def operator(server, closing):
    return closing(NatsTransport(way(server, KeyHolder(Role.OPERATOR, "operator"))).operator())


def fetch(driven: Driven, stream: str, consumer: str, count: int = 1) -> list[str]:
    """Fetch messages as somebody who never says that he has them; return their subjects."""

    async def fetched() -> list[str]:
        connection, found, all_came = driven.connection, [], asyncio.Event()

        async def take(message: Message) -> None:
            found.append(message.subject)
            if len(found) == count:
                all_came.set()

        inbox = connection.new_inbox()
        await connection.subscribe(inbox, take, max_messages=100, max_bytes=0)
        request = json.dumps({"batch": count}).encode()
        await connection.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", request, reply=inbox)
        await all_came.wait()
        return found

    return driven.do(fetched())


def pass_over(driven: Driven, stream: str, consumer: str) -> None:
    """Have the server deliver the next message to nobody, and never again, as some versions do by themselves."""
    config = driven.do(driven.connection.api(f"CONSUMER.INFO.{stream}.{consumer}"))["config"]
    driven.do(driven.connection.api(f"CONSUMER.DELETE.{stream}.{consumer}"))
    config |= {"max_deliver": 1, "ack_wait": 200_000_000}
    request = {"stream_name": stream, "config": config}
    driven.do(driven.connection.api(f"CONSUMER.DURABLE.CREATE.{stream}.{consumer}", request))
    fetch(driven, stream, consumer)


def test_a_unit_leased_to_nobody_that_is_there_goes_to_another_actor_soon(server, driven, learners, actor):
    with broker(server) as live:
        learners()
        until(lambda: len(driven.do(read_stock(driven.connection, NAMES)).units) == 8)
        assert fetch(driven, NAMES.units_stream, ACTORS, 2) == [NAMES.unit(0), NAMES.unit(1)]
        first = actor(capacity=8)
        first.wait(LeasedUnit, 6)
        assert first.leased == [2, 3, 4, 5, 6, 7]

        def time_passes() -> None:
            first.poll()
            live.clock.advance(NOBODYS_S / 100)

        until(lambda: {*first.leased} == {*range(8)}, time_passes)


def test_units_of_an_actor_that_is_started_anew_go_on_at_once(server, learners, actor):
    with broker(server):
        learners()
        dead = actor(capacity=2)
        dead.wait(LeasedUnit, 2)
        until(lambda: not dead.poll() and dead.positions > 3)
        dead.link._channel.close()  # as one that is killed: it gives nothing back
        again = actor(capacity=8)
        again.wait(LeasedUnit, 8)
        assert {*again.leased} == {*range(8)}


def test_what_was_under_way_to_a_learner_that_was_killed_comes_to_the_next_one_at_once(
    server, learners, actor, operator
):
    with broker(server, redelivery_s=3600.0):
        dead, black = learners()
        first = actor(capacity=8)
        first.makes = True
        until(lambda: len(dead.of(Delivered)) == 8, lambda: (first.poll(), dead.poll(), black.poll()))
        dead.link._channel.close()  # as one that is killed: it gives nothing back
        again, _ = learners()
        again.stores = True
        until(lambda: again.units.count == 8, lambda: (first.poll(), again.poll()))
        until(lambda: agents(operator)["white"].units_stored == 8, again.poll)
        assert agents(operator)["white"].closed


def test_a_batch_that_the_server_never_delivers_is_made_again(server, driven, learners, actor, operator):
    with broker(server) as live:
        white, black = learners()
        black.stores = True
        white.link.credit(0)
        white.credit = 0
        first = actor()
        first.wait(LeasedUnit)
        first.send(0, "white")
        first.send(0, "black")
        until(lambda: agents(operator)["black"].units_stored == 1, lambda: (first.poll(), black.poll()))
        pass_over(driven, NAMES.experience_stream, NAMES.learner("white"))
        white.credit, white.stores, first.makes = 8, True, True
        first.link.capacity(8)

        def time_passes() -> None:
            for peer in (first, white, black):
                peer.poll()
            live.clock.advance(0.05)

        until(lambda: white.units.count == 8, time_passes)
        until(lambda: agents(operator)["white"].units_stored == 8, time_passes)
        assert all(agent.closed for agent in agents(operator).values())
        assert agents(operator)["white"].stored == 8 * ROWS


def test_games_that_no_message_can_carry_go_by_the_object_store_and_are_cleared_away(
    server, driven, learners, actor, monkeypatch
):
    def long_game(number: int) -> RawGame:
        return msgspec.structs.replace(short(number), text=b"1. e4 {" + NOISE + b"} e5 *")

    short = games.game
    monkeypatch.setattr(games, "game", long_game)
    with broker(server, units=2):
        both = learners()
        first = actor(capacity=2)
        (zero, _) = first.wait(LeasedUnit, 2)
        assert list(zero.games) == [long_game(0), long_game(1)]
        assert driven.do(read_stock(driven.connection, NAMES)).games == {0, 1}
        for each in (*both, first):
            each.stores = each.makes = True
        until(
            lambda: not driven.do(read_stock(driven.connection, NAMES)).games,
            lambda: [each.poll() for each in (*both, first)],
        )


def test_who_has_a_key_goes_by_its_name_only(server, learners, closing):
    with broker(server) as live:
        live.broker._secure = True
        liar = closing(Actor(NatsTransport(way(server, KeyHolder(Role.ACTOR, "actor-7"))), "actor-7"))
        liar.wait(Welcome)
        white = way(server, KeyHolder(Role.LEARNER, "white"))
        other = closing(Learner(NatsTransport(white), "white", name="actor-8"))
        (refusal,) = other.wait(Refusal)
        assert refusal.reason.startswith("this key is that of learner white, not of the learner actor-8")


def test_an_answer_goes_only_to_who_asks(server, driven, operator):
    with broker(server) as live:
        live.broker._secure = True
        question = frames.pack_said("abc", wire.encode(StatusRequest()))
        driven.do(driven.connection.publish(NAMES.ask("operator"), question, reply="_INBOX.run.learner.white.1"))
        until(lambda: operator.status(5.0).dropped)
        assert [*operator.status(5.0).dropped] == ["an answer that is to go to somebody else"]


def test_streams_that_hold_units_of_another_run_are_left_alone(server, driven):
    plan = NatsPlan(names=NAMES, agents=AGENTS, max_units_ahead=64, lease_timeout_s=60.0, run_id="before")
    driven.do(prepare(driven.connection, plan))
    driven.do(driven.connection.store(NAMES.unit(3), b"games"))
    with pytest.raises(OperatorError, match="holds 1 messages of a run of other games or settings"):
        driven.do(prepare(driven.connection, dataclasses.replace(plan, run_id="after")))
    assert driven.do(read_stock(driven.connection, NAMES)).units == {3}


def test_a_second_broker_stands_by_and_takes_over_when_the_first_is_silent(
    server, learners, actor, operator, monkeypatch
):
    monkeypatch.setattr(seat, "SILENT_S", 1.5)
    first, second = broker(server), broker(server)
    first.__enter__()
    second.feed.__enter__()
    second.broker.__enter__()
    second._thread.start()
    both = learners()
    one = actor(capacity=8)
    one.wait(LeasedUnit, 8)
    assert operator.status(5.0).broker == first.broker.desk.session
    assert second.broker.works
    assert not second.broker._has_looked
    first.__exit__()

    def all_go_on() -> None:
        for peer in (*both, one):
            peer.poll()
            peer.stores = peer.makes = True

    try:
        until(lambda: second.broker._has_looked, all_go_on)
        until(lambda: operator.status(5.0).finished or all(peer.units.count == 8 for peer in both), all_go_on)
        assert operator.status(5.0).broker == second.broker.desk.session
    finally:
        second.__exit__()


def test_of_two_brokers_at_work_the_one_that_began_later_gives_way(server, driven):
    with broker(server) as first:
        until(lambda: first.broker.works)
        later = broker(server)
        later.broker._seat._ask_s = 0.0  # as if it could not hear the first
        later.feed.__enter__()
        later.broker.__enter__()
        later._thread.start()
        until(lambda: later.error)
        assert isinstance(later.error, seat.Displaced)
        assert later.error.exit_code == 1
        later._thread.join()
        later.feed.__exit__(None, None, None)
        later.broker.__exit__()

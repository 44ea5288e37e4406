import re

import pytest

from common import wire
from common.keys import BROKER, KeyHolder
from common.links import Delivered, LeasedUnit, Weights
from common.messages import LogRecord, Role
from common.nats.channel import NatsChannel, State
from common.nats.names import NatsNames
from common.nats.permissions import permissions_of
from common.nats.transport import NatsTransport
from tests.common.nats.guarded import GuardedServer
from tests.links.nats_site import LiveNatsBroker
from tests.links.peers import Actor, Collector, Learner
from tests.until import until

NAMES = NatsNames("run1")
ACTOR, OTHER_ACTOR = KeyHolder(Role.ACTOR, "far-0"), KeyHolder(Role.ACTOR, "far-1")
WHITE, BLACK = KeyHolder(Role.LEARNER, "white"), KeyHolder(Role.LEARNER, "black")
LOGS, OPERATOR = KeyHolder(Role.COLLECTOR, "logs"), KeyHolder(Role.OPERATOR, "operator")
EVERYBODY = (ACTOR, OTHER_ACTOR, WHITE, BLACK, LOGS, OPERATOR, BROKER)
LARGE = 3_000_000
"""Bytes that take several messages."""
WHITES_WEIGHTS, BLACKS_WEIGHTS = NAMES.weights.about("white"), NAMES.weights.about("black")
JS = "$JS.API"


@pytest.fixture(scope="module")
def guarded(nats_server_binary, tmp_path_factory):
    server = GuardedServer(tmp_path_factory.mktemp("guarded"), NAMES)
    server.allow(*EVERYBODY)
    with server:
        yield server


@pytest.fixture(scope="module")
def broker(guarded):
    with LiveNatsBroker(guarded.way(BROKER), units=4, ahead=64, lease_s=30.0, redelivery_s=30.0) as live:
        yield live


@pytest.fixture
def channel(guarded, broker, closing):
    async def idle(connection) -> None:
        pass

    def connect(holder: KeyHolder) -> NatsChannel:
        made = guarded.way(holder).channel(idle, "test")
        made.start()
        closing(made)
        assert made.wait_until(lambda: made.state is State.CONNECTED, 10.0), made.reason
        return made

    return connect


# What each may


def test_every_link_works_with_its_own_key(guarded, broker, closing):
    def transport(holder: KeyHolder) -> NatsTransport:
        return NatsTransport(guarded.way(holder))

    actor = closing(Actor(transport(ACTOR), "far-0", capacity=4, works=True))
    learners = [closing(Learner(transport(holder), holder.name)).join() for holder in (WHITE, BLACK)]
    collector = closing(Collector(transport(LOGS)))
    operator = closing(transport(OPERATOR).operator())
    outlets = [closing(transport(holder).log_outlet()) for holder in EVERYBODY]

    actor.wait(LeasedUnit, 4)
    for unit in actor.leased:
        for learner in learners:
            actor.send(unit, learner.agent, b"x" * LARGE)
    for learner in learners:
        learner.wait(Delivered, 4)
        learner.store(*actor.leased)
        learner.link.publish(*learner.weights(1, b"\x00" * LARGE))
    actor.wait(Weights, 2)

    for holder, outlet in zip(EVERYBODY, outlets, strict=True):
        until(outlet.ready)
        assert outlet.send(record(holder))
    until(lambda: len(collector.records) == len(EVERYBODY), collector.poll)
    assert collector.link.malformed == 0
    collector.link.report(len(EVERYBODY), 0)

    def stored() -> bool:
        return all(agent.units_stored == 4 for agent in operator.status(5.0).agents)

    until(stored)
    assert operator.command("pause", ["far-0"], 5.0) == (["far-0"], [])
    assert operator.command("resume", ["far-0"], 5.0) == (["far-0"], [])
    assert guarded.violations == []


def record(holder: KeyHolder) -> bytes:
    return wire.encode(
        LogRecord(source=f"{holder.service}.s", number=1, time_ns=1, level="INFO", logger="x", event="hello")
    )


# What nobody may


FORBIDDEN = [
    # Weights: an actor's none, a learner's its own agent's alone.
    (ACTOR, WHITES_WEIGHTS),
    (ACTOR, NAMES.weights.pieces("white.0")),
    (WHITE, BLACKS_WEIGHTS),
    (WHITE, NAMES.weights.pieces("black.0")),
    (OPERATOR, WHITES_WEIGHTS),
    (LOGS, WHITES_WEIGHTS),
    # Units and experience: made by the broker, and by actors.
    (ACTOR, NAMES.unit(7)),
    (WHITE, NAMES.unit(7)),
    (WHITE, NAMES.batch("white", 7)),
    (LOGS, NAMES.batch("white", 7)),
    (OPERATOR, NAMES.batch("white", 7)),
    # In another's name.
    (ACTOR, NAMES.control(OTHER_ACTOR)),
    (ACTOR, NAMES.log(OTHER_ACTOR)),
    (ACTOR, NAMES.log(BROKER)),
    (WHITE, NAMES.control(BLACK)),
    (ACTOR, NAMES.control(KeyHolder(Role.LEARNER, "far-0"))),
    (LOGS, NAMES.control(ACTOR)),
    (ACTOR, NAMES.to(OTHER_ACTOR, "s")),
    (WHITE, NAMES.to(ACTOR, "s")),
    (OPERATOR, NAMES.to(ACTOR, "s")),
    # Questions and orders are operators'.
    (ACTOR, NAMES.ask("operator")),
    (WHITE, NAMES.ask("white")),
    (OPERATOR, NAMES.ask("another")),
    (ACTOR, "$SYS.REQ.SERVER.PING.VARZ"),
    # Taking and acknowledging what is others'.
    (ACTOR, f"{JS}.CONSUMER.MSG.NEXT.{NAMES.experience_stream}.learner-white"),
    (ACTOR, f"$JS.ACK.{NAMES.experience_stream}.learner-white.1.1.1.1.0"),
    (ACTOR, f"$JS.ACK.{NAMES.logs_stream}.collector.1.1.1.1.0"),
    (WHITE, f"{JS}.CONSUMER.MSG.NEXT.{NAMES.experience_stream}.learner-black"),
    (WHITE, f"$JS.ACK.{NAMES.experience_stream}.learner-black.1.1.1.1.0"),
    (WHITE, f"$JS.ACK.{NAMES.units_stream}.actors.1.1.1.1.0"),
    (WHITE, f"{JS}.CONSUMER.MSG.NEXT.{NAMES.units_stream}.actors"),
    (LOGS, f"{JS}.CONSUMER.MSG.NEXT.{NAMES.units_stream}.actors"),
    (OPERATOR, f"{JS}.CONSUMER.MSG.NEXT.{NAMES.logs_stream}.collector"),
    # Another run's.
    (ACTOR, NatsNames("run2").batch("white", 7)),
    (BROKER, NatsNames("run2").unit(7)),
    (BROKER, f"{JS}.STREAM.PURGE.RUN2-units"),
    # Weights and experience are not the broker's to make either.
    (BROKER, WHITES_WEIGHTS),
    (BROKER, NAMES.batch("white", 7)),
    *(
        # Streams and consumers are the broker's.
        (holder, f"{JS}.{verb}.{NAMES.experience_stream}{more}")
        for holder in (ACTOR, WHITE, LOGS, OPERATOR)
        for verb, more in (
            ("STREAM.CREATE", ""), ("STREAM.UPDATE", ""), ("STREAM.PURGE", ""), ("STREAM.DELETE", ""),
            ("STREAM.MSG.DELETE", ""), ("STREAM.MSG.GET", ""), ("STREAM.SNAPSHOT", ""), ("DIRECT.GET", ""),
            ("CONSUMER.CREATE", ".mine"), ("CONSUMER.DURABLE.CREATE", ".mine"), ("CONSUMER.DELETE", ".mine"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("holder", "subject"), FORBIDDEN, ids=lambda value: str(value))
def test_what_a_key_is_not_for_is_refused(guarded, channel, holder, subject):
    connected = channel(holder)
    before = len(guarded.violations)
    assert connected.post(subject, b"{}")
    until(lambda: any(f'Subject "{subject}"' in line for line in guarded.violations[before:]))


@pytest.mark.parametrize(
    ("holder", "subject"),
    [
        (ACTOR, ">"),
        (ACTOR, NAMES.controls),
        (ACTOR, NAMES.to(OTHER_ACTOR, "*")),
        (ACTOR, NAMES.experience),
        (ACTOR, NAMES.logs),
        (ACTOR, f"{NAMES.inbox(OTHER_ACTOR)}.>"),
        (ACTOR, f"_INBOX.{NAMES.namespace}.>"),
        (WHITE, NAMES.experience_of("black")),
        (WHITE, NAMES.units),
        (LOGS, NAMES.controls),
        (OPERATOR, NAMES.asks),
        (OPERATOR, NAMES.logs),
        (OPERATOR, f"{NAMES.inbox(BROKER)}.>"),
        (BROKER, NAMES.experience),
        (OPERATOR, "$SYS.>"),
    ],
    ids=lambda value: str(value),
)
def test_what_is_not_for_a_key_can_t_be_listened_to(guarded, channel, holder, subject):
    async def take(message) -> None:
        pass

    connected = channel(holder)
    connection = until(lambda: connected.connection)
    before = len(guarded.violations)
    connected.submit(connection.subscribe(subject, take, max_messages=10, max_bytes=0)).result(10.0)
    until(lambda: any(f'Subject "{subject}"' in line for line in guarded.violations[before:]))


def test_an_operator_asks_every_server_how_it_is_set(channel):
    connected = channel(OPERATOR)
    connection = until(lambda: connected.connection)
    answer = connected.submit(connection.ask("$SYS.REQ.SERVER.PING.VARZ")).result(10.0)
    assert b'"jetstream"' in answer.data


# On paper


@pytest.mark.parametrize("holder", EVERYBODY, ids=str)
def test_nobody_s_subjects_reach_beyond_the_run_or_into_an_acknowledgement(holder):
    permissions = permissions_of(holder, NAMES)
    for subject in (*permissions.publish, *permissions.subscribe):
        tokens = subject.split(".")
        assert subject not in ("$JS.API.>", ">")
        assert re.search(r"run1|RUN1", subject) or subject in ("$JS.API.INFO", "$SYS.REQ.SERVER.PING.VARZ")
        if tokens[:2] == ["$JS", "ACK"]:  # with a wildcard there it would be any stream's
            assert "*" not in tokens[2:4]
    assert (
        not any(subject.startswith(NAMES.namespace + ".to.") for subject in permissions.publish) or holder is BROKER
    )


def test_a_name_with_dots_gets_no_further_than_its_own_subjects():
    dotted = permissions_of(KeyHolder(Role.ACTOR, "host.example-7@x"), NAMES)
    assert "run1.control.actor.host:example-7@x" in dotted.publish
    assert "run1.to.actor.host:example-7@x.*" in dotted.subscribe

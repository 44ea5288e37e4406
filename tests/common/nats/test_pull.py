import dataclasses
import time

import pytest

from common.nats import pull as nats_pull
from common.nats.connection import status_of
from common.nats.names import NatsNames
from common.nats.plan import NatsPlan
from common.nats.pull import Pull
from common.nats.streams import prepare
from tests.common.nats.driven import Driven
from tests.until import until

NAMES = NatsNames("rookery")
PLAN = NatsPlan(names=NAMES, agents=("white",), max_units_ahead=64, lease_timeout_s=30.0)


class Puller:
    """A pull of units on a connection of its own, and what came."""

    def __init__(self, address: str, room: int) -> None:
        self.room, self.came, self.naks = room, [], False
        self.pull: Pull | None = None
        self.driven = Driven(address, self._serve)
        self.driven.__enter__()

    async def _serve(self, connection) -> None:
        async def take(message) -> None:
            assert not status_of(message)
            self.came.append(message)
            if self.naks:
                await connection.publish(message.reply, b"-NAK")

        self.pull = Pull(
            connection, NAMES.units_stream, "actors", take=take, room=lambda: self.room - len(self.came)
        )
        await self.pull.run()

    @property
    def units(self) -> list[int]:
        return [NAMES.unit_of(message.subject) for message in self.came]

    @property
    def deliveries(self) -> list[int]:
        """How often each has been delivered, as the server counts."""
        return [int(message.reply.split(".")[4]) for message in self.came]

    def wake(self) -> None:
        assert self.pull is not None
        self.driven.channel.call(self.pull.wake)

    def close(self) -> None:
        self.driven.close()


@pytest.fixture
def driven(address):
    with Driven(address) as made:
        made.do(prepare(made.connection, PLAN))
        yield made


@pytest.fixture
def puller(server, closing):
    def start(room: int) -> Puller:
        return closing(Puller(server.address, room))

    return start


def store(driven: Driven, *units: int, size: int = 10) -> None:
    for unit in units:
        driven.do(driven.connection.store(NAMES.unit(unit), bytes(size)))


def waiting(driven: Driven) -> int:
    found: int = driven.do(driven.connection.api(f"CONSUMER.INFO.{NAMES.units_stream}.actors"))["num_waiting"]
    return found


def test_messages_come_in_order_up_to_the_room(driven, puller):
    store(driven, *range(10))
    one = puller(4)
    until(lambda: len(one.came) == 4)
    assert one.units == [0, 1, 2, 3]
    assert waiting(driven) == 0
    one.room = 6
    one.wake()
    until(lambda: len(one.came) == 6)


def test_who_waits_gets_what_comes(driven, puller):
    one = puller(2)
    until(lambda: waiting(driven) == 1)
    store(driven, 5)
    until(lambda: one.units == [5])


def test_a_request_that_runs_out_is_made_again(driven, puller, monkeypatch):
    monkeypatch.setattr(nats_pull, "EXPIRES_S", 0.2)
    one = puller(1)
    until(lambda: one.pull and one.pull.stats().requests > 3)
    assert one.pull.stats().lost == 0
    store(driven, 1)
    until(lambda: one.came)


def test_a_request_that_nobody_answers_is_made_again(driven, puller, monkeypatch):
    """There is no such consumer yet; the server says nothing at all."""
    monkeypatch.setattr(nats_pull, "EXPIRES_S", 0.1)
    monkeypatch.setattr(nats_pull, "SLACK_S", 0.1)
    driven.do(driven.connection.api(f"CONSUMER.DELETE.{NAMES.units_stream}.actors"))
    store(driven, 1)
    one = puller(1)
    until(lambda: one.pull and one.pull.stats().lost > 1)
    driven.do(prepare(driven.connection, PLAN))
    until(lambda: one.units == [1])


def test_more_than_can_wait_are_refused_and_ask_again(driven, puller, monkeypatch):
    monkeypatch.setattr(nats_pull, "AGAIN_S", 0.05)
    driven.do(driven.connection.api(f"CONSUMER.DELETE.{NAMES.units_stream}.actors"))
    few = {"durable_name": "actors", "ack_policy": "explicit", "max_waiting": 1}
    request = {"stream_name": NAMES.units_stream, "config": few}
    driven.do(driven.connection.api(f"CONSUMER.DURABLE.CREATE.{NAMES.units_stream}.actors", request))
    first = puller(1)
    until(lambda: waiting(driven) == 1)
    second = puller(1)
    until(lambda: second.pull and second.pull.stats().refused > 1)
    store(driven, 1, 2)
    until(lambda: first.came and second.came)


def test_large_messages_are_asked_for_few_at_a_time_and_small_ones_many(driven, puller):
    store(driven, *range(30), size=400_000)
    one = puller(30)
    until(lambda: len(one.came) == 30)
    assert one.pull is not None
    assert one.pull.stats().requests >= 15
    before = one.pull.stats().requests
    store(driven, *range(100, 130))
    one.room = 60
    one.wake()
    until(lambda: len(one.came) == 60)
    assert one.pull.stats().requests - before < 10


def test_what_is_given_back_by_who_leaves_comes_to_the_next_one(driven, puller):
    """At once, as a rule: were a request of somebody left who is gone, the server would put it off each time."""
    driven.do(prepare(driven.connection, dataclasses.replace(PLAN, lease_timeout_s=3.0)))
    at_once = 0
    for _ in range(6):
        store(driven, *range(5))
        one = puller(16)
        until(lambda one=one: len(one.came) == 5)
        until(lambda: waiting(driven) == 1)
        one.naks = True
        for message in one.came[:5]:
            one.driven.channel.post(message.reply, b"-NAK")
        one.driven.do(one.pull.drain())
        one.close()
        next_one, begun_s = puller(16), time.monotonic()
        until(lambda next_one=next_one: {*next_one.units} == {*range(5)})
        at_once += time.monotonic() - begun_s < 2.0
        for message in next_one.came:
            driven.do(driven.connection.confirm(message.reply))
        next_one.close()
    assert at_once >= 4


def test_fetching_goes_on_after_the_server_was_killed(server, driven, puller):
    one = puller(4)
    until(lambda: waiting(driven) == 1)
    server.kill()
    server.start()
    until(lambda: one.driven.channel.stats().connects == 2)
    store(driven, 7)
    until(lambda: one.units == [7])

import asyncio
import json
import random

import pytest

from common.errors import MessageError
from common.links import Weights
from common.nats import objects as nats_objects
from common.nats import weights as nats_weights
from common.nats import weights_watch as nats_weights_watch
from common.nats.connection import Away
from common.nats.names import Bucket, NatsNames
from common.nats.plan import NatsPlan
from common.nats.streams import prepare
from common.nats.weights_desk import WeightsDesk
from common.nats.weights_watch import WeightsWatch
from tests.common.nats.driven import Driven
from tests.links.peers import weights
from tests.until import until

NAMES = NatsNames("rookery")
BUCKET = NAMES.weights
PLAN = NatsPlan(names=NAMES, agents=("white", "black"), max_units_ahead=64, lease_timeout_s=60.0)
LARGE = random.Random(1).randbytes(5_000_000)


@pytest.fixture
def driven(address):
    with Driven(address) as made:
        made.do(prepare(made.connection, PLAN))
        yield made


# Objects


@pytest.mark.parametrize("size", [0, 1, 2**19, 2**19 + 1, 5_000_000])
def test_an_object_comes_back_as_it_was_put(driven, size):
    payload = LARGE[:size]
    put = driven.do(nats_objects.put(driven.connection, BUCKET, "white", "white.0", payload, {"a": "1"}))
    about = driven.do(nats_objects.look(driven.connection, BUCKET, "white"))
    assert about == put
    assert (about.size_bytes, about.metadata, len(about.pieces)) == (size, {"a": "1"}, max(1, -(-size // 2**19)))
    assert driven.do(nats_objects.get(driven.connection, BUCKET, about, max_bytes=10**7)) == payload


def test_nats_own_object_store_reads_what_was_put(server, driven):
    driven.do(nats_objects.put(driven.connection, BUCKET, "white", "white.0", LARGE, {}))

    async def read() -> bytes:
        import nats

        client = await nats.connect(server.address)
        try:
            found = await (await client.jetstream().object_store(BUCKET.name)).get("white")
            assert found.data is not None
            return found.data
        finally:
            await client.close()

    assert asyncio.run(read()) == LARGE


def test_an_object_that_is_too_large_is_refused_before_it_is_read(driven):
    about = driven.do(nats_objects.put(driven.connection, BUCKET, "white", "white.0", LARGE, {}))
    with pytest.raises(MessageError, match="5000000 bytes"):
        driven.do(nats_objects.get(driven.connection, BUCKET, about, max_bytes=4_999_999))


def test_an_object_that_was_put_again_in_its_place_is_not_there_any_more(driven):
    first = driven.do(nats_objects.put(driven.connection, BUCKET, "white", "white.0", LARGE, {}))
    driven.do(nats_objects.put(driven.connection, BUCKET, "white", "white.0", LARGE[::-1], {}))
    with pytest.raises(nats_objects.Overwritten):
        driven.do(nats_objects.get(driven.connection, BUCKET, first, max_bytes=10**7))


def test_an_object_that_is_not_what_it_says_is_refused(driven):
    about = driven.do(nats_objects.put(driven.connection, BUCKET, "white", "white.0", b"abc", {}))
    said = {
        "name": "white", "nuid": "white.0", "size": 3, "chunks": 1, "digest": "SHA-256=AAAA",
        "metadata": {"pieces": str(about.pieces[0])},
    }  # fmt: skip
    driven.do(driven.connection.store(BUCKET.about("white"), json.dumps(said).encode()))
    odd = driven.do(nats_objects.look(driven.connection, BUCKET, "white"))
    with pytest.raises(MessageError, match="not what it says"):
        driven.do(nats_objects.get(driven.connection, BUCKET, odd, max_bytes=10))


def test_a_removed_object_leaves_nothing(driven):
    about = driven.do(nats_objects.put(driven.connection, NAMES.games, "unit-7", "unit-7", LARGE, {}))
    driven.do(nats_objects.remove(driven.connection, NAMES.games, about))
    assert driven.do(nats_objects.look(driven.connection, NAMES.games, "unit-7")) is None
    state = driven.do(driven.connection.api(f"STREAM.INFO.{NAMES.games.stream}"))["state"]
    assert state["messages"] == 0


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{}", b'"x"', b'{"name": 1}', b'{"metadata": {"pieces": "x"}, "digest": "SHA-256="}',
     b'{"name": "a", "nuid": "b", "size": "x", "digest": "SHA-256=AAAA", "metadata": {"pieces": "1"}}',
     b"[" * 100_000, b'{"metadata": []}'],
)  # fmt: skip
def test_what_tells_about_no_object_is_refused(data):
    with pytest.raises(MessageError):
        nats_objects.read_about(data)


def test_nobody_answers_for_a_bucket_that_is_not_there(driven, monkeypatch):
    with pytest.raises(Away):
        driven.do(driven.connection.kept("OBJ_none", last_of="x", timeout_s=0.2))


# Weights, put and got


def test_weights_come_back_with_their_header(driven):
    header, body = weights("white", 3, LARGE, session="s")
    told = driven.do(nats_weights.put(driven.connection, BUCKET, header, body))
    assert (told.agent, told.session, told.version) == ("white", "s", 3)
    assert driven.do(nats_weights.look(driven.connection, BUCKET, "white")) == told
    assert driven.do(nats_weights.get(driven.connection, BUCKET, told)) == Weights(header, body)


def test_the_last_writing_but_one_can_still_be_read_and_no_more_are_kept(driven):
    told = [
        driven.do(nats_weights.put(driven.connection, BUCKET, *weights("white", version, LARGE)))
        for version in range(1, 5)
    ]
    assert driven.do(nats_weights.get(driven.connection, BUCKET, told[2])).header.version == 3
    with pytest.raises(nats_objects.Overwritten):
        driven.do(nats_weights.get(driven.connection, BUCKET, told[1]))
    state = driven.do(driven.connection.api(f"STREAM.INFO.{BUCKET.stream}"))["state"]
    assert 2 * len(LARGE) < state["bytes"] < 2.1 * len(LARGE)


def test_weights_that_are_not_what_they_say_are_not_put(driven):
    header, _ = weights("white", 3, LARGE)
    with pytest.raises(MessageError):
        driven.do(nats_weights.put(driven.connection, BUCKET, header, LARGE[::-1]))
    assert driven.do(nats_weights.look(driven.connection, BUCKET, "white")) is None


# Watched


class Watcher:
    """A watch on a connection of its own, and what it handed on."""

    def __init__(self, address, agents=("white", "black")) -> None:
        self.came: list[Weights] = []
        self.watch = WeightsWatch(BUCKET, self.came.append)
        self.driven = Driven(address, self.watch.run)
        self.driven.__enter__()
        self.driven.channel.call(self.watch.agents, agents)

    @property
    def versions(self) -> list[tuple[str, int]]:
        return [(each.header.agent, each.header.version) for each in self.came]

    def close(self) -> None:
        self.driven.close()


@pytest.fixture
def watcher(server, closing):
    def start(*agents: str) -> Watcher:
        return closing(Watcher(server.address, agents or ("white", "black")))

    return start


def put(driven: Driven, agent: str, version: int, body: bytes = bytes(8), session: str = "s") -> None:
    driven.do(nats_weights.put(driven.connection, BUCKET, *weights(agent, version, body, session=session)))


def test_weights_come_as_they_are_put_and_the_latest_to_who_comes_late(driven, watcher):
    early = watcher()
    put(driven, "white", 1)
    until(lambda: early.versions == [("white", 1)])
    put(driven, "black", 1)
    put(driven, "white", 2, LARGE)
    until(lambda: len(early.came) == 3)
    assert set(early.versions) == {("white", 1), ("black", 1), ("white", 2)}
    late = watcher()
    until(lambda: len(late.came) == 2)
    assert set(late.versions) == {("black", 1), ("white", 2)}
    assert next(each for each in late.came if each.header.agent == "white").body == LARGE


def test_only_the_agents_that_are_watched_come(driven, watcher):
    one = watcher("black")
    put(driven, "white", 1)
    put(driven, "black", 1)
    until(lambda: one.came)
    assert one.versions == [("black", 1)]
    one.driven.channel.call(one.watch.agents, ("black", "white"))
    until(lambda: len(one.came) == 2)
    assert one.versions == [("black", 1), ("white", 1)]


def test_older_weights_of_a_session_are_passed_over_and_those_of_another_taken(driven, watcher):
    one = watcher("white")
    put(driven, "white", 5)
    until(lambda: one.versions == [("white", 5)])
    put(driven, "white", 4)
    put(driven, "white", 1, session="other")
    until(lambda: one.versions == [("white", 5), ("white", 1)])


def test_sets_that_follow_each_other_quickly_end_with_the_last(driven, watcher):
    one = watcher("white")
    for version in range(1, 9):
        put(driven, "white", version, LARGE)
    until(lambda: one.versions[-1:] == [("white", 8)])
    versions = [version for _, version in one.versions]
    assert versions == sorted(set(versions))
    assert all(each.body == LARGE for each in one.came)


def test_a_set_that_is_overwritten_while_it_is_read_is_read_again(driven, watcher, monkeypatch):
    """The next two are written after the first piece of it was asked for."""
    put(driven, "white", 1, LARGE)
    real, asked = nats_objects._piece, []

    async def slow(connection, bucket, about, number):
        asked.append(number)
        if len(asked) == 1:
            for version in (2, 3):
                await nats_weights.put(connection, BUCKET, *weights("white", version, LARGE[::-1]))
        return await real(connection, bucket, about, number)

    monkeypatch.setattr(nats_objects, "_piece", slow)
    one = watcher("white")
    until(lambda: one.came)
    assert (one.came[0].header.version, one.came[0].body) == (3, LARGE[::-1])


def test_a_notice_that_got_lost_is_made_good_by_a_look(driven, watcher, monkeypatch):
    monkeypatch.setattr(nats_weights_watch, "LOOK_AGAIN_S", 0.2)
    monkeypatch.setattr(nats_weights_watch, "LOOK_S", 0.2)

    async def deaf(self, message) -> None:
        pass

    monkeypatch.setattr(WeightsWatch, "_on_notice", deaf)
    one = watcher("white")
    for version in (1, 2):
        put(driven, "white", version)
        until(lambda version=version: one.versions[-1:] == [("white", version)])


def test_what_a_replica_that_lags_behind_says_is_not_believed_at_once(driven, watcher, monkeypatch):
    monkeypatch.setattr(nats_weights_watch, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(nats_weights_watch, "LOOK_S", 0.1)
    put(driven, "white", 1, session="old")
    stale = driven.do(nats_weights.look(driven.connection, BUCKET, "white"))
    put(driven, "white", 1, session="new")
    one = watcher("white")
    until(lambda: one.came)
    real, lagging = nats_weights_watch.look, [stale]

    async def look(connection, bucket, agent):
        return lagging.pop() if lagging else await real(connection, bucket, agent)

    monkeypatch.setattr(nats_weights_watch, "look", look)
    until(lambda: not lagging)
    put(driven, "white", 2, session="new")
    until(lambda: one.versions[-1] == ("white", 2))
    assert [each.header.session for each in one.came] == ["new", "new"]


def test_weights_of_a_store_that_was_made_anew_are_believed_after_a_while(driven, watcher, monkeypatch):
    monkeypatch.setattr(nats_weights_watch, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(nats_weights_watch, "LOOK_S", 0.1)

    async def deaf(self, message) -> None:
        pass

    monkeypatch.setattr(WeightsWatch, "_on_notice", deaf)
    one = watcher("white")
    for version in (1, 2, 3):
        put(driven, "white", version)
    until(lambda: one.versions[-1:] == [("white", 3)])
    driven.do(driven.connection.api(f"STREAM.DELETE.{BUCKET.stream}"))
    driven.do(prepare(driven.connection, PLAN))
    put(driven, "white", 1, session="anew")
    until(lambda: one.came[-1].header.session == "anew")


def test_what_tells_about_no_weights_is_counted_and_hurts_nobody(driven, watcher):
    one = watcher("white")
    driven.do(driven.connection.store(BUCKET.about("white"), b"nonsense"))
    driven.do(nats_objects.put(driven.connection, BUCKET, "white", "x", b"no weights", {}))
    driven.do(nats_objects.put(driven.connection, BUCKET, "white", "x", b"no", {"session": "s", "version": "1"}))
    until(lambda: one.watch.dropped >= 3)
    put(driven, "white", 2)
    until(lambda: one.versions == [("white", 2)])


def test_watching_goes_on_after_the_server_was_killed(server, driven, watcher):
    one = watcher("white")
    put(driven, "white", 1)
    until(lambda: one.came)
    server.kill()
    server.start()
    until(lambda: one.driven.channel.stats().connects == 2)
    until(lambda: driven.channel.stats().connects == 2)
    put(driven, "white", 2)
    until(lambda: one.versions == [("white", 1), ("white", 2)])


# Published


class Publisher:
    """A desk on a connection of its own."""

    def __init__(self, address) -> None:
        self.missed = 0
        self.desk = WeightsDesk(BUCKET, self._miss)
        self.driven = Driven(address, self.desk.run)
        self.driven.__enter__()

    def _miss(self) -> None:
        self.missed += 1

    def publish(self, version: int, body: bytes = bytes(8), session: str = "s", honest: bool = True) -> None:
        header, body = weights("white", version, body, session=session)
        self.driven.channel.call(self.desk.publish, header, body if honest else body + b"!")

    def flush(self) -> None:
        self.driven.channel.submit(self.desk.put_all()).result(10.0)

    def close(self) -> None:
        self.driven.close()


@pytest.fixture
def publisher(server, closing):
    return closing(Publisher(server.address))


def there(driven: Driven) -> tuple[str, int]:
    told = driven.do(nats_weights.look(driven.connection, BUCKET, "white"))
    return told.session, told.version


def test_the_latest_that_was_published_is_there(driven, publisher):
    for version in range(1, 20):
        publisher.publish(version, LARGE)
    publisher.flush()
    assert there(driven) == ("s", 19)


def test_an_older_version_does_not_take_the_place_of_a_newer_one(driven, publisher):
    publisher.publish(3)
    publisher.publish(2)
    publisher.flush()
    assert there(driven) == ("s", 3)
    publisher.publish(1, session="other")
    publisher.flush()
    assert there(driven) == ("other", 1)


def test_weights_that_are_none_are_not_published_and_the_next_are(driven, publisher):
    publisher.publish(3, honest=False)
    publisher.flush()
    assert publisher.desk.dropped == 1
    publisher.publish(3)
    publisher.flush()
    assert there(driven) == ("s", 3)


def test_what_is_published_while_the_server_is_away_is_there_when_it_is_back(server, driven, publisher):
    server.kill()
    publisher.publish(7)
    server.start()
    until(lambda: driven.channel.stats().connects == 2)
    publisher.flush()
    assert there(driven) == ("s", 7)


def test_weights_that_a_server_has_lost_are_asked_for_again(server, driven, publisher):
    publisher.publish(7)
    publisher.flush()
    driven.do(driven.connection.api(f"STREAM.PURGE.{BUCKET.stream}", {}))
    server.kill()
    server.start()
    until(lambda: publisher.missed == 1)
    publisher.publish(7)
    publisher.flush()
    until(lambda: driven.channel.stats().connects == 2)
    assert there(driven) == ("s", 7)


def test_buckets_of_two_runs_are_two():
    assert Bucket("A-weights").about("white") != Bucket("B-weights").about("white")

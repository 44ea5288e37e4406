import dataclasses

import pytest

from common.errors import OperatorError
from common.nats.connection import SUBJECT_TAKEN, Rejected
from common.nats.names import NatsNames
from common.nats.plan import NatsPlan
from common.nats.server import NatsServer
from common.nats.server_config import ClusterSeat, NatsServerSettings
from common.nats.stock import Stock
from common.nats.streams import prepare, read_stock, subjects_in
from tests.common.nats.driven import Driven
from tests.conftest import free_base_port

NAMES = NatsNames("rookery")
PLAN = NatsPlan(names=NAMES, agents=("white", "black"), max_units_ahead=64, lease_timeout_s=60.0)


@pytest.fixture
def driven(address):
    with Driven(address) as made:
        yield made


def streams(driven: Driven) -> dict:
    return {name: driven.do(driven.connection.api(f"STREAM.INFO.{name}")) for name in (
        "ROOKERY-units", "ROOKERY-experience", "ROOKERY-logs", "OBJ_ROOKERY-weights", "OBJ_ROOKERY-games"
    )}  # fmt: skip


def consumer(driven: Driven, stream: str, name: str) -> dict:
    return driven.do(driven.connection.api(f"CONSUMER.INFO.{stream}.{name}"))


def test_what_is_planned_is_made(driven):
    driven.do(prepare(driven.connection, PLAN))
    made = {name: about["config"] for name, about in streams(driven).items()}
    units = made["ROOKERY-units"]
    assert (units["retention"], units["storage"], units["discard"]) == ("workqueue", "file", "new")
    assert (units["max_msgs_per_subject"], units["discard_new_per_subject"]) == (1, True)
    assert made["ROOKERY-experience"]["retention"] == "workqueue"
    logs = made["ROOKERY-logs"]
    assert (logs["retention"], logs["discard"], logs["max_bytes"]) == ("limits", "old", 256 * 1024 * 1024)
    assert logs["max_age"] == 7 * 24 * 3600 * 10**9
    assert all(made[name]["allow_direct"] for name in ("OBJ_ROOKERY-weights", "OBJ_ROOKERY-games"))
    actors = consumer(driven, "ROOKERY-units", "actors")["config"]
    assert (actors["ack_wait"], actors["max_ack_pending"], actors["max_deliver"]) == (60 * 10**9, 64, -1)
    black = consumer(driven, "ROOKERY-experience", "learner-black")["config"]
    assert black["filter_subject"] == "rookery.experience.black.*"
    assert consumer(driven, "ROOKERY-logs", "collector")["config"]["ack_policy"] == "explicit"


def test_preparing_again_changes_nothing_and_loses_nothing(driven):
    driven.do(prepare(driven.connection, PLAN))
    driven.do(driven.connection.store(NAMES.unit(3), b"games"))
    before = streams(driven)
    driven.do(prepare(driven.connection, PLAN))
    after = streams(driven)
    for name, about in before.items():
        assert (after[name]["config"], after[name]["created"]) == (about["config"], about["created"])
    assert driven.do(read_stock(driven.connection, NAMES)).units == {3}


def test_settings_that_differ_are_changed_and_those_of_others_left(driven):
    driven.do(prepare(driven.connection, PLAN))
    config = streams(driven)["ROOKERY-logs"]["config"] | {"max_bytes": 1024, "max_msg_size": 2**20}
    driven.do(driven.connection.api("STREAM.UPDATE.ROOKERY-logs", config))
    driven.do(prepare(driven.connection, dataclasses.replace(PLAN, max_units_ahead=7, lease_timeout_s=5.0)))
    logs = streams(driven)["ROOKERY-logs"]["config"]
    assert (logs["max_bytes"], logs["max_msg_size"]) == (256 * 1024 * 1024, 2**20)
    actors = consumer(driven, "ROOKERY-units", "actors")["config"]
    assert (actors["ack_wait"], actors["max_ack_pending"]) == (5 * 10**9, 7)


def test_a_new_agent_gets_its_consumer(driven):
    driven.do(prepare(driven.connection, PLAN))
    driven.do(prepare(driven.connection, dataclasses.replace(PLAN, agents=("white", "black", "red"))))
    assert consumer(driven, "ROOKERY-experience", "learner-red")["num_pending"] == 0


def test_a_stream_that_is_there_and_can_t_be_changed_is_told_in_one_line(driven):
    other = {"name": "ROOKERY-units", "subjects": ["rookery.units.*"], "storage": "memory"}
    driven.do(driven.connection.api("STREAM.CREATE.ROOKERY-units", other))
    with pytest.raises(OperatorError) as caught:
        driven.do(prepare(driven.connection, PLAN))
    said = str(caught.value)
    assert said.startswith("stream ROOKERY-units is there with other settings, and can't be changed (")
    assert "storage is 'memory' and is to be 'file'" in said
    assert "choose another --namespace" in said
    assert "\n" not in said


def test_a_consumer_that_is_there_and_can_t_be_changed_is_told_in_one_line(driven):
    driven.do(prepare(driven.connection, PLAN))
    driven.do(driven.connection.api("CONSUMER.DELETE.ROOKERY-units.actors"))
    other = {"durable_name": "actors", "ack_policy": "explicit", "max_waiting": 5}
    request = {"stream_name": "ROOKERY-units", "config": other}
    driven.do(driven.connection.api("CONSUMER.DURABLE.CREATE.ROOKERY-units.actors", request))
    with pytest.raises(
        OperatorError, match="consumer actors of stream ROOKERY-units .* max_waiting is 5 and is to be"
    ):
        driven.do(prepare(driven.connection, PLAN))


def test_subjects_that_another_stream_has_are_told(driven):
    driven.do(driven.connection.api("STREAM.CREATE.other", {"name": "other", "subjects": ["rookery.>"]}))
    with pytest.raises(OperatorError, match="ROOKERY-units: subjects overlap with an existing stream"):
        driven.do(prepare(driven.connection, PLAN))


def test_more_replicas_than_there_are_servers_are_told(driven):
    with pytest.raises(OperatorError, match="replicas"):
        driven.do(prepare(driven.connection, dataclasses.replace(PLAN, replicas=3)))
    driven.do(prepare(driven.connection, PLAN))
    with pytest.raises(OperatorError, match="ROOKERY-units is to have 3 replicas, and has 1"):
        driven.do(prepare(driven.connection, dataclasses.replace(PLAN, replicas=3)))


def test_a_server_without_jetstream_is_told(nats_server_binary, tmp_path, monkeypatch):
    from common.nats import server as nats_server

    monkeypatch.setattr(nats_server, "_ask", lambda host, port: {"server_name": "rookery", "jetstream": True})
    settings = NatsServerSettings(directory=tmp_path, port=free_base_port(), more="jetstream: false")
    with NatsServer(settings) as server, Driven(server.address) as driven:
        with pytest.raises(OperatorError, match="no JetStream: start it with -js"):
            driven.do(prepare(driven.connection, PLAN))


def test_what_lies_in_the_streams_is_read(driven):
    driven.do(prepare(driven.connection, PLAN))
    assert driven.do(read_stock(driven.connection, NAMES)) == Stock(
        batches=frozenset(), units=frozenset(), games=frozenset(), units_waiting=0, idle=frozenset()
    )
    for subject in (
        NAMES.unit(0),
        NAMES.unit(7),
        NAMES.batch("white", 3),
        NAMES.batch("black", 3),
        NAMES.batch("white", 4),
    ):
        driven.do(driven.connection.store(subject, b"x"))
    driven.do(driven.connection.store(NAMES.batch("white", 3), b"another part"))
    driven.do(driven.connection.store("rookery.units.odd", b"x"))
    stock = driven.do(read_stock(driven.connection, NAMES))
    assert stock.units == {0, 7}
    assert stock.batches == {("white", 3), ("black", 3), ("white", 4)}


def test_a_unit_is_there_once_and_may_come_again_when_it_was_acknowledged(driven):
    """What the server does: also while an actor has it, and whatever the message id."""
    driven.do(prepare(driven.connection, PLAN))
    driven.do(driven.connection.store(NAMES.unit(1), b"x", headers={"Nats-Msg-Id": "a"}))
    for headers in ({"Nats-Msg-Id": "b"}, None):
        with pytest.raises(Rejected) as caught:
            driven.do(driven.connection.store(NAMES.unit(1), b"x", headers=headers))
        assert caught.value.error_code == SUBJECT_TAKEN
    assert driven.do(driven.connection.store(NAMES.unit(1), b"x", headers={"Nats-Msg-Id": "a"})).duplicate


class Paging:
    """A connection whose server gives three subjects at a time."""

    def __init__(self, subjects: list[str]) -> None:
        self.subjects, self.asked = subjects, 0

    async def api(self, verb, body, *, timeout_s):
        self.asked += 1
        page = self.subjects[body["offset"] : body["offset"] + 3]
        state = {"subjects": dict.fromkeys(page, 1)} if page else {}
        return {"state": state, "total": len(self.subjects), "offset": body["offset"], "limit": 3}


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9, 10])
def test_subjects_are_read_page_by_page(driven, count):
    paging = Paging([f"s.{number}" for number in range(count)])

    async def read() -> list[str]:
        return [subject async for subject in subjects_in(paging, "S", "s.*")]

    assert driven.do(read()) == paging.subjects
    assert paging.asked == max(1, -(-count // 3))


# In a cluster


@pytest.fixture(scope="module")
def cluster(nats_server_binary, tmp_path_factory):
    """Three servers."""
    directory, port = tmp_path_factory.mktemp("cluster"), free_base_port()
    routes = tuple(f"127.0.0.1:{port + 3 + number}" for number in range(3))
    servers = [
        NatsServer(
            NatsServerSettings(
                directory=directory / f"n{number}", port=port + number, name=f"n{number}",
                seat=ClusterSeat(cluster="rookery", port=port + 3 + number, routes=routes),
            )
        )
        for number in range(3)
    ]  # fmt: skip
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()


@pytest.fixture
def clustered(cluster):
    address = "nats://" + ",".join(server.address.removeprefix("nats://") for server in cluster)
    with Driven(address) as made:
        yield made


def test_a_cluster_is_waited_for_and_everything_is_made_with_three_replicas(clustered):
    driven = clustered
    driven.do(prepare(driven.connection, dataclasses.replace(PLAN, replicas=3)), 60.0)
    for about in streams(driven).values():
        assert about["config"]["num_replicas"] == 3
        assert len(about["cluster"]["replicas"]) == 2
    driven.do(driven.connection.store(NAMES.unit(1), b"x"))
    with pytest.raises(Rejected) as caught:
        driven.do(driven.connection.store(NAMES.unit(1), b"x"))
    assert caught.value.error_code == SUBJECT_TAKEN
    assert driven.do(read_stock(driven.connection, NAMES)).units == {1}
    driven.do(prepare(driven.connection, dataclasses.replace(PLAN, replicas=3)), 60.0)


def test_replicas_can_be_changed_in_a_cluster(clustered):
    driven, plan = clustered, dataclasses.replace(PLAN, names=NatsNames("few"))
    driven.do(prepare(driven.connection, plan), 60.0)
    driven.do(driven.connection.store(plan.names.unit(1), b"x"))
    driven.do(prepare(driven.connection, dataclasses.replace(plan, replicas=3)), 60.0)
    assert driven.do(read_stock(driven.connection, plan.names)).units == {1}

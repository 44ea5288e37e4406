"""What a broker makes of frames that are well-formed and still not what they say."""

from collections.abc import Iterator

import msgpack
import msgspec
import pytest
import zmq

from common import wire
from common.messages import PROTOCOL_VERSION, ArraySpec, Credit
from common.zmq.ports import Ports
from tests.broker.live import LiveBroker, way_to
from tests.links.peers import Learner
from tests.until import until


@pytest.fixture
def broker(base_port: int) -> Iterator[LiveBroker]:
    with LiveBroker(base_port) as live:
        yield live


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


def test_credit_for_others_is_counted_and_gives_nothing(broker, base_port, context):
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, b"0bad")
    socket.connect(Ports("127.0.0.1", base_port).delivery)
    socket.send(wire.encode(Credit(agent="white", session="5b0e", batches=65536)))
    until(lambda: broker.router.desk.dropped["credit of another session"] == 1)
    assert broker.dispatcher.ledgers["white"].capacity == 0


def test_subscriptions_to_a_part_are_counted_and_not_passed_on(broker, base_port, context):
    socket = context.socket(zmq.XSUB)
    socket.connect(Ports("127.0.0.1", base_port).logs_out)
    for number in range(20):
        socket.send(b"\x01topic" + bytes([number]))
    until(lambda: broker.router.desk.dropped["subscription"] == 20)


def test_versions_of_all_kinds_share_one_reason(broker, base_port, context):
    socket = context.socket(zmq.DEALER)
    socket.connect(Ports("127.0.0.1", base_port).control)
    for version in range(PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 299):
        socket.send(msgpack.packb({"v": version, "kind": "goodbye"}))
    until(lambda: sum(broker.router.desk.dropped.values()) == 298)
    assert dict(broker.router.desk.dropped) == {"another protocol version": 298}


def test_weights_whose_hash_shapes_or_names_are_wrong_are_not_kept(broker, base_port):
    learner = Learner(way_to(base_port), "white").join()
    header, body = learner.weights(2**53)
    wrong = (
        {"sha256": "0" * 64},
        {"arrays": [ArraySpec(name="w", dtype="float32", shape=[3])]},
        {"arrays": [ArraySpec(name="w", dtype="float32", shape=[1])] * 2},
    )
    try:
        for fields in wrong:
            before = broker.router.desk.dropped["weights are not what they say"]
            said = msgspec.structs.replace(header, **fields)
            until(
                lambda before=before: broker.router.desk.dropped["weights are not what they say"] > before,
                lambda said=said: (learner.link.publish(said, body), learner.poll()),
            )
        assert broker.router._weights.version("white", learner.session) == -1
    finally:
        learner.link.close()

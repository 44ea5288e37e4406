import random
import time

import pytest

from common import wire
from common.errors import BrokerUnreachable, KeptOut, MessageError, Refused
from common.messages import Action, Order, Refusal, ServiceStatus, Status, Welcome
from common.nats import answers as nats_answers
from common.nats.names import NatsNames
from common.nats.server import NatsServer
from common.nats.server_config import NatsServerSettings
from tests.common.nats.scripted import STATUS, ScriptedBroker, transport_to
from tests.conftest import free_base_port
from tests.links.peers import Actor
from tests.until import until


@pytest.fixture
def broker(shared, names):
    with ScriptedBroker(shared.address, names) as made:
        yield made


@pytest.fixture
def operator(shared, names, closing):
    return closing(transport_to(shared.address, names, "operator", "operator").operator())


def test_a_question_is_answered(broker, operator):
    assert operator.status(5.0) == STATUS
    assert operator.command("pause", ["actor-0"], 5.0) == (["actor-0"], ["nobody"])
    sender, _, _ = broker.heard[0]
    assert (sender.role, sender.name) == ("operator", "operator")


def test_an_order_gets_to_its_actor(shared, names, broker, operator, closing):
    actor = closing(Actor(transport_to(shared.address, names)))
    actor.wait(Welcome)
    operator.command("drain", ["actor-0"], 5.0)
    assert actor.wait(Order)[0].action is Action.DRAIN


def test_an_answer_in_many_parts_comes_whole(broker, operator):
    """What of many services does not fit into a message, packed."""
    draw = random.Random(1)
    services = [
        ServiceStatus(
            name=f"actor-{draw.randbytes(200).hex()}", role="actor", host=draw.randbytes(100).hex(), pid=1,
            state="working", seen_s=draw.random(), progress_s=draw.random(),
        )
        for _ in range(10_000)
    ]  # fmt: skip
    status = Status(
        **{field: getattr(STATUS, field) for field in STATUS.__struct_fields__} | {"services": services}
    )
    broker.reply = wire.encode(status)
    assert len(list(nats_answers.parts_of(broker.reply, 2**20))) > 2
    assert operator.status(10.0) == status


def test_a_refusal_is_raised(broker, operator):
    broker.reply = wire.encode(Refusal(reason="not you"))
    with pytest.raises(Refused, match="not you"):
        operator.status(5.0)


def test_a_broker_of_another_version_is_told(broker, operator, shared):
    import msgpack

    broker.reply = msgpack.packb({"v": 99, "kind": "status"})
    with pytest.raises(
        Refused, match=f"the broker at {shared.address} speaks another protocol: protocol version 99"
    ):
        operator.status(5.0)


def test_another_answer_than_was_asked_for_is_none(broker, operator):
    broker.reply = wire.encode(Welcome(broker="b", agents=[]))
    with pytest.raises(BrokerUnreachable):
        operator.status(0.5)


def test_where_no_broker_is_it_is_said_so_after_the_time(shared, operator, names):
    begun_s = time.monotonic()
    with pytest.raises(
        BrokerUnreachable, match=rf"no broker answers on NATS at {shared.address} within 0.3 s: .*{names.namespace}"
    ):
        operator.status(0.3)
    assert 0.25 < time.monotonic() - begun_s < 3.0


def test_a_broker_that_comes_in_time_answers(shared, names, operator):
    with pytest.raises(BrokerUnreachable):
        operator.status(0.05)
    with ScriptedBroker(shared.address, names):
        assert operator.status(5.0) == STATUS


def test_where_no_server_is_it_is_said_so_after_the_time(names, closing):
    address = f"nats://127.0.0.1:{free_base_port()}"
    operator = closing(transport_to(address, names, "operator", "operator").operator())
    begun_s = time.monotonic()
    with pytest.raises(
        BrokerUnreachable, match=f"no NATS server answers at {address} within 0.5 s .*--transport right"
    ):
        operator.status(0.5)
    assert time.monotonic() - begun_s < 3.0
    with pytest.raises(BrokerUnreachable):
        operator.status(0.0)


def test_who_is_not_let_in_is_told_so(nats_server_binary, tmp_path, closing):
    settings = NatsServerSettings(directory=tmp_path, port=free_base_port(), more="authorization { token: secret }")
    with NatsServer(settings) as server:
        operator = closing(transport_to(server.address, NatsNames(), "operator", "operator").operator())
        with pytest.raises(KeptOut, match="does not let us in .Authorization Violation."):
            operator.status(3.0)


def test_a_server_that_comes_back_is_asked_again(server, names, closing):
    operator = closing(transport_to(server.address, names, "operator", "operator").operator())
    with ScriptedBroker(server.address, names) as broker:
        assert operator.status(5.0)
        server.kill()
        with pytest.raises(BrokerUnreachable):
            operator.status(0.2)
        server.start()
        until(lambda: broker.channel.connection)
        assert operator.status(10.0)


def test_the_answer_to_an_earlier_question_is_not_taken_for_this_ones(broker, operator):
    for _ in range(3):
        with pytest.raises(BrokerUnreachable):
            operator.status(0.0)
        assert operator.command("pause", [], 5.0) == ([], ["nobody"])
        assert isinstance(operator.status(5.0), Status)


# Answers


def answer(envelope: bytes, limit: int = 100) -> bytes | None:
    reader = nats_answers.AnswerReader()
    found = None
    for part in nats_answers.parts_of(envelope, limit):
        found = reader.read(part.headers(), part.data)
    return found


def test_an_answer_is_packed_and_comes_back():
    envelope = random.Random(1).randbytes(5000)
    assert answer(envelope) == envelope
    assert answer(b"x") == b"x"


@pytest.mark.parametrize("packed", [b"nonsense", b"", b"\x28\xb5\x2f\xfd" + b"\xff" * 20])
def test_what_is_no_answer_is_refused(packed):
    from common.nats import parts as nats_parts

    (part,) = nats_parts.cut(packed, 1000, "s")
    with pytest.raises(MessageError):
        nats_answers.AnswerReader().read(part.headers(), part.data)


def test_an_answer_that_would_be_too_large_is_refused_before_it_is_unpacked():
    import zstandard

    from common.nats import parts as nats_parts

    (part,) = nats_parts.cut(zstandard.compress(bytes(wire.MAX_STATUS_BYTES + 1)), 10**6, "s")
    with pytest.raises(MessageError, match="it says it has"):
        nats_answers.AnswerReader().read(part.headers(), part.data)

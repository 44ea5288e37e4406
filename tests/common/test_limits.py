"""What a frame can say of itself costs no more memory or time than its size, and no number in it is none."""

import hashlib
import json
import resource
import time
from pathlib import Path

import msgpack
import msgspec
import pytest
import zmq
import zstandard

from common import batch, wire
from common.errors import MessageError
from common.leased_games import unpack_games
from common.messages import PROTOCOL_VERSION, ArraySpec, FromBroker, LogRecord, ToBroker, WeightsHeader
from common.weights_check import ITEM_BYTES, check_weights
from common.zmq import sockets

GOLDEN = Path(__file__).parent / "golden" / "protocol-3.jsonl"
MESSAGES = {line["message"]["kind"]: line["message"] for line in map(json.loads, GOLDEN.read_text().splitlines())}
EMPTY_LISTS = b"\xdd\x01\x00\x00\x00" + b"\x90" * (16 << 20)
"""Of 16 MiB; as Python's they would take 70 times as much."""
MEMORY_BYTES = 200 << 20


def frame(kind: str, **fields: object) -> bytes:
    return msgpack.packb({"v": PROTOCOL_VERSION, **MESSAGES[kind], **fields})


def refused(data: bytes, kinds: object = ToBroker) -> MessageError:
    with pytest.raises(MessageError) as caught:
        wire.decode(data, kinds)
    return caught.value


def grown_bytes(before: int) -> int:
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.parametrize(
    ("body", "decode"),
    [
        (len(EMPTY_LISTS).to_bytes(4, "little") + EMPTY_LISTS, batch.decode),
        (EMPTY_LISTS, unpack_games),
        (
            b"\xdd\x00\x00\x10\x01" + b"\x84\xa6number\x00\xa6source\xa0\xa4line\x00\xa4text\xc4\x00" * 4097,
            unpack_games,
        ),
    ],
)
def test_a_bomb_of_small_objects_takes_no_more_memory_than_its_bytes(body, decode):
    packed = zstandard.compress(body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MessageError):
        decode(packed)
    assert grown_bytes(before) < MEMORY_BYTES


def test_lists_within_lists_that_claim_to_be_long_take_no_time():
    data = b"\xdd\x00\x0f\xff\xf0" * 1020
    data += bytes(wire.MAX_ENVELOPE_BYTES - len(data))
    begun_s = time.process_time()
    for _ in range(20):
        refused(data)
    assert time.process_time() - begun_s < 1.0


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["loss", "td_error", "move_match", "samples_per_second", "train_share"])
def test_what_a_learner_reports_is_a_number(field, number):
    assert field in str(refused(frame("learner-report", **{field: number})))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.5])
def test_what_an_actor_reports_is_a_number(number):
    report = MESSAGES["renew"]["report"]
    refused(frame("renew", report={**report, "engine_share": number}))
    refused(frame("renew", report={**report, "weights_age_s": {"white": number}}))


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("renew", {"report": {"weights": {f"a{number}": 1 for number in range(1025)}}}, "weights"),
        ("renew", {"report": {"weights": {"../white": 1}}}, "weights"),
        ("hello", {"totals": {"rejected": {f"r{number}": 1 for number in range(65)}}}, "rejected"),
        ("hello", {"totals": {"rejected": {"a/b": 1}}}, "rejected"),
        ("hello", {"settings": {f"s{number}": "" for number in range(65)}}, "settings"),
        ("hello", {"host": "\x1b[2J"}, "host"),
        ("hello", {"host": "a\nb"}, "host"),
        ("stored", {"units": [MESSAGES["stored"]["units"][0]] * 4097}, "units"),
        ("command", {"names": ["a"] * 4097}, "names"),
        ("weights-request", {"newer_than": 2**60}, "newer_than"),
    ],
)
def test_lists_maps_and_texts_of_peers_are_bounded(kind, fields, told):
    error = refused(frame(kind, **fields))
    assert told in str(error)
    assert error.reason == "envelope"


@pytest.mark.parametrize(
    "fields",
    [
        {"level": "INFO\n"}, {"fields": {str(number): 1 for number in range(257)}}, {"fields": {"k" * 257: 1}},
        {"fields": {"k": "v" * 8193}}, {"error": "e" * 65537}, {"source": "../../x.1"},
    ],
)  # fmt: skip
def test_log_records_are_bounded(fields):
    assert refused(frame("log", **fields), LogRecord).reason == "envelope"


def test_the_reason_of_a_dropped_message_holds_nothing_of_the_peers():
    assert {refused(msgpack.packb({"v": version}), ToBroker).reason for version in (1, 2, 4, "x", 10**15)} == {
        "another protocol version"
    }
    assert refused(frame("order", action="/etc/passwd"), FromBroker).reason == "envelope"


def weights(body: bytes = bytes(24), **fields: object) -> tuple[WeightsHeader, bytes]:
    header = WeightsHeader(
        agent="white", session="5b0e", version=1, step=1, network="mlp",
        arrays=[ArraySpec(name="w", dtype="float32", shape=[2, 3])],
        size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest(),
    )  # fmt: skip
    return msgspec.structs.replace(header, **fields), body


def array(**fields: object) -> ArraySpec:
    return ArraySpec(**{"name": "w", "dtype": "float32", "shape": [6], **fields})


def test_weights_that_are_what_they_say_are_let_through():
    assert check_weights(*weights()) == [24]
    assert check_weights(
        *weights(arrays=[array(shape=[]), array(name="b", shape=[0, 9]), array(name="c", shape=[5])])
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"size_bytes": 23}, "24 bytes, not 23"),
        ({"sha256": "0" * 64}, "not those of the hash"),
        ({"arrays": [array(shape=[3]), array(shape=[3])]}, "called the same"),
        ({"arrays": [array(shape=[7])]}, "arrays need 28"),
        ({"arrays": []}, "arrays need 0"),
        ({"arrays": [array(), array(name="e", shape=[0, 2**53, 2**53])]}, "larger than a message"),
        ({"arrays": [array(shape=[2**53] * 8)]}, "larger than a message"),
    ],
)
def test_weights_that_are_not_what_they_say_are_refused(fields, told):
    with pytest.raises(MessageError, match=told) as caught:
        check_weights(*weights(**fields))
    assert caught.value.reason == "weights are not what they say"


@pytest.mark.parametrize("fields", [{"dtype": "float32\n"}, {"dtype": "object"}, {"name": "../w"}, {"shape": [-1]}])
def test_arrays_keep_to_plain_names_types_and_shapes(fields):
    specs = [{"name": "w", "dtype": "float32", "shape": [6], **fields}]
    refused(frame("weights", arrays=specs), WeightsHeader)


def test_every_type_of_array_has_its_size():
    for dtype, size in ITEM_BYTES.items():
        assert wire.decode(frame("weights", arrays=[{"name": "w", "dtype": dtype, "shape": []}]), WeightsHeader)
        assert size * 8 == int("".join(filter(str.isdigit, dtype)))


@pytest.mark.parametrize("curve", [False, True])
def test_a_frame_at_the_limit_passes_under_curve_as_in_the_clear(curve):
    context: sockets.Context = zmq.Context()
    server = sockets.make(context, zmq.PULL, max_frame_bytes=100_000)
    client = context.socket(zmq.PUSH)
    public, secret = zmq.curve_keypair()
    if curve:
        server.setsockopt(zmq.CURVE_SERVER, 1)
        server.setsockopt(zmq.CURVE_SECRETKEY, secret)
        client.setsockopt(zmq.CURVE_SERVERKEY, public)
        client.setsockopt(zmq.CURVE_PUBLICKEY, public)
        client.setsockopt(zmq.CURVE_SECRETKEY, secret)
    client.connect(f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}")
    client.send(bytes(100_000))
    assert server.poll(10_000)
    context.destroy(linger=0)

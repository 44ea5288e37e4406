import json
import string
import subprocess
import sys
import typing
from pathlib import Path

import msgpack
import msgspec
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from common import wire
from common.batch import encode
from common.errors import MessageError
from common.leased_games import pack_games, unpack_games
from common.messages import (
    PROTOCOL_VERSION,
    BatchHeader,
    Credit,
    FromBroker,
    Goodbye,
    Hello,
    LogRecord,
    Message,
    Order,
    RawGame,
    Status,
    Stored,
    StoreTotals,
    ToBroker,
    WeightsHeader,
    Welcome,
)
from tests.common.batches import played

GOLDEN = Path(__file__).parent / "golden"
ANY = ToBroker | FromBroker | BatchHeader | Credit | LogRecord
KINDS = {kind.__struct_config__.tag: kind for kind in typing.get_args(ANY)}


def golden(version: int) -> list[dict]:
    return [json.loads(line) for line in (GOLDEN / f"protocol-{version}.jsonl").read_text().splitlines()]


def frame(**fields) -> bytes:
    return msgpack.packb({"v": PROTOCOL_VERSION, **fields})


def refusal(data: bytes, kinds=ANY) -> str:
    with pytest.raises(MessageError) as caught:
        wire.decode(data, kinds)
    return str(caught.value)


# Golden bytes


@pytest.mark.parametrize("line", golden(3), ids=lambda line: line["message"]["kind"])
def test_messages_of_version_3_are_these_bytes(line):
    message = msgspec.convert(line["message"], KINDS[line["message"]["kind"]])
    assert wire.encode(message).hex() == line["hex"]
    assert wire.decode(bytes.fromhex(line["hex"]), ANY) == message


@pytest.mark.parametrize("version", [1, 2])
def test_messages_of_earlier_versions_are_told_as_such(version):
    for line in golden(version):
        assert f"protocol version {version} is not ours (3)" in refusal(bytes.fromhex(line["hex"]))


def test_every_message_has_golden_bytes():
    def leaves(kind: type) -> set[type]:
        return set().union(*map(leaves, kind.__subclasses__())) if kind.__subclasses__() else {kind}

    assert {line["message"]["kind"] for line in golden(PROTOCOL_VERSION)} == set(KINDS)
    assert set(KINDS.values()) == {kind for kind in leaves(Message) if kind.__module__ == "common.messages"}


def test_the_games_of_a_lease_are_these_bytes():
    game = RawGame(number=64, source="a.pgn", line=1025, text=b'[Event "?"]\n\n1. e4 *')
    packed = bytes.fromhex(
        "9184a66e756d62657240a6736f75726365a5612e70676ea46c696e65cd0401"
        "a474657874c4145b4576656e7420223f225d0a0a312e206534202a"
    )
    assert wire.unpack(packed, 1000) == [msgspec.to_builtins(game, builtin_types=(bytes,))]
    assert wire.pack([msgspec.to_builtins(game, builtin_types=(bytes,))]) == packed
    assert unpack_games(pack_games([game])) == [game]


# Versions


@pytest.mark.parametrize("version", [0, 1, 2, 4, 10**6, None, "1", True, 1.0, [1], {"v": 1}])
def test_another_version_is_told_as_such(version):
    data = msgpack.packb({"v": version, "kind": "goodbye"})
    with pytest.raises(wire.ProtocolMismatch, match=r"is not ours \(3\): run the same release"):
        wire.decode(data, ANY)


def test_no_version_is_another_version():
    with pytest.raises(wire.ProtocolMismatch, match="version none"):
        wire.decode(msgpack.packb({"kind": "goodbye"}), ANY)


def test_a_peer_cannot_make_the_line_about_its_version_long():
    with pytest.raises(wire.ProtocolMismatch) as caught:
        wire.decode(msgpack.packb({"v": "x" * 10**5}), ANY)
    assert len(str(caught.value)) < 200


def test_a_message_of_another_version_need_make_no_sense_otherwise():
    with pytest.raises(wire.ProtocolMismatch):
        wire.decode(msgpack.packb({"v": 4, "kind": "teleport", "to": [1, 2]}), ANY)


def test_the_status_of_a_broker_that_has_only_words_for_the_bottleneck_is_read():
    status = next(line["message"] for line in golden(3) if line["message"]["kind"] == "status")
    words = {name: value for name, value in status.items() if not name.startswith("bottleneck_")}
    read = wire.decode(frame(**words), FromBroker, wire.MAX_STATUS_BYTES)
    assert (read.bottleneck, read.bottleneck_kind, read.bottleneck_agents) == (status["bottleneck"], None, [])


def test_an_operator_who_knows_only_the_words_for_the_bottleneck_reads_the_status():
    fields = msgspec.structs.fields(Status)
    known = [(field.name, field.type) for field in fields if not field.name.startswith("bottleneck_")]
    older = msgspec.defstruct("Older", known, bases=(Message,), tag="status")
    line = next(line for line in golden(3) if line["message"]["kind"] == "status")
    read = wire.decode(bytes.fromhex(line["hex"]), older, wire.MAX_STATUS_BYTES)
    assert read.bottleneck == line["message"]["bottleneck"]


# Malformed


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\x90", "not a map"),
        (b"\x81\xa1v", "not msgpack"),
        (frame(kind="goodbye") + b"\x00", "not msgpack"),
        (frame(), "kind is missing"),
        (frame(kind="teleport"), "teleport"),
        (frame(kind=3), "kind"),
        (frame(kind="totals", units=-1, games=0), "units"),
        (frame(kind="totals", units=2**53 + 1, games=0), "units"),
        (frame(kind="totals", units="3", games=0), "units"),
        (frame(kind="totals", units=3), "games"),
        (frame(kind="release", units=[1] * 1025), "units"),
        (frame(kind="release", units=[1.5]), "units"),
        (frame(kind="order", action="explode"), "action"),
        (frame(kind="refusal", reason="x" * 4097), "reason"),
        (frame(kind="credit", agent="white", session="a b", batches=1), "session"),
        (frame(kind="credit", agent="white\n", session="ab", batches=1), "agent"),
        (frame(kind="credit", agent="white", session="ab", batches=65537), "batches"),
        (frame(kind="refusal", reason=b"bytes"), "reason"),
        (msgpack.packb({1: 2}), "not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),  # a list of 4,294,967,295
        (b"\xdf\xff\xff\xff\xff", "not msgpack"),  # a map of as many
        (b"\xdb\xff\xff\xff\xff", "not msgpack"),  # a text of 4 GB
        (b"\xc6\xff\xff\xff\xffx", "not msgpack"),  # bytes
        (b"\xc9\xff\xff\xff\xff\x05", "not msgpack"),  # an extension
        (b"\x91" * 10**5, "not msgpack"),
        (b"\x81\xa1v" * 10**5, "not msgpack"),
        (b"\x82\xa1v\x01\xa4kind\xa2\xff\xff", "not msgpack"),  # not UTF-8
        (msgpack.packb({"v": PROTOCOL_VERSION, "kind": msgpack.Timestamp(1)}), "kind"),
        (msgpack.packb({"v": PROTOCOL_VERSION, "kind": msgpack.ExtType(5, b"x")}), "kind"),
    ],
)
def test_what_is_no_message_is_told_and_nothing_else(data, told):
    assert told in refusal(data)


def test_a_message_of_another_kind_than_expected_is_refused():
    assert "goodbye" in refusal(wire.encode(Goodbye()), Order | Welcome)


def test_fields_that_are_not_known_yet_are_passed_over():
    assert wire.decode(frame(kind="goodbye", since=3), ANY) == Goodbye()


def test_an_envelope_over_the_limit_is_refused_unread():
    big = frame(kind="refusal", reason="x" * wire.MAX_ENVELOPE_BYTES)
    assert refusal(big).startswith("too large: ")
    with pytest.raises(MessageError, match="too large: 3 bytes are over the limit of 2"):
        wire.unpack(b"abc", 2)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8)
    | st.binary(max_size=8) | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8) | st.binary(max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FRAMES = [bytes.fromhex(line["hex"]) for line in golden(3)]


def decoded(data: bytes, kinds=ANY) -> object:
    """The message or MessageError; any other exception is the test's failure."""
    try:
        return wire.decode(data, kinds)
    except MessageError:
        return MessageError


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_message_errors(data):
    for kinds in (ANY, WeightsHeader, BatchHeader):
        decoded(data, kinds)


@given(
    st.sampled_from(FRAMES),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0),
)
def test_mutated_frames_raise_nothing_but_message_errors(data, changes, cut):
    mutated = bytearray(data)
    for at, value in changes:
        mutated[at % len(mutated)] = value
    decoded(bytes(mutated))
    decoded(bytes(mutated[: cut % len(mutated)]))


@given(st.sampled_from(golden(3)), st.data())
def test_values_of_any_type_in_any_field_raise_nothing_but_message_errors(line, data):
    fields = dict(line["message"])
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
        fields[name] = data.draw(VALUES)
    decoded(frame(**fields))


@given(VALUES)
def test_any_value_packs_and_unpacks_or_is_refused(value):
    decoded(msgpack.packb(value))
    try:
        wire.unpack(msgpack.packb(value), 10**6)
    except MessageError:
        pass


# The games of a lease


@given(st.binary(max_size=100), VALUES)
def test_a_body_that_is_no_games_raises_nothing_but_message_errors(data, value):
    bodies = [data, zstandard.compress(data), zstandard.compress(msgpack.packb(value))]
    fields = {"number": 1, "source": "a", "line": 1, "text": b"x"}
    bodies += [zstandard.compress(msgpack.packb([{**fields, name: value}])) for name in fields]
    for body in bodies:
        try:
            unpack_games(body)
        except MessageError:
            pass


def test_games_that_say_they_are_larger_than_the_limit_are_refused_before_they_are_unpacked():
    small = zstandard.compress(b"\x00" * 1000)
    assert zstandard.frame_content_size(small) == 1000
    huge = zstandard.ZstdCompressor().compressobj(size=2**40).compress(b"")
    with pytest.raises(MessageError):
        unpack_games(huge + small)
    with pytest.raises(MessageError, match="say they have 268435457 bytes"):
        unpack_games(zstandard.compress(b"\x00" * (256 * 2**20 + 1), 1))


# The broker's short cut


def header(data: bytes) -> object:
    try:
        return wire.decode_batch_header(data)
    except MessageError as error:
        return type(error)


BATCH = BatchHeader(
    unit=4, agent="white", transitions=1100, games=16, actor="actor-0", host="play3", engine="Stockfish 15.1"
)


def test_the_envelope_of_a_batch_is_decoded_alike_both_ways():
    assert wire.decode_batch_header(wire.encode(BATCH)) == BATCH
    assert wire.decode_batch_header(frame(**msgspec.to_builtins(BATCH), later={"a": [1]})) == BATCH


@given(st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=3), st.integers(0))
@example([(1, 0xA1)], 5)
def test_mutated_envelopes_of_batches_are_decoded_alike_both_ways(changes, cut):
    mutated = bytearray(wire.encode(BATCH))
    for at, value in changes:
        mutated[at % len(mutated)] = value
    for data in (bytes(mutated), bytes(mutated[: cut % len(mutated)])):
        expected = decoded(data, BatchHeader)
        found = header(data)
        if expected is not MessageError:
            assert found == expected
        elif not isinstance(found, type):  # a byte of a name that is no field any more may be anything
            given = {name: value for name, value in msgspec.to_builtins(found).items() if value != ""}
            assert given.items() <= msgpack.unpackb(data, unicode_errors="replace").items()


@given(
    st.dictionaries(
        st.sampled_from(["unit", "agent", "transitions", "games", "actor", "host", "engine", "kind", "extra"]),
        VALUES,
    )
)
def test_envelopes_of_batches_with_any_fields_are_decoded_alike_both_ways(fields):
    data = frame(**{**msgspec.to_builtins(BATCH), **fields})
    expected = decoded(data, BatchHeader)
    found = header(data)
    assert found == expected or (isinstance(found, type) and expected is MessageError)


@pytest.mark.parametrize("depth", [100, 600, 10**5])
def test_a_deeply_nested_extra_field_of_a_batch_raises_nothing_but_message_errors(depth):
    data = wire.encode(BATCH)
    nested = bytes([data[0] + 1]) + data[1:] + b"\xa1x" + b"\x91" * depth + b"\x00"
    assert header(nested) in (BATCH, MessageError)


def test_another_version_of_a_batch_is_told_as_such():
    assert header(msgpack.packb({"v": 2, **msgspec.to_builtins(BATCH)})) is wire.ProtocolMismatch
    assert header(wire.encode(BATCH) + b"x" * wire.MAX_ENVELOPE_BYTES) is MessageError


def test_names_and_numbers_keep_to_their_ranges():
    hello = next(line["message"] for line in golden(3) if line["message"]["kind"] == "hello")
    for name in ("x" * 129, "", "a/b", "ü"):
        assert "name" in refusal(frame(**{**hello, "name": name}), Hello)
    for name in ("x" * 128, string.ascii_letters, "a@b.c_d-e", "7"):
        assert wire.decode(frame(**{**hello, "name": name}), Hello).name == name


FIRST_AT_ONCE = """
import sys, threading
from common import batch, wire
from common.messages import ToBroker
frame, body = bytes.fromhex(sys.argv[1]), bytes.fromhex(sys.argv[2])
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def decode():
    together.wait()
    wire.decode(frame, ToBroker)
    batch.decode(body)
threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_decode_their_first_messages_and_batches_at_once() -> None:
    """msgspec crashes on a type that another thread is making known to it."""
    frame = wire.encode(Stored(agent="white", session="s", units=[], totals=StoreTotals(rejected={"empty": 1})))
    body = encode(played(seed=1, games=1))
    for _ in range(3):
        command = [sys.executable, "-c", FIRST_AT_ONCE, frame.hex(), body.hex()]
        assert subprocess.run(command, check=False).returncode == 0

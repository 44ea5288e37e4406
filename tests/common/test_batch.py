import dataclasses

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from common import wire
from common.batch import Batch, Limits, decode, encode
from common.errors import MessageError
from common.settings import Side
from tests.common.batches import assert_equal, noise, noises, played


@given(noises())
@settings(max_examples=60, deadline=None)
def test_decoding_undoes_encoding_whatever_the_columns_hold(batch):
    assert_equal(decode(encode(batch)), batch)


@pytest.mark.parametrize("side", list(Side))
def test_decoding_undoes_encoding_for_real_games(side):
    batch = played(1, games=5, side=side)
    assert_equal(decode(encode(batch)), batch)


@given(noises())
@settings(max_examples=20, deadline=None)
def test_encoding_is_canonical(batch):
    body = encode(batch)
    assert encode(decode(body)) == body


def test_rejections_are_counted_by_reason():
    assert noise(1, [2, 0, 3]).rejected == {"cut-off": 1, "variant": 2}


def test_a_batch_without_rows_or_games_is_a_batch():
    assert len(decode(encode(noise(1, [])))) == 0
    assert decode(encode(noise(1, [0, 0]))).game_rows.tolist() == [0, 0]


def test_a_transition_of_real_chess_takes_few_bytes():
    batch = played(3, games=16, plies=120)
    assert len(encode(batch)) / len(batch) < 12  # random moves and scores; real games take less


def content_of(batch: Batch) -> bytearray:
    return bytearray(zstandard.ZstdDecompressor().decompress(encode(batch)))


def body_of(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(bytes(content))


def with_header(batch: Batch, index: int, value: object) -> bytes:
    content = content_of(batch)
    end = 4 + int.from_bytes(content[:4], "little")
    fields = wire.unpack(bytes(content[4:end]), 10_000)
    fields[index] = value
    header = wire.pack(fields)
    return body_of(len(header).to_bytes(4, "little") + header + bytes(content[end:]))


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_are_refused(body):
    with pytest.raises(MessageError):
        decode(body)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_arbitrary_contents_are_refused(content):
    with pytest.raises(MessageError):
        decode(body_of(content))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_body_is_refused(data):
    body = bytearray(encode(played(5, games=1, plies=20)))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(body))
    except MessageError:
        return
    assert_equal(decoded, played(5, games=1, plies=20))  # a bit of the frame that says nothing


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_content_is_refused_or_means_another_valid_batch(data):
    content = content_of(played(5, games=2, plies=20))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(body_of(content))
    except MessageError:
        return
    assert_equal(decode(encode(decoded)), decoded)


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, 2),
        (0, "1"),
        (1, -1),
        (2, "../etc"),
        (3, "red"),
        (4, 10**9),
        (5, -1),
        (6, {"x": 0}),
        (6, {"x" * 65: 1}),
        (6, [1]),
        (7, 2**62),
        (7, 3),
        (8, 2**62),
        (9, 2**62),
        (9, None),
    ],
)
def test_a_header_out_of_its_ranges_is_refused(index, value):
    with pytest.raises(MessageError):
        decode(with_header(noise(1, [2, 3]), index, value))


def changed(**columns: object) -> Batch:
    return dataclasses.replace(played(2, games=2, plies=12), **columns)


def positions_with(**columns: object) -> Batch:
    batch = played(2, games=2, plies=12)
    return dataclasses.replace(batch, positions=dataclasses.replace(batch.positions, **columns))


@pytest.mark.parametrize(
    "batch",
    [
        changed(scores=np.full(12, 32001, np.int16)),
        changed(scores=np.full(12, -32768, np.int16)),
        changed(final_scores=np.array([0, -32001], np.int16)),
        changed(results=np.array([0, 3], np.uint8)),
        changed(game_numbers=np.array([7, 7], np.uint64)),
        changed(game_numbers=np.array([8, 7], np.uint64)),
        changed(game_rows=np.array([6, 5], np.uint32)),
        changed(first_plies=np.array([0, 2**32 - 2], np.uint32)),
        changed(start_fullmoves=np.array([0, 2**32 - 2], np.uint32)),
        changed(games_read=3),
        positions_with(boards=np.full((12, 64), 13, np.uint8)),
        positions_with(castling=np.full(12, 16, np.uint8)),
        positions_with(en_passant=np.full(12, 8, np.int8)),
        positions_with(en_passant=np.full(12, -2, np.int8)),
    ],
)
def test_values_out_of_their_ranges_are_refused(batch):
    with pytest.raises(MessageError):
        decode(encode(batch))


def test_actions_beyond_the_last_move_are_refused():
    batch = played(2, games=1, plies=8)
    content = content_of(batch)
    place = bytes(content).rindex(batch.actions.tobytes())
    content[place : place + 2] = (1880).to_bytes(2, "little")
    with pytest.raises(MessageError, match="actions"):
        decode(body_of(content))


def test_too_large_a_batch_is_refused_before_it_is_decompressed():
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(100_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(MessageError, match="over the limit"):
        decode(bomb)
    with pytest.raises(MessageError, match="over the limit"):
        decode(encode(played(1)), Limits(decompressed_bytes=100))
    with pytest.raises(MessageError, match="over the limit"):
        decode(encode(played(1)), Limits(games=2))


def test_a_frame_that_hides_its_size_is_refused():
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(content_of(played(1))))
    with pytest.raises(MessageError, match="size"):
        decode(frame)


def test_bytes_behind_the_frame_are_refused():
    with pytest.raises(MessageError):
        decode(encode(played(1)) + b"x")
    with pytest.raises(MessageError):
        decode(encode(played(1)) * 2)

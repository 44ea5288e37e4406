import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from common import wire
from common.batch import Batch, Limits, decode, encode
from common.errors import MessageError
from common.positions import Positions
from common.probes import NO_REPLY, Probes, no_probes
from common.settings import Side
from tests.common.batches import assert_equal, noise, noises, played

GOLDEN = Path(__file__).parent / "golden"


@given(noises())
@settings(max_examples=60, deadline=None)
def test_decoding_undoes_encoding_whatever_the_columns_hold(batch):
    assert_equal(decode(encode(batch)), batch)


@pytest.mark.parametrize("side", list(Side))
def test_decoding_undoes_encoding_for_real_games(side):
    batch = played(1, games=5, side=side, probe_rate=0.4)
    assert len(batch.probes) > 20
    assert_equal(decode(encode(batch)), batch)


@given(noises())
@settings(max_examples=20, deadline=None)
def test_encoding_is_canonical(batch):
    body = encode(batch)
    assert encode(decode(body)) == body


def test_an_agent_that_plays_both_sides_has_each_game_twice_in_a_row():
    batch = decode(encode(played(1, games=3, plies=7, side=Side.BOTH)))
    assert batch.game_numbers.tolist() == [64, 64, 65, 65, 66, 66]
    assert batch.game_sides.tolist() == [0, 1, 0, 1, 0, 1]
    assert batch.game_rows.tolist() == [4, 3] * 3
    assert batch.row_sides.tolist() == [0, 0, 0, 0, 1, 1, 1] * 3
    assert batch.games_used == 3
    assert played(1, games=3, plies=7).games_used == 3


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
    batch = played(5, games=1, plies=20, probe_rate=0.3)
    body = bytearray(encode(batch))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(body))
    except MessageError:
        return
    assert_equal(decoded, batch)  # a bit of the frame that says nothing


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_content_is_refused_or_means_another_valid_batch(data):
    content = content_of(played(5, games=2, plies=20, side=Side.BOTH, probe_rate=0.3))
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
        (0, 1),
        (0, 3),
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
        (10, 2**62),
        (10, 0),
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
        changed(game_sides=np.array([0, 1], np.uint8)),
        changed(game_sides=np.array([1, 1], np.uint8)),
        changed(game_sides=np.array([2, 2], np.uint8)),
        changed(side=Side.BLACK),
        changed(side=Side.BOTH),
        changed(side=Side.BOTH, game_sides=np.array([0, 1], np.uint8)),
        changed(side=Side.BOTH, game_sides=np.array([1, 0], np.uint8), game_numbers=np.array([7, 7], np.uint64)),
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


def probes_with(change: Callable[[Probes], dict[str, object]]) -> Batch:
    batch = noise(4, [6, 6, 6])
    assert len(batch.probes) > 4
    return dataclasses.replace(batch, probes=dataclasses.replace(batch.probes, **change(batch.probes)))


def at(values: np.ndarray, index: int, value: int) -> np.ndarray:
    """Return `values` with another value at one place."""
    found = values.copy()
    found[index] = value
    return found


def boards_changed(positions: Positions, **columns: object) -> Positions:
    return dataclasses.replace(positions, **columns)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p: {"after_scores": at(p.after_scores, 0, 32001)}, "probe_after_scores outside"),
        (lambda p: {"scores": at(p.scores, -1, -32768)}, "probe_scores outside"),
        (lambda p: {"ended": at(p.ended.astype(np.uint8), 0, 2)}, "probe_ended outside"),
        (lambda p: {"ended": np.zeros(len(p), bool)}, "go on without a reply"),
        (lambda p: {"scores": np.where(p.replies == NO_REPLY, 7, p.scores).astype(np.int16)}, "last score"),
        (lambda p: {"after_positions": boards_changed(p.after_positions, castling=np.full(len(p), 16, np.uint8))},
         "after_castling outside"),
        (lambda p: {"after_positions": boards_changed(p.after_positions, en_passant=np.full(len(p), 8, np.int8))},
         "after_en_passant outside"),
        (lambda p: {"next_positions": boards_changed(p.next_positions, castling=np.full(len(p), 16, np.uint8))},
         "next_castling outside"),
        (lambda p: {"next_positions": boards_changed(p.next_positions, en_passant=np.full(len(p), -2, np.int8))},
         "next_en_passant outside"),
        (lambda p: {"next_positions": boards_changed(p.next_positions, repetitions=np.ones(len(p), np.uint8))},
         "positions after replies that there are not"),
    ],
)  # fmt: skip
def test_probes_out_of_their_ranges_are_refused(change, why):
    with pytest.raises(MessageError, match=why):
        decode(encode(probes_with(change)))


@pytest.mark.parametrize("place", ["rows", "actions", "replies"])
def test_probes_of_no_row_or_move_are_refused(place):
    batch = noise(4, [6, 6, 6])
    content = content_of(batch)
    column = getattr(batch.probes, place)
    start = bytes(content).rindex(column.tobytes())
    last = start + column.nbytes - column.itemsize
    content[last : start + column.nbytes] = (2000).to_bytes(column.itemsize, "little")
    with pytest.raises(MessageError, match="no row|actions|replies"):
        decode(body_of(content))


def test_probes_out_of_order_are_refused():
    batch = noise(4, [6, 6, 6])
    content = content_of(batch)
    start = bytes(content).rindex(batch.probes.rows.tobytes())
    content[start : start + 4] = content[start + 4 : start + 8]
    with pytest.raises(MessageError, match="out of order"):
        decode(body_of(content))


def test_boards_of_probes_that_their_moves_do_not_lead_to_are_our_own_bug():
    with pytest.raises(ValueError, match="don't follow"):
        encode(probes_with(lambda p: {"actions": at(p.actions, 0, (int(p.actions[0]) + 1) % 1880)}))


def test_a_probe_of_real_chess_takes_few_bytes():
    batch = played(3, games=16, plies=120, probe_rate=0.5)
    extra = len(encode(batch)) - len(encode(dataclasses.replace(batch, probes=no_probes())))
    assert extra / len(batch.probes) < 16  # random moves and scores; real ones take less


def test_a_batch_of_the_first_format_is_refused_in_one_line():
    with pytest.raises(MessageError, match="^batch is not of format 2") as caught:
        decode(with_header(noise(1, [2, 3]), 0, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["white", "both"])
def test_the_content_of_a_batch_is_pinned_byte_by_byte(name):
    """What is compressed, that is: zstd's own bytes may differ from version to version."""
    batch = noise(9, [2, 0, 3], Side(name))
    lines = (GOLDEN / "batch-2.hex").read_text().split()
    golden = bytes.fromhex(dict(line.split(":") for line in lines)[name])
    assert bytes(content_of(batch)) == golden
    assert_equal(decode(body_of(golden)), batch)


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

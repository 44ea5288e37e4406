"""Bytes of a transition on the wire, all told, against pickle of the same rows."""

import pickle
from collections.abc import Iterator

from benchmarks.figure import Figure
from benchmarks.real_games import batches
from benchmarks.scale import Scale
from common import wire
from common.batch import Batch, encode
from common.messages import BatchHeader
from common.settings import Settings

LIMIT_BYTES = 10.0
GAMES_PER_UNIT = Settings().games_per_unit


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure batches of the default unit size, both agents'."""
    found = [batch for pair in batches(scale, scale.of(64, 8), GAMES_PER_UNIT) for batch in pair]
    rows = sum(map(len, found))
    value = sum(map(wire_bytes, found)) / rows
    pickled = sum(len(pickle.dumps(rows_of(batch), pickle.HIGHEST_PROTOCOL)) for batch in found) / rows
    yield Figure(
        name=f"bytes per transition on the wire, {GAMES_PER_UNIT} games a unit",
        value=value,
        unit="bytes",
        reference=pickled,
        against="pickle of the same rows",
        ratio=pickled / value,
        # Under 10 bytes is the promise: that many times less than pickle.
        at_least=pickled / LIMIT_BYTES,
        note=f"{rows} transitions; envelope, frames and body; under {LIMIT_BYTES:g} bytes is promised",
    )


def wire_bytes(batch: Batch) -> int:
    """Return all bytes of a batch on one of its two ways, from actor to broker or from broker to learner."""
    header = BatchHeader(
        unit=batch.unit, agent=batch.agent, transitions=len(batch), games=batch.games_read, actor="actor-0"
    )
    return sum(framed(len(frame)) for frame in (wire.encode(header), encode(batch)))


def framed(size_bytes: int) -> int:
    """Return the size of a ZMTP 3 frame (rfc.zeromq.org/spec/23): flags, a length of 1 or 8 bytes, the bytes."""
    return size_bytes + (2 if size_bytes < 256 else 9)


def rows_of(batch: Batch) -> list[tuple[object, ...]]:
    """Return the batch as one would send it without Rookery: a tuple a row, of plain values."""
    games = [game for game, rows in zip(batch.game_numbers, batch.game_rows, strict=True) for _ in range(rows)]
    positions = batch.positions
    return [
        (
            int(games[row]), positions.boards[row].tobytes(), int(positions.castling[row]),
            int(positions.en_passant[row]), int(positions.halfmove_clock[row]), int(positions.repetitions[row]),
            int(batch.actions[row]), int(batch.scores[row]),
        )
        for row in range(len(batch))
    ]  # fmt: skip

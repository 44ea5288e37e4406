"""Every decoder of the project, fed with what is no message, in a process of its own whose memory is measured.

    python -m tests.torture.decoders FRAMES SEED     prints one line of JSON: a Found

Only MessageError (for rows and manifests: what their callers take) may come out of a decoder.
"""

import hashlib
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import msgspec
import numpy as np
import zstandard

from actor.evaluations import Evaluations, game_key
from agent.weights import unpack
from broker.collector import Collector
from common import batch, wire
from common.errors import MessageError
from common.leased_games import pack_games, unpack_games
from common.log_lines import decode_line, encode_line, line_of
from common.log_text import text_of
from common.messages import BatchHeader, Credit, FromBroker, LogRecord, ToBroker, WeightsHeader
from common.run_files import MANIFEST_FILE
from learner import checkpoints
from tests.common.batches import noise, played
from tests.torture.mutations import Mutations
from tests.torture.peak import peak_bytes

SLOW_S = 10.0
"""No call may take longer, on whatever machine."""
LEAST = 100
"""Frames that each decoder gets at least."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of frames came to."""

    frames: dict[str, int]
    """By decoder."""
    accepted: int
    """Frames that were messages all the same."""
    reasons: dict[str, int]
    """Frames refused, by reason."""
    escaped: list[str]
    """Exceptions that no decoder may raise, with the frame's beginning in hexadecimal."""
    slowest_s: float
    slowest: str
    """Decoder of the call that took longest."""
    memory_max_bytes: int


Target = Callable[[], object]
"""Makes one frame and decodes it."""


def targets(mutations: Mutations, rng: random.Random, folder: Path) -> Iterator[tuple[str, int, Target]]:
    """Yield each decoder with its share of the frames."""
    collector = Collector(folder / "logs", per_service=True)
    store = Evaluations.open(folder / "evaluations.db", "an engine")
    checkpoint = folder / "checkpoints" / "step-000000001-unit-000000001"
    checkpoint.mkdir(parents=True)
    for name, kinds in (
        ("to the broker", ToBroker), ("from the broker", FromBroker), ("credit", Credit), ("log", LogRecord),
        ("batch envelope", BatchHeader),
    ):  # fmt: skip
        own = {"credit": "credit", "log": "log", "batch envelope": "batch"}.get(name)
        yield name, 12, lambda own=own, kinds=kinds: wire.decode(mutations.frame(own), kinds)
    yield "batch envelope, short cut", 12, lambda: wire.decode_batch_header(mutations.frame("batch"))
    yield "batch", 8, lambda: batch.decode(_batch_body(mutations, rng))
    yield "lease", 4, lambda: unpack_games(_games_body(mutations, rng))
    yield "weights", 6, lambda: _unpack_weights(mutations, rng)
    yield "log to file", 4, lambda: _collect(collector, mutations)
    yield "manifest", 2, lambda: _manifest(mutations, checkpoint)
    yield "row of evaluations", 4, lambda: _row(store, mutations, rng)


BATCHES = [
    batch.encode(noise(1, [2, 0, 3])),
    batch.encode(played(2, games=2, plies=20)),
    batch.encode(noise(3, [])),
]
CONTENTS = [zstandard.ZstdDecompressor().decompress(body) for body in BATCHES]
BOMBS = [
    zstandard.compress(content)
    for content in (
        bytes(80 << 20),
        (32 << 20).to_bytes(4, "little") + b"\xdd\x02\x00\x00\x00" + b"\x90" * (32 << 20),
        b"\xdd\x02\x00\x00\x00" + b"\x90" * (32 << 20),
        b"\xdd\x00\x00\x10\x00" + b"\x84\xa6number\x00\xa6source\xa0\xa4line\x00\xa4text\xc4\x00" * 4096,
        (9 << 20).to_bytes(4, "little") + b"\x9a\x01\x00\xa5white\xa5white\x00\x00\xdd\x00\x0f\xff\xff"
        + b"\x95\x00\xa0\x00\xa7variant\xa0" * (1 << 19),
    )
]  # fmt: skip


def _batch_body(mutations: Mutations, rng: random.Random) -> bytes:
    what = rng.random()
    if what < 0.002:
        return rng.choice(BOMBS)
    at = rng.randrange(len(BATCHES))
    if what < 0.4:
        return mutations.bytes(BATCHES[at])
    content = CONTENTS[at]
    end = 4 + int.from_bytes(content[:4], "little")
    if what < 0.7:
        return zstandard.compress(content[:end] + mutations.bytes(content[end:]))
    fields = mutations.changed(msgpack.unpackb(content[4:end]))
    header = msgpack.packb(fields)
    return zstandard.compress(len(header).to_bytes(4, "little") + header + content[end:])


GAMES = [{"number": 1, "source": "a.pgn", "line": 1, "text": b"1. e4 *"}]


def _games_body(mutations: Mutations, rng: random.Random) -> bytes:
    what = rng.random()
    if what < 0.002:
        return rng.choice(BOMBS)
    if what < 0.4:
        return mutations.bytes(pack_games([]))
    return zstandard.compress(msgpack.packb(mutations.changed(GAMES * rng.choice((1, 3)))))


def _unpack_weights(mutations: Mutations, rng: random.Random) -> object:
    body = bytes(rng.choice((0, 24, 256)))
    shape = rng.choice(([2, 3], [6], [0, 2**53, 2**53], [2**53] * 8, [], [0], [64]))
    fields = {
        "arrays": [{"name": rng.choice(("w", "../w")), "dtype": "float32", "shape": shape}] * rng.randint(1, 2),
        "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(),
    }  # fmt: skip
    frame = mutations.plain("weights", **fields) if rng.random() < 0.5 else mutations.frame("weights", **fields)
    return unpack(wire.decode(frame, WeightsHeader), body)


def _collect(collector: Collector, mutations: Mutations) -> object:
    record = wire.decode(mutations.frame("log"), LogRecord)
    collector.take(record)
    line = line_of(record)
    assert decode_line(encode_line(line)).event == line.event
    assert "\n" not in text_of(line)
    return record


def _manifest(mutations: Mutations, path: Path) -> object:
    found = {
        "format": 1, "agent": "white", "network": "mlp", "step": 1, "version": 1, "next_unit": 1, "transitions": 1,
        "td_error": 0.5, "torch": checkpoints._TORCH,
        "files": {"network.safetensors": {"size_bytes": 1, "sha256": ""}},
        "random_state": {"state": "1", "increment": "1", "has_half": False, "half": 0}, "sha256": "",
    }  # fmt: skip
    content = msgspec.json.encode(mutations.changed(found), enc_hook=str)
    try:  # as its writer would have signed it, so that what lies behind the hash is read, too
        manifest = msgspec.json.decode(content, type=checkpoints.Manifest)
        content = msgspec.json.encode(msgspec.structs.replace(manifest, sha256=checkpoints._own_hash(manifest)))
    except msgspec.DecodeError:
        content = mutations.bytes(content)
    (path / MANIFEST_FILE).write_bytes(content)
    try:
        return checkpoints._load(path)
    except checkpoints._Damaged as error:
        raise MessageError("manifest: passed over") from error


def _row(store: Evaluations, mutations: Mutations, rng: random.Random) -> object:
    key = game_key(None, ["e2e4"] * rng.choice((0, 3, 40)))
    row = store._encoded(np.zeros(key.positions, np.int16))
    damaged = mutations.bytes(row)
    scores = store._decoded(damaged, key.positions)
    if scores is None:
        raise MessageError("row: passed over")
    assert len(scores) == key.positions
    return scores


def feed(frames: int, seed: int) -> Found:
    """Feed the decoders with this many frames, one after another."""
    rng = random.Random(seed)
    mutations = Mutations(rng)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    escaped: list[str] = []
    accepted, slowest = 0, (0.0, "")
    with _folder() as folder:
        wheel = list(targets(mutations, rng, folder))
        total = sum(share for _, share, _ in wheel)
        for name, share, target in wheel:
            for _ in range(max(LEAST, frames * share // total)):
                begun_s = time.perf_counter()
                try:
                    target()
                    accepted += 1
                except MessageError as error:
                    reasons[error.reason] += 1
                except Exception as error:
                    escaped.append(f"{name}: {error!r}"[:300])
                slowest = max(slowest, (time.perf_counter() - begun_s, name))
                counts[name] += 1
    return Found(
        frames=dict(counts), accepted=accepted, reasons=dict(reasons), escaped=escaped[:20],
        slowest_s=slowest[0], slowest=slowest[1],
        memory_max_bytes=peak_bytes(),
    )  # fmt: skip


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.stdout.write(msgspec.json.encode(feed(int(sys.argv[1]), int(sys.argv[2]))).decode() + "\n")

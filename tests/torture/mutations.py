"""Messages gone wrong: valid ones whose fields, lengths or bytes are changed by a seeded hand.

mutations = Mutations(random.Random(7))
frame = mutations.frame("hello")      # an envelope of that kind, or what is left of it
"""

import json
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgpack

from common.messages import PROTOCOL_VERSION

GOLDEN = Path(__file__).resolve().parent.parent / "common" / "golden" / "protocol-3.jsonl"

Value = Any
NUMBERS = (
    0, -1, 1, 255, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63),
    float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, 0.5, -0.0,
)  # fmt: skip
TEXTS = (
    "", "x" * 129, "y" * 500, "../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "a\\b", "C:\\x", "white\n",
    "white", "black", "red", "actor-0", "\x00", "\x1b[2J", "INFO\n", "ü", "\u202e", "%s%n", "-", "🙈" * 40,
)  # fmt: skip
LYING_LENGTHS = (
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05", b"\xdc\xff\xff", b"\xde\xff\xff", b"\xd9\xff", b"\xdd\x00\x0f\xff\xf0" * 200,
)  # fmt: skip


class Mutations:
    """Makes hostile values and messages; equal seeds make equal ones."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        messages = [json.loads(line)["message"] for line in GOLDEN.read_text().splitlines()]
        self._messages: dict[str, dict[str, Value]] = {message["kind"]: message for message in messages}
        self.kinds = list(self._messages)
        self._grown = False
        """Whether the message at hand has been made longer: once is enough, twice multiplies."""

    def frame(self, kind: str | None = None, **fields: Value) -> bytes:
        """Return a changed envelope of a kind, of any without one; `fields` stand in it before the changes."""
        rng = self._rng
        if rng.random() < 0.0003:
            return self.large()
        message = {"v": PROTOCOL_VERSION, **self._messages[kind or rng.choice(self.kinds)], **fields}
        if rng.random() < 0.7:
            message = self.changed(message)
        packed: bytes = msgpack.packb(message, strict_types=False)
        return packed if rng.random() < 0.6 else self.bytes(packed)

    def large(self) -> bytes:
        """Return an envelope with a list, a map or a text longer than any field takes."""
        kind = self._rng.choice(("release", "hello", "stored", "learner-report", "log", "weights"))
        field = self._rng.choice([name for name in self._messages[kind] if name != "kind"])
        values = ([1] * 70_000, {str(number): number for number in range(70_000)}, "y" * 900_000, [[]] * 1_000_000)
        return self.plain(kind, **{field: self._rng.choice(values)})

    def plain(self, kind: str, **fields: Value) -> bytes:
        """Return an envelope of a kind as it should be, but for `fields`."""
        packed: bytes = msgpack.packb({"v": PROTOCOL_VERSION, **self._messages[kind], **fields})
        return packed

    def changed(self, value: Value) -> Value:
        """Return a deep copy of lists, maps and plain values with one to three of them changed."""
        copy: Value = deepcopy(value)
        self._grown = False
        for _ in range(self._rng.randint(1, 3)):
            copy = self._change(copy)
        return copy

    def _change(self, value: Value) -> Value:
        rng = self._rng
        if isinstance(value, dict) and value and rng.random() < 0.9:
            key = rng.choice(list(value))
            what = rng.random()
            if what < 0.12:
                del value[key]
            elif what < 0.2:
                value[self._text()] = self.value()
            elif what < 0.24 and not self._grown:
                value[key] = [value[key]] * rng.choice((2, 70))
                self._grown = True
            else:
                value[key] = self._change(value[key])
            return value
        if isinstance(value, list) and value and rng.random() < 0.8:
            at = rng.randrange(len(value))
            value[at] = self._change(value[at])
            if rng.random() < 0.2 and not self._grown:
                value = value * rng.choice((2, 40))
                self._grown = True
            return value
        return self.value()

    def value(self) -> Value:
        """Return a value that hardly any field takes."""
        rng = self._rng
        what = rng.randrange(9)
        if what < 3:
            return rng.choice(NUMBERS)
        if what < 5:
            return self._text()
        if what == 5:
            return rng.choice((None, True, False, b"", b"bytes", msgpack.Timestamp(1), msgpack.ExtType(5, b"x")))
        if what == 6:
            return [rng.choice(NUMBERS)] * rng.choice((0, 1, 70))
        if what == 7:
            return {self._text(): rng.choice(NUMBERS) for _ in range(rng.choice((0, 1, 5)))}
        deep: Value = 0
        for _ in range(rng.choice((1, 3, 200))):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        return deep

    def bytes(self, data: bytes) -> bytes:
        """Return bytes changed as a bad cable or a bad hand would."""
        rng = self._rng
        found = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(found) + 1)
            what = rng.randrange(6)
            if what == 0 and found:
                found[at % len(found)] ^= 1 << rng.randrange(8)
            elif what == 1 and found:
                found[at % len(found)] = rng.randrange(256)
            elif what == 2:
                del found[at:]
            elif what == 3:
                found[at:at] = rng.choice(LYING_LENGTHS)
            elif what == 4:
                found[at:at] = rng.randbytes(rng.choice((1, 4, 40)))
            else:
                other = rng.randrange(len(found) + 1)
                found[at:at] = found[min(at, other) : max(at, other)]
        return bytes(found)

    def _text(self) -> str:
        return self._rng.choice(TEXTS)

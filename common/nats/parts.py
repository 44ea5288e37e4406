"""Payloads that are longer than a server's messages may be: cut into parts, and joined again. Pure.

Each sending of a payload has an id of its own, drawn by the sender; its parts say so in their headers, with their
number and count and the size of the whole. Parts may come in any order, doubled, between those of other sendings,
or never.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from common.errors import MessageError

SENDING, PART, PARTS, SIZE = "Sending", "Part", "Parts", "Size"
"""Headers of a part."""
_SENDING_TEXT = re.compile(r"[0-9A-Za-z_-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,12}")
MAX_PARTS = 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of one sending."""

    sending: str
    number: int
    """From 0."""
    count: int
    """Parts of the sending."""
    size_bytes: int
    """Of the whole payload."""
    data: bytes = field(repr=False)

    def headers(self) -> dict[str, str]:
        """Return what goes beside the data."""
        return {
            SENDING: self.sending, PART: str(self.number), PARTS: str(self.count), SIZE: str(self.size_bytes)
        }  # fmt: skip


def new_sending() -> str:
    """Return an id for one sending of one payload."""
    return os.urandom(12).hex()


def cut(payload: bytes, part_bytes: int, sending: str) -> Iterator[Part]:
    """Yield a payload in parts of at most `part_bytes` each; one of no bytes is one part."""
    for number in range(count_of(payload, part_bytes)):
        yield part(payload, part_bytes, number, sending)


def count_of(payload: bytes, part_bytes: int) -> int:
    """Return how many parts a payload has."""
    return max(1, -(-len(payload) // part_bytes))


def part(payload: bytes, part_bytes: int, number: int, sending: str) -> Part:
    """Return one of the parts of a payload."""
    count = count_of(payload, part_bytes)
    data = payload[number * part_bytes : (number + 1) * part_bytes] if count > 1 else payload
    return Part(sending=sending, number=number, count=count, size_bytes=len(payload), data=data)


def part_of(headers: Mapping[str, str] | None, data: bytes) -> Part:
    """Return the part that a message is; raise MessageError for one that is none."""
    headers = headers or {}
    sending = headers.get(SENDING, "")
    if not _SENDING_TEXT.fullmatch(sending):
        raise MessageError(f"part: no {SENDING}")
    number, count, size_bytes = (_number(headers, name) for name in (PART, PARTS, SIZE))
    if not (number < count <= MAX_PARTS and len(data) <= size_bytes):
        raise MessageError(f"part: {number} of {count}, {len(data)} bytes of {size_bytes}")
    if len(data) == 0 and size_bytes > 0:
        raise MessageError(f"part: {number} of {count} is empty")
    return Part(sending=sending, number=number, count=count, size_bytes=size_bytes, data=data)


def _number(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise MessageError(f"part: no {name}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Joined(Generic[T]):
    """A sending of which every part has come."""

    sending: str
    payload: bytes = field(repr=False)
    tokens: list[T]
    """What the caller gave with each part, in the parts' order; of a double the later."""


class Spoiled(MessageError):
    """All parts of a sending have come, and don't make up the whole that they say they are."""

    def __init__(self, message: str, tokens: Sequence[Any]) -> None:
        super().__init__(message)
        self.tokens = tokens
        """What the caller gave with each part."""


@dataclass(slots=True)
class _Sending(Generic[T]):
    count: int
    size_bytes: int
    touched_s: float
    parts: dict[int, bytes] = field(default_factory=dict)
    tokens: dict[int, T] = field(default_factory=dict)
    bytes_here: int = 0


@dataclass(frozen=True, slots=True)
class JoinerStats:
    """A joiner at one moment."""

    sendings: int
    """Of which some parts are here, and not all."""
    held_bytes: int
    """Of their parts."""


class Joiner(Generic[T]):
    """Joins the parts of many sendings at once.

    Invariants: no more than `max_sendings` of them and `max_bytes` of their parts are held; a payload over
    `max_payload_bytes` is refused at its first part, and nothing is set aside for parts that have not come. What
    there is no room for pushes out the sending that has been waiting for a part for longest, which is the caller's
    again: `pushed_out` and `abandoned` give it back, and forget it.
    """

    def __init__(self, *, max_payload_bytes: int, max_bytes: int, max_sendings: int) -> None:
        """`max_bytes` is for all sendings together, and no less than `max_payload_bytes`."""
        self._max_payload_bytes = max_payload_bytes
        self._max_bytes, self._max_sendings = max(max_bytes, max_payload_bytes), max_sendings
        self._sendings: dict[str, _Sending[T]] = {}
        """The one touched longest ago is the first."""
        self._held_bytes = 0
        self._pushed_out: list[tuple[str, list[T]]] = []

    def __contains__(self, sending: str) -> bool:
        return sending in self._sendings

    def add(self, part: Part, token: T, now_s: float) -> Joined[T] | None:
        """Take a part in; return the whole once it is the last, else None.

        Raises MessageError for a part of a payload that is too large, and for one that does not fit the others of
        its sending, which stay; Spoiled where the last part makes no whole of them, which are forgotten.
        """
        if part.size_bytes > self._max_payload_bytes:
            raise MessageError(f"part: of a payload of {part.size_bytes} bytes, over {self._max_payload_bytes}")
        if part.count == 1:
            if len(part.data) != part.size_bytes:
                raise MessageError(f"part: the only one, {len(part.data)} bytes of {part.size_bytes}")
            return Joined(part.sending, part.data, [token])
        sending = self._sendings.get(part.sending)
        if sending is None:
            sending = self._sendings[part.sending] = _Sending(part.count, part.size_bytes, now_s)
        self._check(sending, part)
        sending.tokens[part.number] = token
        if part.number not in sending.parts:  # a double is no sign that the others will come
            self._sendings[part.sending] = self._sendings.pop(part.sending)
            sending.touched_s = now_s
            sending.parts[part.number] = part.data
            sending.bytes_here += len(part.data)
            self._held_bytes += len(part.data)
        if len(sending.parts) == sending.count:
            self._forget(part.sending)
            return self._joined(part.sending, sending)
        self._make_room()
        return None

    def forget(self, sending: str) -> list[T]:
        """Forget a sending; return the tokens of its parts."""
        found = self._forget(sending)
        return list(found.tokens.values()) if found is not None else []

    def pushed_out(self) -> list[tuple[str, list[T]]]:
        """Return the sendings that there was no more room for since the last time, with their parts' tokens."""
        found, self._pushed_out = self._pushed_out, []
        return found

    def abandoned(self, before_s: float) -> list[tuple[str, list[T]]]:
        """Forget the sendings to which no part has come since `before_s`; return them, with their parts' tokens."""
        old = [name for name, sending in self._sendings.items() if sending.touched_s < before_s]
        return [(name, self.forget(name)) for name in old]

    def tokens(self) -> list[T]:
        """Return the tokens of all parts that are held."""
        return [token for sending in self._sendings.values() for token in sending.tokens.values()]

    def stats(self) -> JoinerStats:
        """Return a snapshot."""
        return JoinerStats(sendings=len(self._sendings), held_bytes=self._held_bytes)

    def _check(self, sending: _Sending[T], part: Part) -> None:
        if (part.count, part.size_bytes) != (sending.count, sending.size_bytes):
            raise MessageError(f"part: of {part.count}, the others of {sending.count}")
        if part.number not in sending.parts and sending.bytes_here + len(part.data) > sending.size_bytes:
            raise MessageError(f"part: more bytes than the {sending.size_bytes} that they say they are")

    def _joined(self, name: str, sending: _Sending[T]) -> Joined[T]:
        if sending.bytes_here != sending.size_bytes:
            lacking = f"part: all have come, {sending.bytes_here} bytes of {sending.size_bytes}"
            raise Spoiled(lacking, list(sending.tokens.values()))
        payload = b"".join(sending.parts[number] for number in range(sending.count))
        return Joined(name, payload, [sending.tokens[number] for number in range(sending.count)])

    def _make_room(self) -> None:
        while self._held_bytes > self._max_bytes or len(self._sendings) > self._max_sendings:
            oldest = next(iter(self._sendings))
            self._pushed_out.append((oldest, self.forget(oldest)))

    def _forget(self, name: str) -> _Sending[T] | None:
        sending = self._sendings.pop(name, None)
        if sending is not None:
            self._held_bytes -= sending.bytes_here
        return sending

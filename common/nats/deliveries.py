"""The batches that are under way to a learner: parts joined, batches handed on, parts acknowledged. Pure.

What the server is to be told of a part is `Verdict`: where, and what. Nothing is told before the learner has the
batch on disk, or can't use it.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from common import wire
from common.errors import MessageError
from common.links import Delivered
from common.nats import frames, parts
from common.nats.names import NatsNames
from common.nats.parts import Joiner, Spoiled
from common.trouble import is_told

log = logging.getLogger(__name__)

MAX_BATCH_BYTES = 64 * 1024 * 1024
"""Of one batch, its envelope aside."""
MAX_JOINING_BYTES = 2 * MAX_BATCH_BYTES
MAX_JOINING = 1024
"""Sendings of which some parts are here, and not all."""
ABANDONED_S = 300.0
"""After this long without a new part a sending is given up: its sender is gone, and the unit with somebody else."""
LATER_S = 5.0
"""After this long a part comes again that there was no room for."""
FINISHED_MAX = 4096

ACK, NAK = b"+ACK", b"-NAK"
NAK_LATER = b'-NAK {"delay": %d}' % int(LATER_S * 1e9)


class Verdict(NamedTuple):
    """What the server is to be told of a message."""

    reply: str
    word: bytes


@dataclass(slots=True)
class _Batch:
    unit: int
    replies: list[str]


class Deliveries:
    """Batches of one agent.

    Invariants: a part is acknowledged only once its unit is stored, or its batch declined, or can't be one; a batch
    that is delivered again takes up no more room than before; what is held in parts is bounded.
    """

    def __init__(self, names: NatsNames, agent: str) -> None:
        self._names, self._agent = names, agent
        self._joiner: Joiner[str] = Joiner(
            max_payload_bytes=MAX_BATCH_BYTES + frames.MAX_HEAD_BYTES, max_bytes=MAX_JOINING_BYTES,
            max_sendings=MAX_JOINING,
        )  # fmt: skip
        self._units_joining: dict[str, int] = {}
        """Units of the sendings that are being joined."""
        self._batches: OrderedDict[str, _Batch] = OrderedDict()
        """Handed on and not seen to, by sending, in the order in which they were handed on."""
        self._finished: OrderedDict[str, None] = OrderedDict()
        """Sendings that were seen to last: the word of it may get lost, and they come again."""
        self.dropped = 0
        """Messages that were no parts of batches of this agent."""

    def __len__(self) -> int:
        """Return how many batches are with the learner."""
        return len(self._batches)

    def came(
        self, subject: str, headers: Mapping[str, str] | None, data: bytes, reply: str, now_s: float
    ) -> tuple[Delivered | None, list[Verdict]]:
        """Take a message in; return the batch that it makes whole, if any, and what the server is to be told."""
        try:
            return self._add(subject, headers, data, reply, now_s)
        except Spoiled as error:
            replies = [str(token) for token in error.tokens]
            self._drop(error)
        except MessageError as error:
            replies = [reply]
            self._drop(error)
        return None, [Verdict(each, ACK) for each in replies]

    def stored(self, units: Iterable[int]) -> list[Verdict]:
        """Note units that are on disk: no copy of them is needed any more, nor any part of one."""
        found: list[Verdict] = []
        wanted = set(units)
        for sending in [sending for sending, batch in self._batches.items() if batch.unit in wanted]:
            found += self._finish(sending, self._batches.pop(sending).replies)
        for sending in [sending for sending, unit in self._units_joining.items() if unit in wanted]:
            found += self._finish(sending, self._joiner.forget(sending))
        return found

    def declined(self, unit: int) -> list[Verdict]:
        """Note that the batch of that unit that was handed on first can't be used."""
        for sending, batch in self._batches.items():
            if batch.unit == unit:
                del self._batches[sending]
                return self._finish(sending, batch.replies)
        return []

    def tidy(self, now_s: float) -> list[Verdict]:
        """Give up what nobody completes, and put off what there was no room for; call it every few seconds."""
        found = self._put_off()
        for sending, replies in self._joiner.abandoned(now_s - ABANDONED_S):
            unit = self._units_joining.get(sending)
            log.warning("part of a batch dropped", extra={"unit": unit, "parts": len(replies)})
            found += self._finish(sending, replies)
        return found

    def give_back(self) -> list[Verdict]:
        """Let go of everything: it is for the next learner."""
        replies = [reply for batch in self._batches.values() for reply in batch.replies] + self._joiner.tokens()
        self._batches.clear()
        return [Verdict(reply, NAK) for reply in replies]

    def _add(
        self, subject: str, headers: Mapping[str, str] | None, data: bytes, reply: str, now_s: float
    ) -> tuple[Delivered | None, list[Verdict]]:
        agent, unit = self._names.batch_of(subject)
        if agent != self._agent:
            raise MessageError(f"batch of another agent: {agent}")
        part = parts.part_of(headers, data)
        if part.sending in self._finished:
            return None, [Verdict(reply, ACK)]
        if self._units_joining.setdefault(part.sending, unit) != unit:
            raise MessageError(f"part: of another unit than the others: {unit}")
        try:
            joined = self._joiner.add(part, reply, now_s)
        finally:
            if part.sending not in self._joiner:
                del self._units_joining[part.sending]
        if joined is None:
            return None, self._put_off()
        return self._hand_on(unit, joined.sending, joined.payload, joined.tokens)

    def _hand_on(
        self, unit: int, sending: str, payload: bytes, replies: list[str]
    ) -> tuple[Delivered | None, list[Verdict]]:
        try:
            envelope, body = frames.unpack(payload)
            header = wire.decode_batch_header(envelope)
            if (header.agent, header.unit) != (self._agent, unit):
                raise MessageError(f"batch of another unit or agent: {header.unit} of {header.agent}")
            if len(body) > MAX_BATCH_BYTES:
                raise MessageError(f"batch too large: {len(body)} bytes from {header.actor}")
        except MessageError as error:
            self._drop(error)
            return None, self._finish(sending, replies)
        self._batches[sending] = _Batch(unit, replies)
        return Delivered(header, body), []

    def _put_off(self) -> list[Verdict]:
        found: list[Verdict] = []
        for sending, replies in self._joiner.pushed_out():
            self._units_joining.pop(sending, None)
            found += [Verdict(reply, NAK_LATER) for reply in replies]
        return found

    def _finish(self, sending: str, replies: list[str]) -> list[Verdict]:
        self._units_joining.pop(sending, None)
        self._finished[sending] = None
        while len(self._finished) > FINISHED_MAX:
            self._finished.popitem(last=False)
        return [Verdict(reply, ACK) for reply in replies]

    def _drop(self, error: MessageError) -> None:
        self.dropped += 1
        if is_told(self.dropped):
            log.warning("message dropped", extra={"reason": str(error), "count": self.dropped})

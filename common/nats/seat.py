"""The broker's seat of a run: at most one broker is at work, the others stand by.

Each that is at work says so every second, and at once when asked. One that starts asks, and stands by for as long
as it hears another; it takes over once that one has been silent. Should two be at work, after a partition, the one
that began later gives way. Nothing depends on there being one: a unit is in its stream once, whoever puts it there,
and is stored once. It keeps the books whole and the work from being done twice.
"""

import asyncio
import logging
import os
import socket
import time
from contextlib import suppress
from typing import Annotated

import msgspec
from msgspec import Meta

from common.errors import RookeryError
from common.keys import BROKER
from common.nats.connection import Away, Message, NatsConnection
from common.nats.names import NatsNames

log = logging.getLogger(__name__)

BEAT_S = 1.0
SILENT_S = 5.0
"""After so long without a word another counts as gone."""
ASK_S = 0.5
"""How long an answer may take before the seat counts as free."""
_QUESTION = b""


class Beat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a broker that is at work says of itself."""

    session: Annotated[str, Meta(max_length=128)]
    began_ns: int
    """When it began to work, nanoseconds since 1970."""
    host: Annotated[str, Meta(max_length=256)]
    pid: int

    @property
    def rank(self) -> tuple[int, str]:
        """The smaller one stays."""
        return self.began_ns, self.session


_decoder = msgspec.json.Decoder(Beat)


class Displaced(RookeryError):
    """Another broker is at work for this run; started anew, this one stands by."""


class Seat:
    """One broker's claim; used in its channel's loop only."""

    def __init__(self, names: NatsNames, session: str, *, ask_s: float = ASK_S) -> None:
        self._subject, self._session, self._ask_s = names.to(BROKER, "seat"), session, ask_s
        self._own: Beat | None = None
        """None while standing by."""
        self._other: Beat | None = None
        self._heard_s = 0.0
        self._heard = asyncio.Event()
        self._connection: NatsConnection | None = None

    @property
    def stands_by(self) -> bool:
        """Whether another broker is at work, and this one waits."""
        return self._own is None and self._other is not None

    async def take(self, connection: NatsConnection) -> None:
        """Return once the seat is this broker's; raise Displaced where it was, and is another's by now."""
        self._connection = connection
        await connection.subscribe(self._subject, self._on_message, max_messages=1000, max_bytes=0)
        self._other = None
        await self._ask()
        told = ""
        while (other := self._other) is not None:
            if self._own is not None and other.rank < self._own.rank:
                raise self._displaced(other)
            if self._own is not None:
                break
            if told != other.session:
                log.info("standing by: another broker is at work", extra={"host": other.host, "pid": other.pid})
                told = other.session
            await asyncio.sleep(BEAT_S)
            if time.monotonic() - self._heard_s > SILENT_S:
                self._other = None
                await self._ask()
        if self._own is None:
            self._own = Beat(
                session=self._session, began_ns=time.time_ns(), host=socket.gethostname(), pid=os.getpid()
            )  # fmt: skip

    async def keep(self, connection: NatsConnection) -> None:
        """Say that this broker is at work, until cancelled; raises Displaced where it has to give way."""
        assert self._own is not None
        while True:
            await connection.publish(self._subject, msgspec.json.encode(self._own))
            self._heard.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._heard.wait()
            if self._other is not None and self._other.rank < self._own.rank:
                raise self._displaced(self._other)

    async def _ask(self) -> None:
        assert self._connection is not None
        self._heard.clear()
        await self._connection.publish(self._subject, _QUESTION)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._ask_s):
                await self._heard.wait()

    async def _on_message(self, message: Message) -> None:
        if message.data == _QUESTION:
            if self._own is not None and self._connection is not None:
                with suppress(Away):
                    await self._connection.publish(self._subject, msgspec.json.encode(self._own))
            return
        with suppress(msgspec.DecodeError):
            beat = _decoder.decode(message.data)
            if beat.session != self._session:
                self._other, self._heard_s = beat, time.monotonic()
                self._heard.set()

    def _displaced(self, other: Beat) -> Displaced:
        return Displaced(
            f"another broker is at work for this run, on {other.host} (pid {other.pid}): this one gives way"
        )

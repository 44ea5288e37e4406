"""Fetching the messages of a durable consumer: as many as there is room for, one request under way at a time.

Of our own rather than nats-py's `fetch`, which asks twice each time, mixes up what is left of earlier requests, and
does not say how many messages may still come.

A server of 2.9.10 is confused by a message that is to be delivered again where the only request that waits can't
take it, because who asked has left, or because of `max_bytes`: it puts that message off for the whole time to
acknowledge it, and delivers others twice. So bytes are bounded by the number of messages alone, and who leaves uses
up its request first: `drain`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from common.nats.connection import Message, NatsConnection, status_of

EXPIRES_S = 5.0
"""How long a request waits at the server: one that got lost, with the consumer's leader, is made again after it."""
SLACK_S = 1.0
AGAIN_S = 0.5
"""Pause after a refusal."""
MAX_BATCH = 256
"""Messages of one request."""
WINDOW_BYTES = 1024 * 1024
"""Bytes under way at once, by what the latest messages were like: so much must not clog a thin link."""
FIRST_BATCH = 2
"""Messages of the first request, when nothing is known of their sizes."""
QUIET_S = 0.5
"""What was given back comes again sooner than this, where nobody else waits for it."""
_CONFLICT, _UNAVAILABLE = 409, 503


@dataclass(frozen=True, slots=True)
class PullStats:
    """A pull at one moment."""

    messages: int
    requests: int
    lost: int
    """Requests that were never answered to their end."""
    refused: int
    """Requests that the server refused; each is made again."""


class Pull:
    """Hands on messages while `run` runs.

    Invariants: never more messages are asked for than `room` says at that moment, one request at a time. `take` is
    called message by message, in the order in which they come, and may wait.
    """

    def __init__(
        self,
        connection: NatsConnection,
        stream: str,
        consumer: str,
        *,
        take: Callable[[Message], Awaitable[None]],
        room: Callable[[], int],
    ) -> None:
        self._connection, self._take, self._room = connection, take, room
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._typical_bytes = WINDOW_BYTES // FIRST_BATCH
        """Size of a message to reckon with: of the largest of late."""
        self._reply = ""
        self._left = self._largest_bytes = 0
        """Of the request under way: messages that may still come, and the size of the largest that has come."""
        self._refusal = ""
        self._over, self._woken = asyncio.Event(), asyncio.Event()
        self._over.set()
        self._draining = False
        self._messages = self._requests = self._lost = self._refused = 0

    def wake(self) -> None:
        """Say that there may be room now."""
        self._woken.set()

    @property
    def _batch(self) -> int:
        return max(1, min(MAX_BATCH, WINDOW_BYTES // self._typical_bytes))

    def stats(self) -> PullStats:
        """Return a snapshot."""
        return PullStats(self._messages, self._requests, self._lost, self._refused)

    async def drain(self) -> None:
        """Ask for nothing more, and return once the request under way is used up, or nothing comes for a while.

        What comes meanwhile is to be given back.
        """
        self._draining = True
        while not self._over.is_set():
            seen = self._messages
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_S):
                    await self._over.wait()
            if self._messages == seen:
                return

    async def run(self) -> None:
        """Fetch until cancelled, or until the connection is lost, which raises Away."""
        inbox = self._connection.new_inbox()
        listening = await self._connection.subscribe(
            f"{inbox}.*", self._on_message, max_messages=4 * MAX_BATCH, max_bytes=0
        )
        try:
            while True:
                room = self._room()
                if room > 0 and not self._draining:
                    await self._request(f"{inbox}.{self._requests}", min(room, self._batch))
                else:
                    await self._woken.wait()
                self._woken.clear()
        finally:
            await listening.stop()

    async def _request(self, reply: str, batch: int) -> None:
        self._reply, self._left, self._largest_bytes, self._refusal = reply, batch, 0, ""
        self._over.clear()
        self._requests += 1
        request = {"batch": batch, "expires": int(EXPIRES_S * 1e9)}
        await self._connection.publish(self._next, json.dumps(request).encode(), reply=reply)
        try:
            async with asyncio.timeout(EXPIRES_S + SLACK_S):
                await self._over.wait()
        except TimeoutError:
            self._lost += 1
        if self._largest_bytes:
            self._typical_bytes = max(self._largest_bytes, self._typical_bytes // 2)
        if self._refusal:
            self._refused += 1
            await asyncio.sleep(AGAIN_S)

    async def _on_message(self, message: Message) -> None:
        status = status_of(message)
        if not status:
            self._messages += 1
            self._left -= 1
            self._largest_bytes = max(self._largest_bytes, len(message.data))
            await self._take(message)
            if self._left <= 0:
                self._over.set()
        elif message.subject == self._reply and status >= 400:  # not of an earlier request
            if status in (_CONFLICT, _UNAVAILABLE):
                self._refusal = str((message.headers or {}).get("Description", status))
            self._over.set()

"""Server-sent events to many pages: each event is made once, and a page that is slow loses old ones.

Invariants: a client holds at most MAX_BACKLOG_BYTES that it has not been sent, however slow it is; there are at
most MAX_CLIENTS. Lives in the server's event loop; only `publish` and `wanted` are for other threads.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

MAX_CLIENTS = 64
MAX_BACKLOG_BYTES = 4 * 1024 * 1024
HEARTBEAT_S = 15.0
"""A comment is sent after so long without an event, so that nobody between takes the connection for dead."""
RETRY_MS = 2000
"""After which a page that lost us comes back."""


class TooManyClients(Exception):
    """MAX_CLIENTS pages listen already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BroadcastStats:
    """How the pages fare."""

    clients: int
    events: int
    """Made since the start."""
    sent_bytes: int
    """To all clients together."""
    dropped: int
    """Events that a slow client was not sent."""


class Client:
    """One page's events that it has not been sent."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self.closed = False

    def put(self, frame: bytes) -> int:
        """Add an event; return how many old ones were dropped for it."""
        self._frames.append(frame)
        self._bytes += len(frame)
        dropped = 0
        while self._bytes > MAX_BACKLOG_BYTES and len(self._frames) > 1:
            self._bytes -= len(self._frames.popleft())
            dropped += 1
        self._news.set()
        return dropped

    def close(self) -> None:
        """Let `next` return None once all is taken."""
        self.closed = True
        self._news.set()

    async def next(self) -> bytes | None:
        """Return the next event, a comment where there was none for long, or None at the end."""
        while not self._frames:
            if self.closed:
                return None
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), HEARTBEAT_S)
            except TimeoutError:
                return b": still here\n\n"
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        return frame


class Broadcast:
    """All pages that listen."""

    def __init__(self, max_clients: int = MAX_CLIENTS) -> None:
        self._clients: set[Client] = set()
        self._max_clients = max_clients
        self._loop: asyncio.AbstractEventLoop | None = None
        self._events = self._sent_bytes = self._dropped = 0
        self._closed = False

    @property
    def wanted(self) -> bool:
        """Whether any page listens."""
        return bool(self._clients)

    def start(self) -> None:
        """Take the running event loop for ours."""
        self._loop = asyncio.get_running_loop()

    def publish(self, event: str, data: bytes) -> None:
        """Send an event, a JSON object under a name, to all pages; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._spread, frame(event, data))

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for client in self._clients:
            client.close()

    def listen(self, first: Callable[[], bytes]) -> AsyncIterator[bytes]:
        """Return the events from now on, `first` before them; raises TooManyClients."""
        if len(self._clients) >= self._max_clients:
            raise TooManyClients
        return self._events_of(first)

    def stats(self) -> BroadcastStats:
        """Return how the pages fare."""
        return BroadcastStats(
            clients=len(self._clients), events=self._events, sent_bytes=self._sent_bytes, dropped=self._dropped
        )

    def _spread(self, frame: bytes) -> None:
        self._events += 1
        for client in self._clients:
            self._dropped += client.put(frame)

    async def _events_of(self, first: Callable[[], bytes]) -> AsyncIterator[bytes]:
        # Only now: a page that left before it was sent anything never gets here, and would stay for good.
        if self._closed or len(self._clients) >= self._max_clients:
            return
        client = Client()
        client.put(b"retry: %d\n\n" % RETRY_MS + first())
        self._clients.add(client)
        try:
            while (frame := await client.next()) is not None:
                yield frame
                self._sent_bytes += len(frame)
        finally:
            self._clients.discard(client)


def frame(event: str, data: bytes) -> bytes:
    """Return an event as it is sent; `data` is one line."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data)

"""One connection to a NATS cluster, in a thread with an event loop; outside of it nothing is asynchronous.

Each link has one. What is to go on while there is a connection is a coroutine, `serve`: begun anew on each
connection, and cancelled when that is lost. The link's caller takes events out and puts calls and messages in.
"""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

import nats.errors
from nats.aio.client import Client

from common.errors import BrokerUnreachable, RookeryError
from common.nats.address import NatsAddress
from common.nats.connection import Away, NatsConnection, Rejected
from common.nats.login import NOBODY, NatsLogin
from common.trouble import is_told

log = logging.getLogger(__name__)

CONNECT_S = 5.0
"""How long a server may take to be reached, and then to let us in."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
"""Between two tries; drawn from half of it up, so that a thousand peers don't come at once."""
PING_S = 10.0
PINGS_MAX = 3
"""Pings without an answer after which a connection is given up: a host that is gone, a server that hangs. What is
under way at once must fit a thin link in that time, so that an answer can come through."""
WATCH_S = 0.5
END_S = 1.0
"""How long a connection may take to end in order."""
POSTS_MAX = 10_000
POST_BYTES_MAX = 16 * 1024 * 1024
CALLS_MAX = 10_000
SENDING_BYTES = 2 * 1024 * 1024
"""What nats-py keeps before it makes its callers wait."""

E = TypeVar("E")
T = TypeVar("T")
Serve = Callable[[NatsConnection], Awaitable[None]]


class State(StrEnum):
    """How a channel stands to its cluster."""

    CONNECTED = "connected"
    AWAY = "away"
    """No server is reached; it is tried again and again."""
    REFUSED = "refused"
    """A server is there, and does not let us in; it is tried again and again."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStats:
    """A channel at one moment; counters run since its start."""

    state: State
    reason: str
    """Why it is not connected; empty where nothing is known."""
    connects: int
    losses: int
    refusals: int
    """Times that a server did not let us in."""
    events_waiting: int
    events_dropped: int
    posts_waiting: int
    posts_dropped: int
    in_messages: int
    """Of this connection and the ones before it, as are the following."""
    out_messages: int
    in_bytes: int
    out_bytes: int


class NatsChannel(Generic[E]):
    """A connection that is made again for ever, until `close`.

    Invariants: at most `events_max` events, POSTS_MAX messages of POST_BYTES_MAX bytes and CALLS_MAX calls wait.
    Events come out in the order in which they were put in. Nothing that was posted on one connection goes out on
    the next. `serve` never runs twice at once.
    """

    def __init__(
        self,
        address: NatsAddress,
        serve: Serve,
        *,
        name: str,
        inbox: str,
        login: NatsLogin = NOBODY,
        events_max: int = 1000,
        quiet: bool = False,
    ) -> None:
        """`name` is told to the server, `inbox` begins the subjects of answers; a `quiet` channel logs nothing.

        Raises SettingsError for credentials that are missing or none.
        """
        self._address, self._serve, self._quiet = address, serve, quiet
        self._events_max = events_max
        self._options: dict[str, Any] = {
            "name": name, "inbox_prefix": inbox, "allow_reconnect": False, "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0, "connect_timeout": CONNECT_S, "ping_interval": PING_S,
            "max_outstanding_pings": PINGS_MAX, "pending_size": SENDING_BYTES, **login.options(),
        }  # fmt: skip
        self._must_hide = address.tls or "tls" in self._options
        """Whether to have nothing to do with a server that speaks in the clear."""
        self._state, self._reason = State.AWAY, ""
        self._error: RookeryError | None = None
        self._condition = threading.Condition()
        """Guards events, posts and counts."""
        self._events: deque[E] = deque()
        self._posts: deque[tuple[str, bytes, str]] = deque()
        self._post_bytes = self._calls = 0
        self._connects = self._losses = self._refusals = self._events_dropped = self._posts_dropped = 0
        self._traffic_before = [0, 0, 0, 0]
        self._client: Client | None = None
        self._connection: NatsConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing, self._room, self._posted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._stirred = asyncio.Event()
        """Something has happened to the connection."""
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"nats {name}", daemon=True)

    # For the caller's thread ---------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; returns whether there is a connection yet or not."""
        self._thread.start()
        self._started.wait()

    def close(self) -> None:
        """Send what is posted, end the connection and the thread. More than once does nothing."""
        if self._loop is None or not self._thread.is_alive():
            return
        with suppress(RuntimeError):  # the loop ended meanwhile
            self._loop.call_soon_threadsafe(self._begin_closing)
        self._thread.join(4 * END_S)

    @property
    def state(self) -> State:
        """How it stands."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is not connected, in words; empty where nothing is known."""
        return self._reason

    def wait(self, timeout_s: float) -> list[E]:
        """Return the events that have come, after at most `timeout_s`; raises what has ended the channel."""
        with self._condition:
            if timeout_s > 0 and not self._events:
                self._condition.wait_for(lambda: bool(self._events) or self._error is not None, timeout_s)
            if self._error is not None:
                raise self._error
            was_full = len(self._events) >= self._events_max
            found = list(self._events)
            self._events.clear()
        if was_full:
            self._in_loop(self._room.set)
        return found

    def wait_until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a condition holds that changes with the channel's state or events; return whether it does."""
        with self._condition:
            return self._condition.wait_for(reached, timeout_s)

    def post(self, subject: str, data: bytes, reply: str = "") -> bool:
        """Send a core message; False when there is no connection, or too much waits; every sender copes."""
        with self._condition:
            if self._connection is None:
                return False
            if len(self._posts) >= POSTS_MAX or self._post_bytes + len(data) > POST_BYTES_MAX:
                self._posts_dropped += 1
                return False
            first = not self._posts
            self._posts.append((subject, data, reply))
            self._post_bytes += len(data)
        return self._in_loop(self._posted.set) if first else True

    def call(self, function: Callable[..., object], *arguments: Any) -> bool:
        """Have a function called in the loop's thread, in order; False when the channel is closed, or hangs."""
        with self._condition:
            if self._calls >= CALLS_MAX:
                return False
            self._calls += 1
        return self._in_loop(self._call, function, arguments)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Have a coroutine run in the loop; its result raises Away where the channel is closed."""
        if self._loop is None or not self._thread.is_alive() or self._loop.is_closed():
            coroutine.close()
            failed: Future[T] = Future()
            failed.set_exception(Away("the channel is closed"))
            return failed
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stats(self) -> ChannelStats:
        """Return a snapshot."""
        with self._condition:
            messages_in, messages_out, bytes_in, bytes_out = self._traffic()
            return ChannelStats(
                state=self._state, reason=self._reason, connects=self._connects, losses=self._losses,
                refusals=self._refusals, events_waiting=len(self._events), events_dropped=self._events_dropped,
                posts_waiting=len(self._posts), posts_dropped=self._posts_dropped, in_messages=messages_in,
                out_messages=messages_out, in_bytes=bytes_in, out_bytes=bytes_out,
            )  # fmt: skip

    # For coroutines in the loop ------------------------------------------------------------------

    @property
    def connection(self) -> NatsConnection | None:
        """The connection that there is."""
        return self._connection

    def put(self, event: E) -> bool:
        """Put an event in for the caller; False, with the event dropped, when too many wait."""
        with self._condition:
            if len(self._events) >= self._events_max:
                self._events_dropped += 1
                return False
            self._events.append(event)
            self._condition.notify_all()
        return True

    async def put_soon(self, event: E) -> None:
        """Put an event in for the caller once there is room for it."""
        while True:
            with self._condition:
                if len(self._events) < self._events_max:
                    self._events.append(event)
                    self._condition.notify_all()
                    return
                self._room.clear()
            await self._room.wait()

    # The thread ----------------------------------------------------------------------------------

    def _begin_closing(self) -> None:
        self._closing.set()
        self._stirred.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            self._fail(error)
        finally:
            self._started.set()
            self._change(State.CLOSED, self._reason)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_pass_over)
        logging.getLogger("asyncio").addFilter(_says_something)
        self._started.set()
        pause_s = FIRST_PAUSE_S
        while not self._closing.is_set() and self._error is None:
            client = await self._connect()
            if client is not None:
                begun_s = time.monotonic()
                await self._use(client)
                pause_s = FIRST_PAUSE_S if time.monotonic() - begun_s > LONGEST_PAUSE_S else pause_s
            await self._pause(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(0.5, 1.0)):
                await self._closing.wait()

    async def _connect(self) -> Client | None:
        """Return a client that is connected; None, with the reason noted, where no server can be had now."""
        client, why = Client(), [""]

        async def note(error: Exception) -> None:
            why[0] = _plain(error)
            self._stirred.set()

        trying = asyncio.ensure_future(client.connect(self._address.urls, error_cb=note, **self._options))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait(
                (trying, closing), timeout=2 * CONNECT_S * len(self._address.urls),
                return_when=asyncio.FIRST_COMPLETED,
            )  # fmt: skip
            if not trying.done():
                why[0] = why[0] or "it took too long"
            elif (error := trying.exception()) is None:
                if not self._must_hide or client._server_info.get("tls_required"):
                    return client
                why[0] = "it speaks no TLS"
            elif not isinstance(error, nats.errors.NoServersError):
                why[0] = _plain(error)
        finally:
            closing.cancel()
            trying.cancel()
            await asyncio.wait((trying,))
        await _end(client)
        self._not_connected(why[0])
        return None

    def _not_connected(self, why: str) -> None:
        refused = any(word in why.lower() for word in ("authorization", "authentication", "certificate"))
        if refused:
            self._refusals += 1
            if not self._quiet and is_told(self._refusals):
                extra = {"servers": str(self._address), "why": why, "count": self._refusals}
                log.warning("the NATS server does not let us in", extra=extra)
        self._change(State.REFUSED if refused else State.AWAY, why)

    async def _use(self, client: Client) -> None:
        """Serve a connection until it is lost or the channel closes."""
        with suppress(nats.errors.Error, OSError):
            await client._init_request_sub()  # else the first requests may overtake each other
        connection = NatsConnection(client)
        with self._condition:
            self._posts.clear()
            self._post_bytes = 0
            self._client, self._connection = client, connection
            self._connects += 1
        self._change(State.CONNECTED, "")
        if not self._quiet:
            log.debug("connected", extra={"server": connection.about})
        serving = asyncio.ensure_future(self._serve(connection))
        posting = asyncio.ensure_future(self._send_posts(connection))
        watching = asyncio.ensure_future(self._watch(connection))
        breaking = asyncio.ensure_future(connection.broken())
        tasks = (serving, posting, watching, breaking)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if (
                serving.done() and not serving.cancelled() and serving.exception() is None
            ):  # it has nothing more to do
                await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            if self._closing.is_set():
                with suppress(TimeoutError, BrokerUnreachable):
                    async with asyncio.timeout(END_S):
                        await self._send_what_is_posted(connection)
            with self._condition:
                self._traffic_before = self._traffic()
                self._client = self._connection = None
            await _end(client)
        self._note_end(breaking if breaking.done() and not breaking.cancelled() else serving)

    def _note_end(self, ended: "asyncio.Future[None]") -> None:
        error = ended.exception() if not ended.cancelled() else None
        if error is not None and not isinstance(error, BrokerUnreachable):
            self._fail(error)
        if not self._closing.is_set():
            self._losses += 1
            self._change(State.AWAY, _plain(error) if error is not None else "the connection was lost")
            if not self._quiet:
                log.warning("connection lost", extra={"servers": str(self._address), "why": self._reason})

    async def _watch(self, connection: NatsConnection) -> None:
        # By looking, too: nats-py tells of a lost connection only after it has closed it, which can hang.
        while not self._closing.is_set() and not connection.lost:
            self._stirred.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    await self._stirred.wait()
            await asyncio.sleep(0.0)

    async def _send_posts(self, connection: NatsConnection) -> None:
        while True:
            self._posted.clear()
            await self._send_what_is_posted(connection)
            await self._posted.wait()

    async def _send_what_is_posted(self, connection: NatsConnection) -> None:
        while True:
            with self._condition:
                if not self._posts:
                    return
                subject, data, reply = self._posts.popleft()
                self._post_bytes -= len(data)
            try:
                await connection.publish(subject, data, reply=reply)
            except Rejected:  # it is too long for this server
                self._posts_dropped += 1

    def _call(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        with self._condition:
            self._calls -= 1
        try:
            function(*arguments)
        except Exception as error:
            self._fail(error)

    def _in_loop(self, function: Callable[..., object], *arguments: Any) -> bool:
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # it is closed
            return False
        return True

    def _change(self, state: State, reason: str) -> None:
        with self._condition:
            self._state, self._reason = state, reason
            self._condition.notify_all()

    def _fail(self, error: BaseException) -> None:
        """End the channel: `wait` raises the error, or says that it is one of our own."""
        if not isinstance(error, RookeryError):
            if not self._quiet:
                log.critical("internal error", exc_info=error)
            error = RookeryError(f"internal error in a NATS link: {error!r}")
        with self._condition:
            self._error = self._error or error
            self._condition.notify_all()

    def _traffic(self) -> list[int]:
        now = self._client.stats if self._client is not None else {}
        keys = ("in_msgs", "out_msgs", "in_bytes", "out_bytes")
        return [before + now.get(key, 0) for before, key in zip(self._traffic_before, keys, strict=True)]


async def _end(client: Client) -> None:
    """Close a client for sure: nats-py waits until all is sent, for ever where nobody reads."""
    with suppress(Exception):
        async with asyncio.timeout(END_S):
            await client.close()
    writer = getattr(client._transport, "_io_writer", None)
    if writer is not None:
        with suppress(AttributeError):  # by asyncio before 3.11.4, of TLS that has ended already
            writer.transport.abort()


def _pass_over(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nats-py leaves tasks behind whose errors nobody asks for."""
    del loop
    log.debug("passed over", extra={"what": str(context.get("message")), "why": str(context.get("exception"))})


def _says_something(record: logging.LogRecord) -> bool:
    """Whether asyncio's word is worth hearing: how nats-py ends a connection over TLS is not."""
    return "eof_received" not in record.getMessage()


def _plain(error: BaseException) -> str:
    text = str(error).removeprefix("nats: ").strip("'\" ")
    return text or type(error).__name__

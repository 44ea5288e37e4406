"""One live connection to a NATS server: core messages, and what is asked of JetStream.

Used in a channel's event loop only (common/nats/channel.py), and over once the connection is lost: what is under
way then raises Away. Thin over nats-py, whose `flush` and `rtt` must not be used: when one of them runs into its
time limit, the late answer ends the client's reading, and so the connection, unnoticed (2.16, `_process_pong`); and
which swallows cancellations (`_flush_pending`), so that they are looked for after each call.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from common.errors import BrokerUnreachable, OperatorError

Message = Msg
"""What has come: `subject`, `reply`, `data`, `headers`; a stream's message is acknowledged at `reply`."""

ANSWER_S = 5.0
"""How long a server may take to answer."""
LEAST_BYTES_PER_S = 64 * 1024
"""Speed of a link on which everything still works."""
STORE_S = ANSWER_S + 1024 * 1024 / LEAST_BYTES_PER_S
"""The same for half a payload that is to be stored."""
NOT_FOUND = 404
SUBJECT_TAKEN = 10077
"""The server's code for "maximum messages per subject exceeded"."""


class Away(BrokerUnreachable):
    """The server does not answer, or the connection was lost: what was asked may have been done, or not."""


class NobodyThere(Away):
    """The server is there, and nobody who takes what was sent: no stream, no broker, no JetStream (yet)."""


class Rejected(OperatorError):
    """The server refuses what was asked of it, and says why."""

    def __init__(self, what: str, code: int, error_code: int, description: str) -> None:
        super().__init__(f"{what}: {description}")
        self.code = code
        """As of HTTP: 404, 503, …"""
        self.error_code = error_code
        """NATS's own."""
        self.description = description


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A stream has stored a message."""

    sequence: int
    duplicate: bool
    """Whether it had one of that message id already."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as a stream keeps it."""

    sequence: int
    data: bytes


class NatsConnection:
    """What can be done on one connection. Coroutines raise Away when it is lost, or the server takes too long."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.max_payload = client.max_payload
        """Bytes of one message, headers included."""
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def lost(self) -> bool:
        """Whether the connection is over."""
        return not self._client.is_connected

    @property
    def about(self) -> str:
        """The server, for logs: where it is, and its version."""
        url = self._client.connected_url
        version = self._client.connected_server_version
        where = url.netloc if url is not None else "?"
        return f"{where} {version._server_version}"

    async def broken(self) -> None:
        """Wait until something that took messages fails, and raise its error: nats-py would pass over it."""
        await self._broken

    def new_inbox(self) -> str:
        """Return a subject of this process's alone, for answers."""
        return self._client.new_inbox()

    # Core ----------------------------------------------------------------------------------------

    async def publish(
        self, subject: str, data: bytes = b"", *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message to whoever listens; waits while too much is under way."""
        try:
            await self._client.publish(subject, data, reply=reply, headers=dict(headers) if headers else None)
            _be_cancelled()
        except nats.errors.MaxPayloadError as error:
            raise _too_long(subject, data, self.max_payload) from error
        except (nats.errors.Error, OSError) as error:
            raise Away(f"not sent: {_plain(error)}") from error

    async def ask(
        self, subject: str, data: bytes = b"", *, headers: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_S,
    ) -> Message:  # fmt: skip
        """Send a message, and return the first answer; raise NobodyThere when nobody listens."""
        try:
            answer = await self._client.request(
                subject, data, timeout=timeout_s, headers=dict(headers) if headers else None
            )
            _be_cancelled()
            return answer
        except nats.errors.NoRespondersError as error:
            raise NobodyThere(f"nobody listens on {subject}") from error
        except nats.errors.MaxPayloadError as error:
            raise _too_long(subject, data, self.max_payload) from error
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Away(f"no answer on {subject}: {_plain(error)}") from error

    async def subscribe(
        self, subject: str, take: Callable[[Message], Awaitable[None]], *, max_messages: int, max_bytes: int
    ) -> "Listening":
        """Have `take` called, message by message, with what is sent on a subject.

        At most so many messages and bytes (0: any) wait for it; further ones are dropped.
        """

        async def guarded(message: Message) -> None:
            try:
                await take(message)
            except Exception as error:
                if not self._broken.done():
                    self._broken.set_exception(error)

        try:
            subscription = await self._client.subscribe(
                subject, cb=guarded, pending_msgs_limit=max_messages, pending_bytes_limit=max_bytes
            )
            _be_cancelled()
        except (nats.errors.Error, OSError) as error:
            raise Away(f"not subscribed to {subject}: {_plain(error)}") from error
        return Listening(subscription)

    # JetStream -----------------------------------------------------------------------------------

    async def store(
        self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None, timeout_s: float = STORE_S
    ) -> Acknowledged:
        """Send a message into the stream of its subject; return once the stream has it.

        Raises NobodyThere where no stream has the subject, Rejected where it refuses the message.
        """
        answer = await self.ask(subject, data, headers=headers, timeout_s=timeout_s)
        said = _read(subject, answer)
        if not isinstance(said.get("seq"), int):
            raise Away(f"somebody else answers on {subject}")
        return Acknowledged(said["seq"], bool(said.get("duplicate")))

    async def api(
        self, verb: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = ANSWER_S
    ) -> dict[str, Any]:
        """Ask JetStream itself, such as `STREAM.INFO.name`; raises Rejected with what it says against it."""
        data = json.dumps(body).encode() if body is not None else b""
        return _read(verb, await self.ask(f"$JS.API.{verb}", data, timeout_s=timeout_s))

    async def confirm(self, reply: str, *, timeout_s: float = ANSWER_S) -> None:
        """Acknowledge a stream's message, and return once the server knows: it is never delivered again."""
        await self.ask(reply, b"+ACK", timeout_s=timeout_s)

    async def kept(
        self, stream: str, *, sequence: int | None = None, last_of: str | None = None, timeout_s: float = ANSWER_S
    ) -> Kept | None:
        """Return a message of a stream that allows direct access: by its number, or the last of a subject.

        None where there is none, or not yet on the replica that answers.
        """
        request = {"seq": sequence} if sequence is not None else {"last_by_subj": last_of}
        answer = await self.ask(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), timeout_s=timeout_s)
        headers = answer.headers or {}
        if status_of(answer):
            if status_of(answer) == NOT_FOUND:
                return None
            raise Away(f"{stream} can't be read: {headers.get('Description', status_of(answer))}")
        try:
            return Kept(int(headers["Nats-Sequence"]), answer.data)
        except (KeyError, ValueError) as error:
            raise Away(f"somebody else answers for {stream}") from error


class Listening:
    """A subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def stop(self) -> None:
        """Listen no more; what waits is dropped."""
        try:
            await self._subscription.unsubscribe()
        except nats.errors.Error:  # the connection is gone, and with it the subscription
            pass


def patience_s(under_way_bytes: int) -> float:
    """Return how long an answer may take before which so many bytes go out, and as many again may come in."""
    return ANSWER_S + 2 * under_way_bytes / LEAST_BYTES_PER_S


def status_of(message: Message) -> int:
    """Return the code of a message that only says how things are with the server; 0 for all others."""
    status = (message.headers or {}).get("Status", "")
    return int(status) if status.isdecimal() and not message.data else 0


def place_of(message: Message) -> tuple[int, int]:
    """Return what a stream's message is called for good: its number, and when it was stored, in nanoseconds.

    The number alone would not do: a server that has lost what it had acknowledged gives the same ones again.
    """
    tokens = message.reply.split(".")
    try:  # $JS.ACK.(domain.account.)stream.consumer.deliveries.number.delivery.time.pending(.random)
        first = 5 if len(tokens) == 9 else 7
        return int(tokens[first]), int(tokens[first + 2])
    except (IndexError, ValueError):
        return 0, 0


def _be_cancelled() -> None:
    """Be cancelled if that was asked for and swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _read(what: str, answer: Message) -> dict[str, Any]:
    try:
        said = json.loads(answer.data)
    except ValueError as error:
        raise Away(f"{what}: an answer that is no JSON") from error
    if not isinstance(said, dict):
        raise Away(f"{what}: an answer that is none")
    told = said.get("error")
    if isinstance(told, dict):
        description = str(told.get("description", "no reason given"))
        raise Rejected(what, int(told.get("code", 0)), int(told.get("err_code", 0)), description)
    return said


def _too_long(subject: str, data: bytes, limit: int) -> Rejected:
    return Rejected(subject, 400, 0, f"{len(data)} bytes are over the server's limit of {limit}")


def _plain(error: BaseException) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__

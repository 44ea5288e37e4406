"""What the servers of a cluster say of themselves: at the door, to anybody; when asked, to who may ask.

For the doctor. Nobody else needs to know how a server is set.
"""

import asyncio
import socket
from contextlib import suppress

import msgspec

from common.errors import BrokerUnreachable
from common.nats.connection import Message, NatsConnection, status_of
from common.nats.permissions import SERVERS

GREETING_S = 2.0
ANSWER_S = 1.5
"""How long to wait for the first answer: who may not ask gets none."""
QUIET_S = 0.5
"""How long to wait for one more."""
MAX_SERVERS = 1000
_MAX_GREETING_BYTES = 1024 * 1024
_DEFAULT_SYNC_NS = 120 * 10**9
SYNCS_FROM = (2, 10)
"""The first version that can have each message on disk before it is acknowledged."""


class Greeting(msgspec.Struct, frozen=True):
    """What a server says before anything else, and in the clear."""

    server_id: str
    version: str
    jetstream: bool = False
    tls_required: bool = False
    cluster: str = ""
    """Name of its cluster; empty for a server that stands alone."""


class _Storing(msgspec.Struct, frozen=True):
    sync_always: bool = False
    sync_interval: int = _DEFAULT_SYNC_NS


class _JetStream(msgspec.Struct, frozen=True):
    config: _Storing | None = None


class ServerState(msgspec.Struct, frozen=True):
    """How a server is set, as it says itself (`/varz`)."""

    server_id: str
    server_name: str
    version: str
    jetstream: _JetStream = _JetStream()

    @property
    def syncs_always(self) -> bool:
        """Whether messages are on its disk before they are acknowledged."""
        return self.jetstream.config is not None and self.jetstream.config.sync_always

    @property
    def sync_s(self) -> float:
        """Else, after how many seconds they are."""
        config = self.jetstream.config
        return (config.sync_interval if config is not None else _DEFAULT_SYNC_NS) / 10**9


class _Answer(msgspec.Struct, frozen=True):
    data: ServerState


_GREETING = msgspec.json.Decoder(Greeting)
_ANSWER = msgspec.json.Decoder(_Answer)


def greeting_of(host: str, port: int, timeout_s: float = GREETING_S) -> Greeting:
    """Return what the server at an address says to anybody; raise BrokerUnreachable where none does."""
    said = b""
    try:
        with socket.create_connection((host.strip("[]"), port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            while b"\r\n" not in said and len(said) < _MAX_GREETING_BYTES:
                came = connection.recv(65536)
                if not came:
                    break
                said += came
        return _GREETING.decode(said.partition(b"\r\n")[0].removeprefix(b"INFO "))
    except (OSError, UnicodeError) as error:
        raise BrokerUnreachable(f"{host}:{port}: {getattr(error, 'strerror', None) or error}") from error
    except msgspec.DecodeError as error:
        raise BrokerUnreachable(f"{host}:{port}: what listens there is no NATS server") from error


async def states(connection: NatsConnection) -> list[ServerState]:
    """Ask all servers how they are set; return what they say, nothing where we may not ask."""
    found: dict[str, ServerState] = {}
    more = asyncio.Event()

    async def take(message: Message) -> None:
        if not status_of(message):
            with suppress(msgspec.DecodeError):
                state = _ANSWER.decode(message.data).data
                found[state.server_id] = state
        more.set()

    inbox = connection.new_inbox()
    listening = await connection.subscribe(inbox, take, max_messages=MAX_SERVERS, max_bytes=0)
    try:
        await connection.publish(SERVERS, reply=inbox)
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(QUIET_S if found else ANSWER_S):
                    await more.wait()
                more.clear()
                if not found:
                    break
    finally:
        await listening.stop()
    return sorted(found.values(), key=lambda state: state.server_name)


def version_of(text: str) -> tuple[int, int]:
    """Return major and minor of a server's version."""
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)

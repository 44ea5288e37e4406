"""A peer's side of the control subjects, which actors, learners and collectors share.

Owns the hello handshake and the decoding of what the broker says. Used in the caller's thread, as the link is: what
a learner says at hello is read from its store there. A broker that is away or was started anew is met with hello
again; nothing sent here is relied on to arrive.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common import wire
from common.errors import MessageError, Refused
from common.keys import KeyHolder
from common.messages import FromBroker, Goodbye, Hello, Message, Refusal, Unknown, Welcome
from common.nats import frames
from common.nats.channel import NatsChannel
from common.nats.connection import Listening, NatsConnection
from common.nats.connection import Message as Came
from common.nats.names import NatsNames
from common.trouble import is_told

log = logging.getLogger(__name__)

HELLO_INTERVAL_S = 1.0
SAID_MAX = 1000
SAID_BYTES_MAX = 64 * 1024 * 1024
"""What the broker may have said and nobody has taken; more is dropped, and made good by what follows."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the broker has said, as it came; an event of a link's channel."""

    payload: bytes


class NatsControl:
    """Says hello until it is welcome, and again when it is not known."""

    def __init__(
        self,
        channel: NatsChannel[Any],
        names: NatsNames,
        sender: KeyHolder,
        session: str,
        make_hello: Callable[[], Hello],
    ) -> None:
        self._channel, self._session, self._make_hello = channel, session, make_hello
        self._to_broker, self._to_me = names.control(sender), names.to(sender, session)
        self._listening: NatsConnection | None = None
        """Where the broker's answers are heard."""
        self.welcome = False
        """Whether the broker takes us for one of its own."""
        self._told_welcome = False
        self._refused = False
        self._next_hello_s = 0.0
        self.dropped = 0
        """Messages that were none, on whichever of the peer's subjects."""

    async def listen(self, connection: NatsConnection) -> Listening:
        """Have what the broker says put into the channel; for the channel's loop."""

        async def take(message: Came) -> None:
            self._channel.put(Said(message.data))

        listening = await connection.subscribe(self._to_me, take, max_messages=SAID_MAX, max_bytes=SAID_BYTES_MAX)
        self._listening = connection
        return listening

    def send(self, message: Message) -> bool:
        """Send, or return False when no server is there: every sender copes with that. From any thread."""
        if not self._is_heard:
            return False
        return self._channel.post(self._to_broker, frames.pack_said(self._session, wire.encode(message)))

    @property
    def _is_heard(self) -> bool:
        """Whether there is a server, and an answer would come."""
        return self._listening is not None and self._listening is self._channel.connection

    def greet(self) -> None:
        """Say hello if it is time to."""
        now_s = time.monotonic()
        due = not self.welcome and not self._refused and now_s >= self._next_hello_s
        if due and self._is_heard and self.send(self._make_hello()):
            self._next_hello_s = now_s + HELLO_INTERVAL_S

    def read(self, said: Said) -> Message | None:
        """Return a message of the broker's that the link has to see to; raise Refused by another version of it."""
        try:
            envelope, _ = frames.unpack(said.payload)
            message: Message = wire.decode(envelope, FromBroker)
        except wire.ProtocolMismatch as error:
            raise Refused(f"the broker speaks another protocol: {error}") from error
        except MessageError as error:
            self.drop(error)
            return None
        match message:
            case Unknown():
                if self.welcome:  # else a hello is under way already
                    self.welcome = False
                    self._next_hello_s = 0.0
                    self.greet()
                return None
            case Welcome():
                self.welcome = True
            case Refusal():
                self._refused, self.welcome = True, False
        return message

    def tell_welcome(self, take: Callable[[bool], object]) -> None:
        """Have `take` called in the channel's loop where it has changed whether we are welcome."""
        if self.welcome != self._told_welcome:
            self._told_welcome = self.welcome
            self._channel.call(take, self.welcome)

    def drop(self, error: MessageError) -> None:
        """Count a message that is none, and tell of the 1st, 2nd, 4th, 8th, …"""
        self.dropped += 1
        if is_told(self.dropped):
            log.warning("message dropped", extra={"reason": str(error), "count": self.dropped})

    def goodbye(self) -> None:
        """Say goodbye."""
        self.send(Goodbye())

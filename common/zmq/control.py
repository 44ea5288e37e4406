"""A peer's side of the control channel over ZeroMQ, which actors, learners and collectors share.

Owns the hello handshake and the decoding of what the broker says. A broker that is away or was started anew is met
with hello again; nothing sent here is relied on to arrive.
"""

import time
from collections.abc import Callable, Iterator
from logging import getLogger

import zmq

from common import wire
from common.errors import MessageError, Refused
from common.messages import FromBroker, Goodbye, Hello, Message, Refusal, Unknown, Welcome
from common.trouble import is_told
from common.zmq import sockets
from common.zmq.handshake import Handshake, advice
from common.zmq.ports import Ports

log = getLogger(__name__)

HELLO_INTERVAL_S = 1.0


class ControlChannel:
    """A peer's DEALER to the broker: says hello until it is welcome, and again when it is not known."""

    def __init__(self, ports: Ports, session: str, make_hello: Callable[[], Hello]) -> None:
        self.socket = sockets.make(zmq.Context.instance(), zmq.DEALER)
        self.socket.setsockopt(zmq.ROUTING_ID, session.encode())
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self._handshake = Handshake(self.socket)
        sockets.connect(self.socket, ports.control, ports.keys)
        self._ports = ports
        self._kept_out = 0
        """Failed handshakes that were told of."""
        self._make_hello = make_hello
        self._welcome = False
        self._refused = False
        self._next_hello_s = 0.0
        self.dropped = 0
        """Messages that were none, on whichever of the peer's channels."""

    def send(self, message: Message) -> bool:
        """Send, or return False when no broker is there: every sender copes with that."""
        try:
            self.socket.send(wire.encode(message), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> Iterator[tuple[Message, bytes]]:
        """Yield the messages that have come, each with its body (empty without one)."""
        self._greet()
        self._tell_if_kept_out()
        for _ in range(sockets.MAX_DRAINED):
            try:
                envelope, *bodies = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                message = wire.decode(envelope, FromBroker)
            except wire.ProtocolMismatch as error:
                raise Refused(f"the broker speaks another protocol: {error}") from error
            except MessageError as error:
                self.drop(error)
                continue
            match message:
                case Unknown():
                    self._known_no_more()
                    continue
                case Welcome():
                    self._welcome = True
                case Refusal():
                    self._refused = True
            yield message, bodies[0] if bodies else b""

    def _known_no_more(self) -> None:
        if self._welcome:  # else a hello is under way already
            self._welcome = False
            self._next_hello_s = 0.0
            self._greet()

    def _greet(self) -> None:
        now_s = time.monotonic()
        due = not self._welcome and not self._refused and now_s >= self._next_hello_s
        if due and self.send(self._make_hello()):
            self._next_hello_s = now_s + HELLO_INTERVAL_S

    def _tell_if_kept_out(self) -> None:
        # Every time, welcome or not: a monitor that is not read stops ZeroMQ's own thread in the end.
        failures = self._handshake.failures()
        if failures > self._kept_out and is_told(failures):
            why = advice(self._ports.keys is not None)
            log.warning("the broker does not let us in", extra={"broker": self._ports.control, "why": why})
        self._kept_out = failures

    def drop(self, error: MessageError) -> None:
        """Count a message that is none, and tell of the 1st, 2nd, 4th, 8th, …"""
        self.dropped += 1
        if is_told(self.dropped):
            log.warning("message dropped", extra={"reason": str(error), "count": self.dropped})

    def close(self, goodbye: bool = True) -> None:
        """Say goodbye and close."""
        if goodbye:
            self.send(Goodbye())
        self._handshake.close()
        self.socket.close()

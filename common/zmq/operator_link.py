"""An operator's link over ZeroMQ: a DEALER to the control channel that says no hello."""

import time
from collections.abc import Sequence

import zmq

from common import wire
from common.errors import BrokerUnreachable, KeptOut, MessageError, Refused
from common.messages import Action, Command, CommandReply, FromBroker, Message, Refusal, Status, StatusRequest
from common.zmq import sockets
from common.zmq.handshake import Handshake, advice
from common.zmq.ports import Ports


class ZmqOperatorLink:
    """An operator's link; see `common.links.OperatorLink`."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._socket = sockets.make(zmq.Context.instance(), zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # a question is asked now or not at all
        self._handshake = Handshake(self._socket)
        sockets.connect(self._socket, ports.control, ports.keys)

    def status(self, timeout_s: float) -> Status:
        """Ask how things stand."""
        reply = self._ask(StatusRequest(), Status, timeout_s)
        assert isinstance(reply, Status)
        return reply

    def command(self, action: str, names: Sequence[str], timeout_s: float) -> tuple[list[str], list[str]]:
        """Order actors; return (names that it went to, names that are unknown)."""
        reply = self._ask(Command(action=Action(action), names=list(names)), CommandReply, timeout_s)
        assert isinstance(reply, CommandReply)
        return reply.names, reply.unknown

    def close(self) -> None:
        """Close."""
        self._handshake.close()
        self._socket.close(linger=0)

    def _ask(self, question: Message, answer: type[Message], timeout_s: float) -> Message:
        end_s = time.monotonic() + timeout_s
        if self._socket.poll(round(timeout_s * 1000), zmq.POLLOUT):
            self._socket.send(wire.encode(question), zmq.DONTWAIT)
        while self._socket.poll(max(0, round((end_s - time.monotonic()) * 1000))):
            reply = self._receive()
            if isinstance(reply, Refusal):
                raise Refused(reply.reason)
            if isinstance(reply, answer):
                return reply  # anything else answers an earlier question, after its time-out
        with_keys = self._ports.keys is not None
        if self._handshake.kept_out(with_keys):
            why = advice(with_keys)
            raise KeptOut(f"the broker at {self._ports.control} does not let us in: {why}")
        raise BrokerUnreachable(
            f"no broker answers at {self._ports.control} within {timeout_s:g} s: "
            "is it running, and are --broker and --base-port right?"
        )

    def _receive(self) -> Message:
        try:
            reply: Message = wire.decode(self._socket.recv_multipart()[0], FromBroker, wire.MAX_STATUS_BYTES)
        except wire.ProtocolMismatch as error:
            raise Refused(f"the broker at {self._ports.control} speaks another protocol: {error}") from error
        except MessageError as error:
            raise BrokerUnreachable(
                f"what answers at {self._ports.control} is no broker ({error}): "
                "are --broker, --base-port and --transport right?"
            ) from error
        return reply

"""An operator's link over NATS: questions on a subject of the operator's, answers in an inbox of each question."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from common import wire
from common.errors import BrokerUnreachable, MessageError, Refused
from common.messages import Action, Command, CommandReply, FromBroker, Message, Refusal, Status, StatusRequest
from common.nats import frames
from common.nats.answers import MAX_PACKED_BYTES, AnswerReader
from common.nats.connection import Message as Came
from common.nats.connection import NatsConnection, NobodyThere, status_of
from common.nats.knock import unreachable
from common.nats.way import NatsWay
from common.session import new_session

AGAIN_S = 0.1
"""Between two times that a question is asked while nobody listens to it."""
PARTS_MAX = 1000
_NO_RESPONDERS = 503


class NatsOperatorLink:
    """An operator's link; see `common.links.OperatorLink`."""

    def __init__(self, way: NatsWay) -> None:
        self._way, self._session = way, new_session()
        self._channel = way.channel(_idle, "asks")
        self._channel.start()

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
        self._channel.close()

    def _ask(self, question: Message, answer: type[Message], timeout_s: float) -> Message:
        end_s = time.monotonic() + timeout_s
        channel = self._channel
        payload = frames.pack_said(self._session, wire.encode(question))
        subject = self._way.names.ask(self._way.holder.name)
        while channel.wait_until(lambda: channel.connection is not None, end_s - time.monotonic()):
            connection, left_s = channel.connection, end_s - time.monotonic()
            if left_s <= 0:
                break
            if connection is None:  # it was lost this moment
                continue
            with suppress(BrokerUnreachable, TimeoutError):
                reply = self._read(
                    channel.submit(_question(connection, subject, payload, left_s)).result(left_s + 1.0)
                )
                if isinstance(reply, Refusal):
                    raise Refused(reply.reason)
                if isinstance(reply, answer):
                    return reply
            time.sleep(max(0.0, min(AGAIN_S, end_s - time.monotonic())))
        raise unreachable(self._way, channel, timeout_s)

    def _read(self, envelope: bytes) -> Message:
        try:
            reply: Message = wire.decode(envelope, FromBroker, wire.MAX_STATUS_BYTES)
        except wire.ProtocolMismatch as error:
            raise Refused(f"the broker at {self._way.address} speaks another protocol: {error}") from error
        return reply


async def _idle(connection: NatsConnection) -> None:
    del connection


async def _question(connection: NatsConnection, subject: str, payload: bytes, timeout_s: float) -> bytes:
    """Ask, and return the envelope of the answer, however many parts it has; raises NobodyThere at once."""
    inbox, reader = connection.new_inbox(), AnswerReader()
    answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def take(message: Came) -> None:
        if answered.done():
            return
        if status_of(message) == _NO_RESPONDERS:
            answered.set_exception(NobodyThere(f"nobody listens on {subject}"))
            return
        with suppress(MessageError):  # what is none is no answer
            envelope = reader.read(message.headers, message.data)
            if envelope is not None:
                answered.set_result(envelope)

    listening = await connection.subscribe(inbox, take, max_messages=PARTS_MAX, max_bytes=2 * MAX_PACKED_BYTES)
    try:
        await connection.publish(subject, payload, reply=inbox)
        async with asyncio.timeout(timeout_s):
            return await answered
    finally:
        await listening.stop()

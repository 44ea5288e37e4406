"""A log collector's link over NATS: control, and the records that wait in their stream."""

from contextlib import suppress
from dataclasses import dataclass

from common import wire
from common.errors import MessageError, Refused, RookeryError
from common.keys import KeyHolder
from common.messages import CollectorReport, LogRecord, Refusal, Role
from common.nats.connection import Message, NatsConnection
from common.nats.control import NatsControl, Said
from common.nats.names import COLLECTOR
from common.nats.pull import Pull
from common.nats.way import NatsWay
from common.session import hello

MAX_RECORDS = 4000
"""Records that are here and were not reported yet: as many as are acknowledged at once."""
LEAVE_S = 5.0
_ACK, _NAK = b"+ACK", b"-NAK"


@dataclass(frozen=True, slots=True)
class _Came:
    subject: str
    frame: bytes
    reply: str


class NatsCollectorLink:
    """A log collector's link; see `common.links.CollectorLink`.

    Records are acknowledged with the report after them, before which the collector writes them to its files. Those
    of a collector that died come again, and are known by their numbers.
    """

    def __init__(self, way: NatsWay, name: str, session: str) -> None:
        self._names = way.names
        self._channel = way.channel(self._serve, "collects", events_max=MAX_RECORDS + 100)
        self._control = NatsControl(
            self._channel, way.names, KeyHolder(Role.COLLECTOR, name), session,
            lambda: hello(Role.COLLECTOR, name, session),
        )  # fmt: skip
        self._taken: list[str] = []
        """Where to acknowledge what was handed on."""
        self.malformed = 0
        # In the loop only:
        self._pull: Pull | None = None
        self._welcome, self._leaving, self._here = False, False, 0
        self._channel.start()

    # The collector's thread ------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[LogRecord]:
        """Return the records that have come, after at most `timeout_s`; raises Refused when turned away."""
        control = self._control
        control.greet()
        records: list[LogRecord] = []
        for event in self._channel.wait(timeout_s):
            match event:
                case Said():
                    message = control.read(event)
                    if isinstance(message, Refusal):
                        raise Refused(message.reason)
                case _Came():
                    self._taken.append(event.reply)
                    try:
                        records.append(self._record(event))
                    except MessageError:
                        self.malformed += 1
        control.tell_welcome(self._set_welcome)
        return records

    def report(self, records: int, missing: int) -> None:
        """Report how many records came and how many are missing; those that were handed on are in the files now."""
        self._acknowledge()
        self._control.send(CollectorReport(records=records, missing=missing))

    def close(self) -> None:
        """Give back what was not handed on, say goodbye and close."""
        self._acknowledge()
        left = self._channel.submit(self._leave())
        with suppress(RookeryError, TimeoutError):
            for event in self._channel.wait(0.0):
                if isinstance(event, _Came):
                    self._channel.post(event.reply, _NAK)
            left.result(LEAVE_S)
        self._control.goodbye()
        self._channel.close()

    def _record(self, came: _Came) -> LogRecord:
        record: LogRecord = wire.decode(came.frame, LogRecord)
        sender = self._names.sender_of(came.subject)
        if record.source.rpartition(".")[0] != sender.service:
            raise MessageError(f"log record of another service: {record.source} from {sender.service}")
        return record

    def _acknowledge(self) -> None:
        for reply in self._taken:
            self._channel.post(reply, _ACK)  # what gets lost comes again
        self._channel.call(self._took, len(self._taken))
        self._taken = []

    # The loop --------------------------------------------------------------------------------------

    async def _serve(self, connection: NatsConnection) -> None:
        await self._control.listen(connection)
        self._pull = Pull(connection, self._names.logs_stream, COLLECTOR, take=self._on_record, room=self._room)
        await self._pull.run()

    def _room(self) -> int:
        return MAX_RECORDS - self._here if self._welcome else 0

    async def _on_record(self, message: Message) -> None:
        if self._leaving:
            self._channel.post(message.reply, _NAK)
            return
        self._here += 1
        await self._channel.put_soon(_Came(message.subject, message.data, message.reply))

    async def _leave(self) -> None:
        self._leaving = True
        if self._pull is not None and self._channel.connection is not None:
            await self._pull.drain()

    def _took(self, records: int) -> None:
        self._here -= records
        if self._pull is not None:
            self._pull.wake()

    def _set_welcome(self, welcome: bool) -> None:
        self._welcome = welcome
        if self._pull is not None:
            self._pull.wake()

"""A learner's link over NATS: batches from their stream, acknowledgements, weights into the object store."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from common.errors import BrokerUnreachable
from common.keys import KeyHolder
from common.links import Delivered, LearnerEvent
from common.messages import (
    Declined,
    Hello,
    LearnerReport,
    PublishAgain,
    Refusal,
    Role,
    Stored,
    StoredUnit,
    StoreTotals,
    Totals,
    WeightsHeader,
    Welcome,
)
from common.nats.connection import Message, NatsConnection
from common.nats.control import NatsControl, Said
from common.nats.deliveries import NAK, Deliveries, Verdict
from common.nats.group import Group
from common.nats.pull import Pull
from common.nats.way import NatsWay
from common.nats.weights_desk import WeightsDesk
from common.words import MAX_REASON_CHARACTERS

FLUSH_S = 10.0
"""How long the last weights may take to get to the server at the end."""
TIDY_S = 2.0


class NatsLearnerLink:
    """A learner's link; see `common.links.LearnerLink`.

    `make_hello` returns what the learner has at that moment, for each time that it says hello. Batches are fetched
    only while the learner is welcome and its credit allows for more; what it does not acknowledge comes again.
    """

    def __init__(self, way: NatsWay, agent: str, session: str, make_hello: Callable[[], Hello]) -> None:
        self._names, self._agent, self._session = way.names, agent, session
        self._channel = way.channel(self._serve, "learns")
        self._control = NatsControl(
            self._channel, way.names, KeyHolder(Role.LEARNER, agent), session, make_hello
        )  # fmt: skip
        # In the loop only:
        self._deliveries = Deliveries(way.names, agent)
        self._desk = WeightsDesk(way.names.weights, lambda: self._channel.put(PublishAgain()))
        self._pull: Pull | None = None
        self._credit, self._welcome, self._leaving = 0, False, False
        self._channel.start()

    # The learner's thread --------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[LearnerEvent]:
        """Return what has come, after at most `timeout_s`."""
        control = self._control
        control.greet()
        events: list[LearnerEvent] = []
        for event in self._channel.wait(timeout_s):
            match event:
                case Said():
                    message = control.read(event)
                    if isinstance(message, PublishAgain):
                        self._channel.call(self._desk.forget)
                    if isinstance(message, Totals | PublishAgain | Refusal | Welcome):
                        events.append(message)
                case Delivered() | PublishAgain():
                    events.append(event)
        control.tell_welcome(self._set_welcome)
        return events

    def credit(self, batches: int) -> None:
        """Let this many batches be under way at once."""
        self._channel.call(self._set_credit, batches)

    def stored(self, units: Sequence[StoredUnit], totals: StoreTotals) -> None:
        """Acknowledge batches that are on disk."""
        self._channel.call(self._on_stored, [stored.unit for stored in units])
        self._control.send(Stored(agent=self._agent, session=self._session, units=list(units), totals=totals))

    def decline(self, unit: int, reason: str) -> None:
        """Say that a batch can't be used."""
        self._channel.call(self._on_declined, unit)
        self._control.send(
            Declined(agent=self._agent, session=self._session, unit=unit, reason=reason[:MAX_REASON_CHARACTERS])
        )

    def report(self, report: LearnerReport) -> None:
        """Report progress."""
        self._control.send(report)
        if self._control.welcome:
            self._channel.call(self._desk.report, self._session, report.version)

    def publish(self, header: WeightsHeader, body: bytes) -> None:
        """Publish weights; later ones take the place of those still waiting."""
        self._channel.call(self._desk.publish, header, body)

    def close(self) -> None:
        """Put the last weights, give back what is not stored, and say goodbye."""
        flushed = self._channel.submit(self._flush())
        try:
            flushed.result(FLUSH_S + 1.0)
        except (BrokerUnreachable, TimeoutError):
            flushed.cancel()
        self._control.goodbye()
        self._channel.close()

    # The loop --------------------------------------------------------------------------------------

    async def _serve(self, connection: NatsConnection) -> None:
        await self._control.listen(connection)
        names = self._names
        self._pull = Pull(
            connection, names.experience_stream, names.learner(self._agent), take=self._on_part, room=self._room
        )
        async with Group() as group:
            group.create_task(self._pull.run())
            group.create_task(self._desk.run(connection))
            group.create_task(self._tidy())

    def _room(self) -> int:
        return self._credit - len(self._deliveries) if self._welcome else 0

    async def _on_part(self, message: Message) -> None:
        if self._leaving:
            self._tell([Verdict(message.reply, NAK)])
            return
        delivered, verdicts = self._deliveries.came(
            message.subject, message.headers, message.data, message.reply, time.monotonic()
        )
        self._tell(verdicts)
        if delivered is not None:
            await self._channel.put_soon(delivered)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            self._tell(self._deliveries.tidy(time.monotonic()))

    def _set_welcome(self, welcome: bool) -> None:
        self._welcome = welcome
        self._wake()

    def _set_credit(self, batches: int) -> None:
        self._credit = batches
        self._wake()

    def _on_stored(self, units: list[int]) -> None:
        self._tell(self._deliveries.stored(units))
        self._wake()

    def _on_declined(self, unit: int) -> None:
        self._tell(self._deliveries.declined(unit))
        self._wake()

    def _wake(self) -> None:
        if self._pull is not None:
            self._pull.wake()

    def _tell(self, verdicts: list[Verdict]) -> None:
        """Tell the server; what gets lost on the way comes again, and is told again then."""
        for verdict in verdicts:
            self._channel.post(verdict.reply, verdict.word)

    async def _flush(self) -> None:
        self._credit = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S if self._channel.connection is not None else 0.0):
                await self._desk.put_all()
        self._leaving = True
        self._tell(self._deliveries.give_back())
        if self._pull is not None and self._channel.connection is not None:
            await self._pull.drain()

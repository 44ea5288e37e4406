"""A learner's link over ZeroMQ: control, a DEALER that batches come to against credit, a PUB for weights.

An acknowledgement may get lost: the batch is delivered again. Weights are asked for again where they are missed.
"""

from collections.abc import Callable, Sequence

import zmq

from common import wire
from common.errors import MessageError
from common.links import Delivered, LearnerEvent
from common.messages import (
    Credit,
    Declined,
    Hello,
    LearnerReport,
    PublishAgain,
    Refusal,
    Stored,
    StoredUnit,
    StoreTotals,
    Totals,
    WeightsHeader,
    Welcome,
)
from common.words import MAX_REASON_CHARACTERS
from common.zmq import sockets
from common.zmq.control import ControlChannel
from common.zmq.ports import Ports


class ZmqLearnerLink:
    """A learner's link; see `common.links.LearnerLink`.

    `make_hello` returns what the learner has at that moment, for each time that it says hello.
    """

    def __init__(self, ports: Ports, agent: str, session: str, make_hello: Callable[[], Hello]) -> None:
        self._agent, self._session = agent, session
        self._control = ControlChannel(ports, session, make_hello)
        context: sockets.Context = zmq.Context.instance()
        self._delivery = sockets.make(context, zmq.DEALER, hwm=64)
        self._delivery.setsockopt(zmq.ROUTING_ID, session.encode())
        self._delivery.setsockopt(zmq.IMMEDIATE, 1)
        sockets.connect(self._delivery, ports.delivery, ports.keys)
        self._weights = sockets.make(context, zmq.PUB, hwm=sockets.WEIGHTS_HWM)
        self._weights.setsockopt(zmq.IMMEDIATE, 1)  # none are kept for a broker that is away: it asks for them
        sockets.connect(self._weights, ports.weights_in, ports.keys)
        self._poller = zmq.Poller()
        self._poller.register(self._control.socket, zmq.POLLIN)
        self._poller.register(self._delivery, zmq.POLLIN)

    def poll(self, timeout_s: float) -> list[LearnerEvent]:
        """Return what has come, after at most `timeout_s`."""
        self._poller.poll(round(timeout_s * 1000))
        events: list[LearnerEvent] = [
            message
            for message, _ in self._control.receive()
            if isinstance(message, Totals | PublishAgain | Refusal | Welcome)
        ]
        for _ in range(sockets.MAX_DRAINED):
            try:
                frames = sockets.receive(self._delivery)
            except zmq.Again:
                break
            try:
                if len(frames) != 2:
                    raise MessageError(f"a batch has {len(frames)} frames, not 2")
                envelope, body = frames[0].bytes, frames[1].bytes
                events.append(Delivered(wire.decode_batch_header(envelope), body))
            except MessageError as error:
                self._control.drop(error)
        return events

    def credit(self, batches: int) -> None:
        """Let this many batches be under way at once."""
        try:
            credit = Credit(agent=self._agent, session=self._session, batches=batches)
            self._delivery.send(wire.encode(credit), zmq.DONTWAIT)
        except zmq.Again:
            pass  # not connected; it is sent again within about a second

    def stored(self, units: Sequence[StoredUnit], totals: StoreTotals) -> None:
        """Acknowledge batches that are on disk."""
        self._control.send(Stored(agent=self._agent, session=self._session, units=list(units), totals=totals))

    def decline(self, unit: int, reason: str) -> None:
        """Say that a batch can't be used."""
        self._control.send(
            Declined(agent=self._agent, session=self._session, unit=unit, reason=reason[:MAX_REASON_CHARACTERS])
        )

    def report(self, report: LearnerReport) -> None:
        """Report progress."""
        self._control.send(report)

    def publish(self, header: WeightsHeader, body: bytes) -> None:
        """Publish weights."""
        self._weights.send_multipart([header.agent.encode(), wire.encode(header), body])

    def close(self) -> None:
        """Say goodbye and flush."""
        self._delivery.close(linger=0)
        self._weights.close(linger=sockets.LINGER_MS)
        self._control.close()

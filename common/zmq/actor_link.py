"""An actor's link over ZeroMQ: control, a PUSH for batches, a SUB for weights.

A batch may get lost: its lease runs out then. Weights are compared by version, and asked for again.
"""

import time
from collections.abc import Sequence

import zmq

from common import wire
from common.errors import MessageError
from common.leased_games import unpack_games
from common.links import ActorEvent, LeasedUnit, Weights
from common.messages import (
    ActorReport,
    BatchHeader,
    Lease,
    LeaseRequest,
    Order,
    Refusal,
    Release,
    Renew,
    Role,
    WeightsHeader,
    WeightsRequest,
    Welcome,
)
from common.session import hello
from common.weights_check import check_weights
from common.zmq import sockets
from common.zmq.control import ControlChannel
from common.zmq.ports import Ports, own_topic

WEIGHTS_INTERVAL_S = 30.0
WEIGHTS_AGAIN_S = 3.0
"""The same after the first time: the answer to that may have come before the subscription was known."""


class ZmqActorLink:
    """An actor's link; see `common.links.ActorLink`."""

    def __init__(self, ports: Ports, name: str, session: str, identity: dict[str, str]) -> None:
        self._units: list[int] = []
        self._capacity = 0
        self._control = ControlChannel(
            ports,
            session,
            lambda: hello(Role.ACTOR, name, session, units=self._units, settings=identity),
        )
        context: sockets.Context = zmq.Context.instance()
        self._batches = sockets.make(context, zmq.PUSH, hwm=64)
        self._batches.setsockopt(zmq.IMMEDIATE, 1)
        sockets.connect(self._batches, ports.experience, ports.keys)
        self._weights = sockets.make(context, zmq.SUB, hwm=sockets.WEIGHTS_HWM)
        self._weights.setsockopt(zmq.SUBSCRIBE, own_topic(session))
        sockets.connect(self._weights, ports.weights_out, ports.keys)
        self._held: dict[str, WeightsHeader | None] = {}
        """The weights that came last, by agent."""
        self._next_weights_s, self._weights_interval_s = 0.0, WEIGHTS_INTERVAL_S
        self._poller = zmq.Poller()
        self._poller.register(self._control.socket, zmq.POLLIN)
        self._poller.register(self._weights, zmq.POLLIN)

    def poll(self, timeout_s: float) -> list[ActorEvent]:
        """Return what has come, after at most `timeout_s`."""
        self._poller.poll(round(timeout_s * 1000))
        events: list[ActorEvent] = []
        for message, body in self._control.receive():
            try:
                match message:
                    case Lease():
                        events.append(LeasedUnit(message, unpack_games(body)))
                        self._units.append(message.unit)
                    case Welcome():
                        for agent in message.agents:
                            if agent not in self._held:
                                self._weights.setsockopt(zmq.SUBSCRIBE, agent.encode())
                        self._held = {agent: self._held.get(agent) for agent in message.agents}
                        self._next_weights_s, self._weights_interval_s = 0.0, WEIGHTS_AGAIN_S
                        self._control.send(LeaseRequest(capacity=self._capacity))
                        events.append(message)
                    case Order() | Refusal():
                        events.append(message)
            except MessageError as error:
                self._control.drop(error)
        self._receive_weights(events)
        self._ask_for_weights()
        return events

    def capacity(self, units: int) -> None:
        """Say how many units can be held at once."""
        self._capacity = units
        self._control.send(LeaseRequest(capacity=units))

    def renew(self, units: Sequence[int], report: ActorReport) -> None:
        """Report the units in hand and the progress."""
        self._units = list(units)
        self._control.send(Renew(units=self._units, report=report))

    def release(self, units: Sequence[int]) -> None:
        """Give units back."""
        self._units = [unit for unit in self._units if unit not in units]
        self._control.send(Release(units=list(units)))

    def send(self, header: BatchHeader, body: bytes) -> bool:
        """Send a batch; False when the way is full."""
        try:
            self._batches.send_multipart([wire.encode(header), body], zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Flush within the linger time, and say goodbye; a batch that comes after it is taken all the same."""
        self._batches.close(linger=sockets.LINGER_MS)
        self._weights.close(linger=0)
        self._control.close()

    def _receive_weights(self, events: list[ActorEvent]) -> None:
        for _ in range(sockets.MAX_DRAINED):
            try:
                frames = self._weights.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                if len(frames) != 3:
                    raise MessageError(f"weights have {len(frames)} frames, not 3")
                self._take_weights(wire.decode(frames[1], WeightsHeader), frames[2], events)
            except MessageError as error:
                self._control.drop(error)

    def _take_weights(self, header: WeightsHeader, body: bytes, events: list[ActorEvent]) -> None:
        if header.agent not in self._held:
            raise MessageError(f"weights of an unknown agent: {header.agent}")
        held = self._held[header.agent]
        if held is not None and not header.newer_than(held.session, held.version):
            return
        check_weights(header, body)
        self._held[header.agent] = header
        events.append(Weights(header, body))

    def _ask_for_weights(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_weights_s:
            self._next_weights_s = now_s + self._weights_interval_s
            self._weights_interval_s = WEIGHTS_INTERVAL_S
            for agent, held in self._held.items():
                session, version = (held.session, held.version) if held is not None else (None, -1)
                self._control.send(WeightsRequest(agent=agent, newer_than=version, session=session))

"""A log collector's link over ZeroMQ: control, and a SUB that every service's records come to."""

import zmq

from common import wire
from common.errors import MessageError, Refused
from common.messages import CollectorReport, LogRecord, Refusal, Role
from common.session import hello
from common.zmq import sockets
from common.zmq.control import ControlChannel
from common.zmq.ports import Ports


class ZmqCollectorLink:
    """A log collector's link; see `common.links.CollectorLink`."""

    def __init__(self, ports: Ports, name: str, session: str) -> None:
        self._control = ControlChannel(ports, session, lambda: hello(Role.COLLECTOR, name, session))
        self._records = sockets.make(zmq.Context.instance(), zmq.SUB, hwm=100_000)
        self._records.setsockopt(zmq.SUBSCRIBE, b"")
        sockets.connect(self._records, ports.logs_out, ports.keys)
        self._poller = zmq.Poller()
        self._poller.register(self._records, zmq.POLLIN)
        self._poller.register(self._control.socket, zmq.POLLIN)
        self.malformed = 0

    def poll(self, timeout_s: float) -> list[LogRecord]:
        """Return the records that have come, after at most `timeout_s`; raises Refused when turned away."""
        self._poller.poll(round(timeout_s * 1000))
        for message, _ in self._control.receive():
            if isinstance(message, Refusal):
                raise Refused(message.reason)
        records: list[LogRecord] = []
        for _ in range(10 * sockets.MAX_DRAINED):
            try:
                frames = self._records.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            try:
                records.append(wire.decode(frames[0], LogRecord))
            except MessageError:
                self.malformed += 1
        return records

    def report(self, records: int, missing: int) -> None:
        """Report how many records came and how many are missing."""
        self._control.send(CollectorReport(records=records, missing=missing))

    def close(self) -> None:
        """Say goodbye and close."""
        self._records.close(linger=0)
        self._control.close()

"""Where a process's log records go out over ZeroMQ: an XPUB, which sees whether a collector listens."""

import zmq

from common.zmq import sockets
from common.zmq.ports import Ports

QUEUE_RECORDS = 20_000


class ZmqLogOutlet:
    """A process's log outlet; see `common.links.LogOutlet`."""

    def __init__(self, ports: Ports) -> None:
        self._listeners = 0
        self._socket = sockets.make(zmq.Context.instance(), zmq.XPUB, hwm=QUEUE_RECORDS)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        # Else a subscription would outlive its broker, and hide that nobody listens on the next one.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        sockets.connect(self._socket, ports.logs_in, ports.keys)

    def ready(self) -> bool:
        """Whether somebody listens."""
        while True:
            try:
                self._listeners += {b"\x01": 1, b"\x00": -1}.get(self._socket.recv(zmq.DONTWAIT)[:1], 0)
            except zmq.Again:
                return self._listeners > 0

    def send(self, frame: bytes) -> bool:
        """Send a record; False when the way is full."""
        try:
            self._socket.send(frame, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Flush within the linger time, and close."""
        self._socket.close(linger=sockets.LINGER_MS)

"""Whether the broker lets a connection in: ZeroMQ itself says nothing to a peer that is kept out."""

import zmq
from zmq.utils.monitor import recv_monitor_message

_FAILED = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
    zmq.Event.HANDSHAKE_FAILED_AUTH,
)
_EVENTS = zmq.Event.CONNECTED | zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_SUCCEEDED
for _event in _FAILED:
    _EVENTS |= _event


class Handshake:
    """Follows one socket's connection to one endpoint, by its monitor; make it before the socket connects.

    Ask it often: the monitor's queue is bounded, and ZeroMQ's own thread waits for room in it.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(_EVENTS)
        self._waiting = False
        self._failures = 0

    def failures(self) -> int:
        """Return how often a broker that was reached did not let us in."""
        self._follow()
        return self._failures

    def kept_out(self, with_keys: bool) -> bool:
        """Whether a broker was reached and has not let us in (yet): one that takes keys is silent for a while."""
        self._follow()
        return self._failures > 0 or (with_keys and self._waiting)

    def close(self) -> None:
        """Stop following; the socket is closed after this. More than once does nothing."""
        if self._monitor.closed:
            return
        self._follow()
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _follow(self) -> None:
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor, zmq.DONTWAIT)["event"]
            if event == zmq.Event.CONNECTED:
                self._waiting = True
            elif event == zmq.Event.DISCONNECTED:
                self._waiting = False
            elif event == zmq.Event.HANDSHAKE_SUCCEEDED:
                self._waiting, self._failures = False, 0
            elif event in _FAILED:
                self._waiting = False
                self._failures += 1


def advice(with_keys: bool) -> str:
    """Return what an operator can do about being kept out."""
    if with_keys:
        return "is this key in its allow list (`rookery keys list` there), and is broker.key the broker's own?"
    return "it takes keys only (give --keys DIR), or is no broker of Rookery"

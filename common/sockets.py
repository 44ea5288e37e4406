"""Making ZeroMQ sockets with the options that every channel needs, and taking them down."""

import zmq

from common.errors import OperatorError
from common.wire import MAX_BODY_BYTES

LINGER_MS = 2000
WEIGHTS_HWM = 4
"""Sets of weights in a queue: they can be large, and what is dropped is asked for again."""
GIVEN_UP_MS = 60_000
"""How long what was sent may stay unacknowledged by the peer's host."""

# As ints, and not asking RCVMORE for each frame: pyzmq's enums cost more than a frame does.
AT_ONCE = int(zmq.DONTWAIT)
MORE_AT_ONCE = int(zmq.DONTWAIT | zmq.SNDMORE)

Context = zmq.Context[zmq.Socket[bytes]]


def make(context: Context, kind: int, *, hwm: int = 1000) -> zmq.Socket[bytes]:
    """Return a socket with bounded queues of `hwm` messages each way and frames bounded in size."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, hwm)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_BODY_BYTES)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 5000)
    # A peer whose host or network is gone is given up within about a minute, idle or not. Not by ZeroMQ's
    # heartbeats: they time out during one large message, too (libzmq#2709).
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.TCP_MAXRT, GIVEN_UP_MS)
    socket.setsockopt(zmq.IPV6, 1)
    return socket


def receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """Return the next message's frames as they lie in ZeroMQ's memory; raise zmq.Again when there is none."""
    frames = [socket.recv(AT_ONCE, copy=False)]
    while frames[-1].more:
        frames.append(socket.recv(AT_ONCE, copy=False))
    return frames


def bind(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Bind, or raise OperatorError with one line that says which address is the trouble."""
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise OperatorError(
                f"{endpoint} is taken: is another broker running? Choose another --base-port"
            ) from error
        raise OperatorError(f"can't listen on {endpoint}: {error.strerror}; check --bind") from error


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Connect, now or once somebody listens there; raise OperatorError for what is no address."""
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise OperatorError(f"{endpoint} is not an address: {error.strerror}; check --broker") from error

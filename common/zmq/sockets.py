"""Making ZeroMQ sockets with the options that every channel needs, and taking them down."""

import zmq

from common.errors import OperatorError
from common.wire import MAX_BODY_BYTES
from common.zmq.keys import PeerKeys

LINGER_MS = 2000
WEIGHTS_HWM = 4
"""Sets of weights in a queue: they can be large, and what is dropped is asked for again."""
HANDSHAKE_MS = 10_000
"""How long a connection may take to be greeted: who is refused, hangs or says nothing is cut off then."""
MAX_FRAMES = 8
"""Frames of a message that are looked at: no message of ours has as many."""
MAX_DRAINED = 100
"""Messages taken from one socket before the others get their turn."""
GIVEN_UP_MS = 20_000
"""How long what was sent may stay unacknowledged by the peer's host. A link that was cut for longer is in use again
within 11 s of its return: CONNECT_MS and the greatest pause between two tries."""
CONNECT_MS = 5000
"""How long a connection may take to be made; else the kernel tries ever less often, in the end once a minute."""

CURVE_BYTES = 33
"""By how much a frame is longer under CURVE: ZeroMQ measures it as it comes."""

# As ints, and not asking RCVMORE for each frame: pyzmq's enums cost more than a frame does.
AT_ONCE = int(zmq.DONTWAIT)
MORE_AT_ONCE = int(zmq.DONTWAIT | zmq.SNDMORE)

Context = zmq.Context[zmq.Socket[bytes]]


def make(
    context: Context, kind: int, *, hwm: int = 1000, max_frame_bytes: int = MAX_BODY_BYTES
) -> zmq.Socket[bytes]:
    """Return a socket with bounded queues of `hwm` messages each way; who sends larger frames is cut off."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, hwm)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes + CURVE_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 5000)
    # A peer whose host or network is gone is given up within about 20 s, idle or not. Not by ZeroMQ's
    # heartbeats: they time out during one large message, too (libzmq#2709).
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 2)
    socket.setsockopt(zmq.TCP_MAXRT, GIVEN_UP_MS)
    socket.setsockopt(zmq.IPV6, 1)
    return socket


def receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """Return the next message's frames as they lie in ZeroMQ's memory; raise zmq.Again when there is none.

    Frames past the first `MAX_FRAMES` are dropped.
    """
    frame = socket.recv(AT_ONCE, copy=False)
    frames = [frame]
    while frame.more:
        frame = socket.recv(AT_ONCE, copy=False)
        if len(frames) < MAX_FRAMES:
            frames.append(frame)
    return frames


def sender_of(frame: zmq.Frame) -> bytes:
    """Return the public key (Z85) that the sender of a frame was let in with; empty for none."""
    try:
        return str(frame.get("User-Id")).encode()
    except zmq.ZMQError:
        return b""


def guard(socket: zmq.Socket[bytes], secret: bytes, domain: str) -> None:
    """Let in over CURVE only, and only whom the ZAP handler lets into `domain`; call it before `bind`.

    Without a handler libzmq would let in every client that knows the server's key: here it lets in nobody then.
    """
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    read_back = (socket.getsockopt(zmq.CURVE_SERVER), socket.getsockopt(zmq.ZAP_ENFORCE_DOMAIN))
    if read_back != (1, 1) or socket.getsockopt_string(zmq.ZAP_DOMAIN) != domain:
        raise OperatorError(
            "this libzmq does not keep strangers out (CURVE, ZAP_ENFORCE_DOMAIN): install another pyzmq"
        )


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


def connect(socket: zmq.Socket[bytes], endpoint: str, keys: PeerKeys | None) -> None:
    """Connect, now or once somebody listens there, over CURVE where there are `keys`.

    Raises OperatorError for what is no address.
    """
    if keys is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.broker_public)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise OperatorError(f"{endpoint} is not an address: {error.strerror}; check --broker") from error

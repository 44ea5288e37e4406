"""A network in memory, with a clock of its own, put in the place of ZeroMQ's sockets and pollers.

What is sent is under way until it is told to arrive, to get lost, or to come twice, in any order. Nobody waits:
a poll that finds nothing moves the clock by its time-out. So services run in one thread, turn by turn, with
their own links, routers and loops, and every run can be had again.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from unittest import mock

import zmq

ROOM = 12
"""Messages that a peer's queue holds."""


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class Frame(bytes):
    """A received frame, as pyzmq's."""

    more = False

    @property
    def bytes(self) -> bytes:
        return self


@dataclass(slots=True, eq=False)
class Message:
    """Under way to whoever is bound to an endpoint by then, or to one of those that are connected to it."""

    endpoint: str
    peer: "Socket | None"
    frames: list[bytes]


class Socket:
    """One end, bound or connected; see the module's docstring for what is different from ZeroMQ's."""

    def __init__(self, network: "Network", kind: int, owner: object) -> None:
        self.network, self.kind, self.owner = network, kind, owner
        self.identity = b""
        self.endpoint = ""
        self.inbox: deque[list[bytes]] = deque()
        self._out: list[bytes] = []
        self._in: list[Frame] = []

    def setsockopt(self, option: int, value: object) -> None:
        if option == zmq.ROUTING_ID:
            assert isinstance(value, bytes)
            self.identity = value

    def send(self, frame: bytes, flags: int = 0, copy: bool = True) -> None:
        self._out.append(bytes(frame))
        if not flags & zmq.SNDMORE:
            frames, self._out = self._out, []
            self.send_multipart(frames)

    def send_multipart(self, frames: Sequence[bytes], flags: int = 0, copy: bool = True) -> None:
        self._out = []  # what an error has left of a message
        self.network.send(self, [bytes(frame) for frame in frames])

    def recv(self, flags: int = 0, copy: bool = True) -> Frame:
        if not self._in:
            self._in = [Frame(frame) for frame in self.recv_multipart()]
            for frame in self._in[:-1]:
                frame.more = True
        return self._in.pop(0)

    def recv_multipart(self, flags: int = 0, copy: bool = True) -> list[bytes]:
        if not self.inbox:
            raise zmq.Again
        return self.inbox.popleft()

    def close(self, linger: int = 0) -> None:
        self.network.close(self)

    def get_monitor_socket(self, events: int) -> SimpleNamespace:
        return SimpleNamespace(poll=lambda timeout_ms: 0, closed=True)  # nobody is kept out here

    def disable_monitor(self) -> None:
        pass


class Poller:
    """Finds what has come, or lets its time-out pass."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sockets: list[Socket] = []

    def register(self, socket: Socket, flags: int) -> None:
        self._sockets.append(socket)

    def poll(self, timeout_ms: float) -> list[tuple[Socket, int]]:
        ready = [(socket, int(zmq.POLLIN)) for socket in self._sockets if socket.inbox]
        if not ready:
            self._clock.advance(timeout_ms / 1000)
        return ready


class Network:
    """All sockets, and every message under way."""

    def __init__(self, clock: Clock, watch: Callable[[Socket, list[bytes]], None]) -> None:
        self.clock = clock
        self.owner: object = None
        """Whose turn it is: sockets made now are its."""
        self.under_way: list[Message] = []
        self._watch = watch
        """Is shown every message that is sent."""
        self._bound: dict[str, Socket] = {}
        self._connected: dict[str, list[Socket]] = {}

    def make(self, context: object, kind: int, **options: object) -> Socket:
        return Socket(self, kind, self.owner)

    def bind(self, socket: Socket, endpoint: str, *keys: object) -> None:
        socket.endpoint = endpoint
        self._bound[endpoint] = socket

    def connect(self, socket: Socket, endpoint: str, *keys: object) -> None:
        socket.endpoint = endpoint
        self._connected.setdefault(endpoint, []).append(socket)

    def close(self, socket: Socket) -> None:
        if self._bound.get(socket.endpoint) is socket:
            del self._bound[socket.endpoint]
        elif socket in self._connected.get(socket.endpoint, ()):
            self._connected[socket.endpoint].remove(socket)

    def cut(self, owner: object) -> None:
        """Close everything of a process that has died."""
        for socket in [*self._bound.values(), *(peer for peers in self._connected.values() for peer in peers)]:
            if socket.owner is owner:
                self.close(socket)

    def send(self, socket: Socket, frames: list[bytes]) -> None:
        """Put a message under way, as the socket's kind does it; raises what ZeroMQ would."""
        self._watch(socket, frames)
        endpoint = socket.endpoint
        peers = self._connected.get(endpoint, [])
        if socket.kind == zmq.ROUTER:
            peer = next((peer for peer in peers if peer.identity == frames[0]), None)
            if peer is None:
                raise zmq.ZMQError(zmq.EHOSTUNREACH)
            if len(peer.inbox) >= ROOM:
                raise zmq.Again
            self.under_way.append(Message(endpoint, peer, frames[1:]))
        elif self._bound.get(endpoint) is socket:
            self.under_way += [Message(endpoint, peer, frames) for peer in peers]
        elif endpoint in self._bound:
            named = [socket.identity, *frames] if socket.kind == zmq.DEALER else frames
            self.under_way.append(Message(endpoint, None, named))
        elif socket.kind != zmq.PUB:
            raise zmq.Again

    def arrive(self, message: Message) -> None:
        """Let a message come to where it goes, if there is anybody."""
        self.under_way.remove(message)
        if message.peer is None:
            found = self._bound.get(message.endpoint)
        else:
            found = message.peer if message.peer in self._connected[message.endpoint] else None
        if found is not None:
            found.inbox.append(message.frames)

    def _hello(self, *what: object, **fields: object) -> object:
        return self.owner.hello(*what, **fields)  # as the process whose turn it is

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put this network and its clock in the place of the real ones."""
        time = SimpleNamespace(monotonic=self.clock, time_ns=lambda: int(self.clock() * 1e9))
        with (
            mock.patch("common.zmq.sockets.make", self.make),
            mock.patch("common.zmq.sockets.bind", self.bind),
            mock.patch("common.zmq.sockets.connect", self.connect),
            mock.patch("zmq.Poller", partial(Poller, self.clock)),
            mock.patch("common.zmq.control.time", time),
            mock.patch("common.zmq.actor_link.time", time),
            mock.patch("common.zmq.actor_link.hello", self._hello),
            mock.patch("learner.intake.time", time),
            mock.patch("actor.service.time", time),
        ):
            yield

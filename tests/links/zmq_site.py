"""ZeroMQ: the router in a thread of this process, with a clock that jumps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import zmq

from broker.registry import AWAY_AFTER_S
from common.errors import OperatorError
from common.keys import KeyHolder
from common.zmq import sockets
from common.zmq.ports import Ports
from common.zmq.transport import ZmqTransport
from tests.broker.live import LiveBroker, way_to
from tests.conftest import free_base_port
from tests.until import until


class ZmqSite:
    """A base port; see tests.links.site.Site."""

    lease_timeout_s = 60.0
    redelivery_s = 30.0
    silence_s = AWAY_AFTER_S
    weights_pass_the_broker = True

    def __init__(self) -> None:
        self._base_port = free_base_port()
        self._live: LiveBroker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._live is None

    @contextmanager
    def broker(self, *, units: int = 8, ahead: int = 64) -> Iterator[None]:
        with LiveBroker(self._base_port, units=units, ahead=ahead, lease_s=self.lease_timeout_s) as self._live:
            try:
                yield
            finally:
                self._live = None

    def transport(self, holder: KeyHolder) -> ZmqTransport:
        return way_to(self._base_port)

    def pass_time(self, seconds: float, turn: Callable[[], object]) -> None:
        assert self._live is not None
        self._live.clock.advance(seconds)

    def stranger(self, holder: KeyHolder, session: str) -> "ZmqStranger":
        return ZmqStranger(Ports("127.0.0.1", self._base_port), session)

    @contextmanager
    def impostor(self) -> Iterator["ZmqImpostor"]:
        impostor = ZmqImpostor()
        try:
            until(lambda: impostor.takes(Ports("127.0.0.1", self._base_port).control))
            yield impostor
        finally:
            impostor.close()


class ZmqStranger:
    """A socket for each channel that it has said something on; see tests.links.site.Stranger."""

    def __init__(self, ports: Ports, session: str) -> None:
        self._ports, self._session = ports, session
        self._sockets: dict[str, zmq.Socket[bytes]] = {}

    def say(self, envelope: bytes) -> None:
        self._to("control", zmq.DEALER).send(envelope)

    def hear(self) -> bytes:
        control = self._to("control", zmq.DEALER)
        assert control.poll(5000), "no answer"
        return control.recv_multipart()[0]

    def send_batch(self, agent: str, unit: int, envelope: bytes, body: bytes) -> None:
        self._to("experience", zmq.PUSH).send_multipart([envelope, body])

    def publish(self, agent: str, envelope: bytes, body: bytes) -> None:
        self._to("weights_in", zmq.PUB).send_multipart([agent.encode(), envelope, body])

    def log(self, frame: bytes) -> None:
        self._to("logs_in", zmq.PUB).send(frame)

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.close(linger=100)
        self._sockets.clear()

    def _to(self, channel: str, kind: int) -> "zmq.Socket[bytes]":
        if channel not in self._sockets:
            socket = self._sockets[channel] = sockets.make(zmq.Context.instance(), kind)
            if kind == zmq.DEALER:
                socket.setsockopt(zmq.ROUTING_ID, self._session.encode())
            socket.connect(getattr(self._ports, channel))
        return self._sockets[channel]


class ZmqImpostor:
    """A ROUTER where the broker's is; see tests.links.site.Impostor."""

    def __init__(self) -> None:
        self._control = sockets.make(zmq.Context.instance(), zmq.ROUTER)

    def takes(self, endpoint: str) -> bool:
        """Take the broker's place; False while the one before still has it."""
        try:
            sockets.bind(self._control, endpoint)
        except OperatorError:
            return False
        return True

    def heard(self) -> list[tuple[object, bytes]]:
        found: list[tuple[object, bytes]] = []
        while self._control.poll(0):
            peer, envelope = self._control.recv_multipart()[:2]
            found.append((peer, envelope))
        return found

    def say(self, peer: object, envelope: bytes) -> None:
        assert isinstance(peer, bytes)
        self._control.send_multipart([peer, envelope])

    def close(self) -> None:
        self._control.close(linger=0)

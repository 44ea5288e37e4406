"""A real router in a thread, and the way to it."""

import threading
import time

from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.router import Router
from common.errors import OperatorError
from common.session import new_session
from common.zmq.keys import BrokerKeys, PeerKeys
from common.zmq.ports import Ports
from common.zmq.transport import ZmqTransport
from tests.links.games import FewGames
from tests.links.peers import AGENTS, IDENTITY
from tests.until import PATIENCE_S, until


def way_to(base_port: int, keys: PeerKeys | None = None) -> ZmqTransport:
    """The way to a broker on this host."""
    return ZmqTransport(Ports("127.0.0.1", base_port, keys))


class JumpingClock:
    """The real clock, plus what a test jumps over."""

    def __init__(self) -> None:
        self.jumped_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.jumped_s

    def advance(self, seconds: float) -> None:
        self.jumped_s += seconds


class LiveBroker:
    """Router, dispatcher and feed, running in a thread; a context manager. It ends without a word to anybody."""

    def __init__(
        self,
        base_port: int,
        *,
        units: int = 8,
        ahead: int = 64,
        lease_s: float = 60.0,
        keys: BrokerKeys | None = None,
    ) -> None:
        self.clock = JumpingClock()
        self.dispatcher = Dispatcher(AGENTS, max_units_ahead=ahead, lease_timeout_s=lease_s, clock=self.clock)
        self.feed = UnitFeed(FewGames(units))
        self.session = new_session()
        self.router = Router(
            ports=Ports("127.0.0.1", base_port), dispatcher=self.dispatcher, feed=self.feed, identity=IDENTITY,
            session=self.session, software="0.1.0", keys=keys, clock=self.clock,
        )  # fmt: skip
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def __enter__(self) -> "LiveBroker":
        until(self._has_ports)
        self.feed.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the router hangs"
        self.feed.__exit__(None, None, None)
        self.router.__exit__(None, None, None)
        assert self.error is None, "the router has ended"

    def _has_ports(self) -> bool:
        try:
            self.router.__enter__()
        except OperatorError:  # a broker before it in this process lets go of them in its own time
            return False
        return True

    def _run(self) -> None:
        try:
            self.router.run(self._stopping.is_set)
        except BaseException as error:
            self.error = error

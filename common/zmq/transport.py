"""The embedded transport: ZeroMQ, straight to the broker's seven ports."""

from collections.abc import Callable
from dataclasses import dataclass

from common.messages import Hello
from common.zmq.actor_link import ZmqActorLink
from common.zmq.collector_link import ZmqCollectorLink
from common.zmq.learner_link import ZmqLearnerLink
from common.zmq.log_outlet import ZmqLogOutlet
from common.zmq.operator_link import ZmqOperatorLink
from common.zmq.ports import Ports


@dataclass(frozen=True, slots=True)
class ZmqTransport:
    """Reaches a broker at its ports, with one process's keys; see `common.links.Transport`."""

    ports: Ports

    @property
    def address(self) -> str:
        """The broker's address, as told to people: that of the control channel."""
        return self.ports.control

    def actor(self, name: str, session: str, identity: dict[str, str]) -> ZmqActorLink:
        """Return an actor's link."""
        return ZmqActorLink(self.ports, name, session, identity)

    def learner(self, agent: str, session: str, make_hello: Callable[[], Hello]) -> ZmqLearnerLink:
        """Return a learner's link."""
        return ZmqLearnerLink(self.ports, agent, session, make_hello)

    def collector(self, name: str, session: str) -> ZmqCollectorLink:
        """Return a log collector's link."""
        return ZmqCollectorLink(self.ports, name, session)

    def operator(self) -> ZmqOperatorLink:
        """Return an operator's link."""
        return ZmqOperatorLink(self.ports)

    def log_outlet(self) -> ZmqLogOutlet:
        """Return where log records go out."""
        return ZmqLogOutlet(self.ports)

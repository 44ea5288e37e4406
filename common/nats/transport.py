"""The transport onto a NATS cluster with JetStream: streams, an object store, and subjects for control."""

from collections.abc import Callable
from dataclasses import dataclass

from common.messages import Hello
from common.nats.actor_link import NatsActorLink
from common.nats.collector_link import NatsCollectorLink
from common.nats.learner_link import NatsLearnerLink
from common.nats.log_outlet import NatsLogOutlet
from common.nats.operator_link import NatsOperatorLink
from common.nats.way import NatsWay


@dataclass(frozen=True, slots=True)
class NatsTransport:
    """Reaches a run on NATS, with one process's credentials; see `common.links.Transport`."""

    way: NatsWay

    @property
    def address(self) -> str:
        """The servers, as told to people."""
        return str(self.way.address)

    def actor(self, name: str, session: str, identity: dict[str, str]) -> NatsActorLink:
        """Return an actor's link."""
        return NatsActorLink(self.way, name, session, identity)

    def learner(self, agent: str, session: str, make_hello: Callable[[], Hello]) -> NatsLearnerLink:
        """Return a learner's link."""
        return NatsLearnerLink(self.way, agent, session, make_hello)

    def collector(self, name: str, session: str) -> NatsCollectorLink:
        """Return a log collector's link."""
        return NatsCollectorLink(self.way, name, session)

    def operator(self) -> NatsOperatorLink:
        """Return an operator's link."""
        return NatsOperatorLink(self.way)

    def log_outlet(self) -> NatsLogOutlet:
        """Return where log records go out."""
        return NatsLogOutlet(self.way)

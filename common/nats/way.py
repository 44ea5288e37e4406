"""How one process reaches its run on NATS: where, under which names, as whom. Every link is made of one."""

from dataclasses import dataclass
from typing import Any

from common.keys import KeyHolder
from common.nats.address import NatsAddress
from common.nats.channel import NatsChannel, Serve
from common.nats.login import NOBODY, NatsLogin
from common.nats.names import NatsNames


@dataclass(frozen=True, slots=True)
class NatsWay:
    """The way of one process to its run."""

    address: NatsAddress
    names: NatsNames
    holder: KeyHolder
    """As whom the process goes: the server lets it publish and hear what that one may."""
    login: NatsLogin = NOBODY
    renew_after_s: float = 0.0
    """How long an actor leaves a lease alone that it has renewed: each renewal is a message to the servers, which
    they write to disk and tell each other."""

    def channel(
        self, serve: Serve, purpose: str, *, events_max: int = 1000, quiet: bool = False
    ) -> NatsChannel[Any]:
        """Return a channel that is to be started; `purpose` tells the server's operator what it is for."""
        return NatsChannel(
            self.address, serve, name=f"{self.names.namespace} {self.holder.service} {purpose}",
            inbox=self.names.inbox(self.holder), login=self.login, events_max=events_max, quiet=quiet,
        )  # fmt: skip

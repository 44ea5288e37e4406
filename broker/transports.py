"""The broker of each transport, made from the settings: decided here, and nowhere else."""

import hashlib
import json
import logging
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from broker.desk import Desk
from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.router import Router
from broker.sources import fingerprint
from broker.stream_dispatcher import StreamDispatcher
from common.keys import BROKER
from common.security import OWN_SERVER, ZMQ, listen, nats_way
from common.settings import Settings, identity
from common.words import AgentName

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.nats_broker import NatsBroker

log = logging.getLogger(__name__)


class Broker(Protocol):
    """A broker on some transport: a context manager, used by one thread."""

    desk: Desk

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    @property
    def works(self) -> bool:
        """Whether it has all that it needs, or stands by for another broker."""

    def run(self, stopping: "Callable[[], bool]") -> None:
        """Work until `stopping`."""

    def reread_keys(self) -> None:
        """Read the list of allowed keys anew, where that is the broker's."""


def make_broker(settings: Settings, session: str, feed: UnitFeed, *, discard: bool = False) -> Broker:
    """Return the broker of the transport that the settings choose.

    `discard` has it throw away what another run has left on the transport. Raises SettingsError as
    `common.security.listen` and `reach` do.
    """
    if settings.transport != ZMQ:
        return _on_nats(settings, session, feed, discard=discard)
    ports, keys = listen(settings)
    log.info(
        "listening", extra={"address": settings.bind, "base_port": settings.base_port, "secure": keys is not None}
    )
    return Router(
        ports=ports,
        dispatcher=Dispatcher(
            _agents(settings),
            max_units_ahead=settings.max_units_ahead,
            lease_timeout_s=settings.lease_timeout_s,
            clock=time.monotonic,
        ),
        feed=feed,
        identity=identity(settings),
        session=session,
        software=version("rookery"),
        keys=keys,
    )


def _on_nats(settings: Settings, session: str, feed: UnitFeed, *, discard: bool) -> "NatsBroker":
    way = nats_way(settings, BROKER)
    from broker.nats_broker import NatsBroker  # with the extra `nats`
    from common.nats.plan import NatsPlan
    from common.nats.seat import ASK_S

    own = settings.transport == OWN_SERVER  # of which no other broker knows
    agents = _agents(settings)
    return NatsBroker(
        way=way,
        plan=NatsPlan(
            names=way.names,
            agents=agents,
            max_units_ahead=settings.max_units_ahead,
            lease_timeout_s=settings.lease_timeout_s,
            replicas=settings.replicas,
            run_id=run_id(settings),
        ),
        dispatcher=StreamDispatcher(
            agents,
            max_units_ahead=settings.max_units_ahead,
            lease_timeout_s=settings.lease_timeout_s,
            clock=time.monotonic,
        ),
        feed=feed,
        identity=identity(settings),
        session=session,
        software=version("rookery"),
        secure=settings.keys is not None,
        discard=discard,
        leases_over=own,
        ask_s=0.0 if own else ASK_S,
    )


def run_id(settings: Settings) -> str:
    """Return what tells a run from others: 16 hexadecimal digits, of what is learned from which games."""
    games = [fingerprint(Path(source)).sha256 for source in settings.games]
    told = json.dumps([identity(settings), games], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _agents(settings: Settings) -> list[AgentName]:
    return [AgentName(agent.name) for agent in settings.agents]

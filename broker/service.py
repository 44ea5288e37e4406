"""The broker's wiring: sources → feed → dispatcher → router. Keeps no state on disk."""

import logging
import time
from importlib.metadata import version

from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.router import Router
from broker.sources import check
from broker.units import UnitReader
from common.errors import SourceError
from common.ports import Ports
from common.process import Process
from common.settings import Settings, identity
from common.words import AgentName

log = logging.getLogger(__name__)


def serve(settings: Settings, process: Process) -> None:
    """Route until told to stop."""
    if not settings.games:
        raise SourceError("no games: name PGN files as arguments or as `games` in the settings file")
    for source in settings.games:
        check(source)
    dispatcher = Dispatcher(
        [AgentName(agent.name) for agent in settings.agents],
        max_units_ahead=settings.max_units_ahead,
        lease_timeout_s=settings.lease_timeout_s,
        clock=time.monotonic,
    )
    reader = UnitReader(settings.games, games_per_unit=settings.games_per_unit, limit_games=settings.limit_games)
    ports = Ports(host=settings.bind, base_port=settings.base_port)
    with (
        Router(
            ports=ports,
            dispatcher=dispatcher,
            feed=(feed := UnitFeed(reader)),
            identity=identity(settings),
            session=process.session,
            software=version("rookery"),
        ) as router,
        feed,
    ):
        log.info("listening", extra={"address": settings.bind, "base_port": settings.base_port})
        router.run(lambda: bool(process.stopping))

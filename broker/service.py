"""The broker's wiring: sources → feed → dispatcher → router. Keeps no state on disk."""

import logging
import resource
import time
from importlib.metadata import version

from broker.dispatcher import Dispatcher
from broker.feed import UnitFeed
from broker.router import Router
from broker.sources import check
from broker.units import UnitReader
from common.errors import SourceError
from common.messages import Status
from common.process import Process
from common.security import listen
from common.settings import Settings, identity
from common.words import AgentName

log = logging.getLogger(__name__)


def serve(settings: Settings, process: Process) -> None:
    """Route until told to stop."""
    files_max = raise_file_limit()
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
    ports, keys = listen(settings)
    with (
        Router(
            ports=ports,
            dispatcher=dispatcher,
            feed=(feed := UnitFeed(reader)),
            identity=identity(settings),
            session=process.session,
            software=version("rookery"),
            keys=keys,
        ) as router,
        feed,
    ):
        log.info(
            "listening",
            extra={
                "address": settings.bind,
                "base_port": settings.base_port,
                "files_max": files_max,
                "secure": keys is not None,
            },
        )
        process.reload.call(lambda _: router.reread_keys())
        process.ready()

        def turn() -> bool:
            process.turn(lambda: _summary(router.desk.status()))
            return bool(process.stopping)

        router.run(turn)


def _summary(status: Status) -> str:
    units = "?" if status.units_total is None else status.units_total
    agents = ", ".join(f"{agent.name} trained on {agent.units_trained}/{units}" for agent in status.agents)
    return f"{len(status.services)} services; units: {agents}; {status.bottleneck}"


def raise_file_limit() -> int:
    """Let this process open as many files as it may, and return how many: each actor's connections take four.

    Where no more can be taken in, ZeroMQ would ask the kernel for the waiting one again and again.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:  # macOS takes no "unlimited"
            log.warning("file limit not raised", extra={"files_max": soft, "reason": str(error)})
            return soft
    return hard

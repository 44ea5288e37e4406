"""The broker's wiring: sources → feed → the transport's broker. Keeps no state on disk."""

import logging
import resource

from broker.feed import UnitFeed
from broker.sources import check
from broker.transports import make_broker
from broker.units import UnitReader
from common.errors import SourceError
from common.messages import Status
from common.process import Process
from common.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, process: Process, *, discard: bool = False) -> None:
    """Hand out units until told to stop; `discard` throws away what another run has left on the transport."""
    log.info("file limit", extra={"files_max": raise_file_limit()})
    if not settings.games:
        raise SourceError("no games: name PGN files as arguments or as `games` in the settings file")
    for source in settings.games:
        check(source)
    reader = UnitReader(settings.games, games_per_unit=settings.games_per_unit, limit_games=settings.limit_games)
    feed = UnitFeed(reader)
    with make_broker(settings, process.session, feed, discard=discard) as broker, feed:
        process.reload.call(lambda _: broker.reread_keys())
        is_ready = False

        def turn() -> bool:
            nonlocal is_ready
            if broker.works and not is_ready:
                is_ready = True
                process.ready()
            process.turn(lambda: _summary(broker.desk.status()))
            return bool(process.stopping)

        broker.run(turn)


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

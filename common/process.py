"""What every service process does first and last: logging set up, signals caught, the end logged."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common.errors import RookeryError, SettingsError
from common.logs import Logging, spool_path
from common.ports import Ports
from common.settings import Settings
from common.signals import StopSignal
from common.zmq_links import new_session

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9@_-][A-Za-z0-9@._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Process:
    """A service's process while it runs."""

    name: str
    session: str
    ports: Ports
    stopping: StopSignal


@contextmanager
def service(settings: Settings, name: str, *, supervised: bool) -> Iterator[Process]:
    """Set a service process up; on the way out, log what ended it and flush the logs.

    A supervised service leaves the console to its supervisor.
    """
    check_name(name)
    stopping = StopSignal()
    session = new_session()
    ports = Ports(host=settings.broker, base_port=settings.base_port)
    with Logging(
        service=name,
        session=session,
        level=settings.log_level,
        ports=ports,
        spool=spool_path(settings.directory, name),
        console=not supervised,
    ):
        log.info("started", extra={"settings": settings, "supervised": supervised})
        try:
            yield Process(name=name, session=session, ports=ports, stopping=stopping)
        except RookeryError as error:
            log.error("ended with an error", extra={"reason": str(error)})
            raise
        except Exception:
            log.critical("internal error", exc_info=True)
            raise
        log.info("stopped")


def check_name(name: str) -> None:
    """Raise SettingsError for a name that can't go by the wire and into file names."""
    if not _NAME.fullmatch(name):
        raise SettingsError(f"--name {name!r}: up to 100 letters, digits and @ . _ -, not beginning with a dot")

"""What every service process does first and last: logging set up, signals caught, systemd told, the end logged."""

import faulthandler
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common.errors import RookeryError, SettingsError
from common.keys import KeyHolder
from common.links import Transport
from common.logs import Logging, spool_path
from common.notify import Notifier
from common.reload import Reload
from common.security import reach
from common.session import new_session
from common.settings import Settings
from common.signals import ReloadSignal, StopSignal
from common.verbosity import Verbosity
from common.words import NAME, NAME_RULE

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Process:
    """A service's process while it runs. Its main loop calls `turn` each time round, and `ready` once it works."""

    name: str
    session: str
    transport: Transport
    stopping: StopSignal
    notifier: Notifier
    reload: Reload

    def ready(self) -> None:
        """Say, to systemd and the logs, that the service works."""
        self.notifier.ready()
        log.info("ready")

    def turn(self, status: Callable[[], str]) -> None:
        """Note that the main loop gets on: the watchdog is fed, and a reload that was asked for is done.

        `status` returns a line on how the service fares, for `systemctl status`.
        """
        self.notifier.turn(status)
        if self.stopping:
            self.notifier.stopping()
        if self.reload.asked:
            self.notifier.reloading()
            self.reload.apply()
            self.notifier.ready()


@contextmanager
def service(
    settings: Settings,
    holder: KeyHolder,
    *,
    supervised: bool,
    reread: Callable[[], Settings],
    verbosity: Verbosity = Verbosity.NORMAL,
) -> Iterator[Process]:
    """Set a service process up; on the way out, log what ended it and flush the logs.

    A supervised service leaves the console to its supervisor. `reread` returns the settings anew at a reload.
    """
    process = begin(settings, holder, reread)
    name = process.name
    with Logging(
        service=name,
        session=process.session,
        level=settings.log_level,
        transport=process.transport,
        spool=spool_path(settings.directory, name),
        console=not supervised,
        verbosity=verbosity,
        trace=settings.trace,
    ):
        log.info("started", extra={"settings": settings, "supervised": supervised})
        try:
            yield process
        except RookeryError as error:
            log.error("ended with an error", extra={"reason": str(error)})
            raise
        except Exception:
            log.critical("internal error", exc_info=True)
            raise
        finally:
            process.notifier.stopping()
        log.info("stopped")


def begin(settings: Settings, holder: KeyHolder, reread: Callable[[], Settings]) -> Process:
    """Catch the signals, and find out who is to be told what; raise SettingsError for a name that is none.

    `holder` is whose key the process goes by, and so its name.
    """
    name = holder.service
    check_name(name)
    transport = reach(settings, holder)
    stopping = StopSignal()
    reload = Reload(settings, reread, ReloadSignal())
    notifier = Notifier.from_environment()
    if notifier.watched:
        faulthandler.enable()  # SIGABRT, which the watchdog sends, then prints where each thread hangs
    return Process(name, new_session(), transport, stopping, notifier, reload)


def check_name(name: str) -> None:
    """Raise SettingsError for a name that can't go by the wire and into file names."""
    if not NAME.fullmatch(name):
        raise SettingsError(f"--name {name!r}: {NAME_RULE}")

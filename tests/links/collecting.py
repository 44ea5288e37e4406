"""The log collector's own loop in a thread, and services that ship their records to it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.logs import collect
from common.errors import RookeryError
from common.keys import KeyHolder
from common.links import Transport
from common.log_lines import read_log_lines
from common.logs import ShippingHandler, spool_path
from common.messages import Role
from common.notify import Notifier
from common.process import Process
from common.reload import Reload
from common.session import new_session
from common.settings import Settings

COLLECTOR = KeyHolder(Role.COLLECTOR, "logs")
SERVICE = "actor-0"
log = logging.getLogger("tests.links.service")
"""What the service says, and nobody else in this process."""
log.propagate = False
log.setLevel(logging.INFO)


class Stop:
    """A stop signal without signals."""

    def __init__(self) -> None:
        self.told = False

    def __bool__(self) -> bool:
        return self.told


def process(settings: Settings, transport: Transport, stop: Stop) -> Process:
    """The collector's process, without signals and systemd."""
    return Process(
        "logs", new_session(), transport, stop, Notifier(None), Reload(settings, lambda: settings, Stop())
    )


class Collecting:
    """The collector of a run directory; a context manager."""

    def __init__(self, run: Path, transport: Transport) -> None:
        self.stop = Stop()
        self.error: RookeryError | None = None
        self._run_directory, self._transport = run, transport
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        settings = Settings(run=str(self._run_directory))
        try:
            collect(settings, process(settings, self._transport, self.stop), "CRITICAL")
        except RookeryError as error:
            self.error = error

    def __enter__(self) -> "Collecting":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.told = True
        self.join()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(10.0)
        assert self.ended


@contextmanager
def shipping(run: Path, transport: Transport, session: str = "5e55") -> Iterator[ShippingHandler]:
    """Have what `log` is told shipped, as a service's records are."""
    handler = ShippingHandler(transport.log_outlet, f"{SERVICE}.{session}", spool_path(run, SERVICE))
    log.addHandler(handler)
    try:
        yield handler
    finally:
        log.removeHandler(handler)
        handler.close()


def say(count: int) -> None:
    for number in range(count):
        log.info("counted", extra={"n": number})


def records(run: Path, session: str = "5e55") -> list[int]:
    """Numbers of a session's records in the collector's file, as they stand."""
    lines = read_log_lines(run / "logs/rookery.jsonl")
    return [line.number for line in lines if line.source == f"{SERVICE}.{session}" and line.number is not None]

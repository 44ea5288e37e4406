"""`rookery-logs`: the log collector, every service's every record into one file."""

import math
import sys
import time
from contextlib import suppress
from typing import Any

import click

from broker.collector import Collector
from common.errors import OperatorError
from common.keys import KeyHolder
from common.links import CollectorLink
from common.log_lines import line_of
from common.log_text import text_of
from common.logs import TRACE, Logging, spool_path
from common.messages import LogRecord, Role
from common.options import run, settings_from, settings_options
from common.process import Process, begin
from common.settings import Settings
from common.verbosity import Verbosity, verbosity_options

REPORT_INTERVAL_S = 1.0
QUIET_S = 0.3
"""Told to stop, the collector goes on until nothing has come for this long …"""
DRAIN_S = 5.0
"""… or until this long has passed."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options
@click.option("--name", metavar="NAME", default="logs", help="Name of this collector. [default: logs]")
@click.option(
    "--console", metavar="LEVEL", type=click.Choice([level.lower() for level in LEVELS]),
    help="Least severe level shown here. [default: warning]",
)  # fmt: skip
@verbosity_options
@click.option("--supervised", is_flag=True, hidden=True)
def logs(name: str, console: str | None, supervised: bool, verbosity: Verbosity, **flags: Any) -> None:
    """Collect every service's log records into DIR/logs/rookery.jsonl, and its spans into trace.jsonl beside it.

    Example:  rookery-logs --settings rookery.toml --log-files
    """
    settings = settings_from(flags)
    process = begin(settings, KeyHolder(Role.COLLECTOR, name), lambda: settings_from(flags))
    # A collector's own records go to its console only: it can't be sure to take them.
    with Logging(
        service=name, session=process.session, level=settings.log_level, transport=None,
        spool=spool_path(settings.directory, name), console=not supervised, verbosity=verbosity,
    ):  # fmt: skip
        collect(settings, process, None if supervised else (console or verbosity.level("warning")).upper())


def collect(settings: Settings, process: Process, console: str | None) -> None:
    """Collect until told to stop and nothing more comes."""
    directory = settings.directory / "logs"
    try:
        collector = Collector(directory, per_service=settings.log_files)
        link = process.transport.collector(process.name, process.session)
        process.ready()
        try:
            _collect(link, collector, process, console)
        finally:
            process.notifier.stopping()
            link.close()
            _close(collector)
    except OSError as error:
        raise OperatorError(f"can't write logs to {directory}: {error.strerror}; check --run") from error


def _close(collector: Collector) -> None:
    """Close the files; on a disk that takes nothing, what waits in memory is lost and said to be."""
    try:
        collector.close()
    except OSError as error:
        _say(f"the last records are lost: {error.strerror}")


def _collect(link: CollectorLink, collector: Collector, process: Process, console: str | None) -> None:
    told: dict[str, int] = {}
    trouble = _NotWritten()
    now_s = reported_s = came_s = time.monotonic()
    end_s = math.inf
    while now_s < min(end_s, came_s + QUIET_S if process.stopping else math.inf):
        process.turn(lambda: f"{collector.records} records, {collector.missing} missing")
        records = link.poll(0.1)
        now_s = time.monotonic()
        if records:
            came_s = now_s
        if process.stopping:
            end_s = min(end_s, now_s + DRAIN_S)
        for record in records:
            if collector.take(record) and console is not None:
                _show(record, console)
        if now_s - reported_s >= REPORT_INTERVAL_S:
            reported_s = now_s
            told = _report(link, collector, told, trouble)
    _report(link, collector, told, trouble)


class _NotWritten:
    """Tells once that the disk takes nothing, and once that it does again."""

    def __init__(self) -> None:
        self._told = False

    def again(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            _say(
                f"records can't be written: {error.strerror}; they wait in memory until there is no room there, too"
            )

    def over(self, collector: Collector) -> None:
        if self._told:
            self._told = False
            _say(f"records are written again; {collector.dropped} were dropped since the start")


def _report(
    link: CollectorLink, collector: Collector, told: dict[str, int], trouble: _NotWritten
) -> dict[str, int]:
    """Write through, and report; return the gaps that are told now."""
    try:
        collector.flush()
        trouble.over(collector)
    except OSError as error:
        trouble.again(error)
    link.report(collector.records, collector.missing)
    missing = collector.missing_by_source()
    for source, count in missing.items():
        if count > told.get(source, 0):
            _say(f"{count} records of {source} are missing")
    return missing


def _say(line: str) -> None:
    with suppress(OSError):  # the console may be a file on the very disk that is full
        click.echo(f"rookery-logs: {line}", err=True)


def _show(record: LogRecord, level: str) -> None:
    if record.logger != TRACE and LEVELS.index(record.level) >= LEVELS.index(level):
        with suppress(OSError):
            click.echo(text_of(line_of(record)), file=sys.stderr)


def main() -> None:
    """Run the command."""
    run(logs, "rookery-logs")


if __name__ == "__main__":
    main()

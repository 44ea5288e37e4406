"""`rookery-logs`: the log collector, every service's every record into one file."""

import math
import sys
import time
from typing import Any

import click

from broker.collector import Collector, to_line
from common.errors import OperatorError
from common.messages import LogRecord
from common.options import run, settings_from, settings_options
from common.ports import Ports
from common.process import check_name
from common.settings import Settings
from common.signals import StopSignal
from common.zmq_links import ZmqCollectorLink, new_session

REPORT_INTERVAL_S = 1.0
QUIET_S = 0.3
"""Told to stop, the collector goes on until nothing has come for this long …"""
DRAIN_S = 5.0
"""… or until this long has passed."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options
@click.option("--name", default="logs", help="Name of this collector. [default: logs]")
@click.option(
    "--console", default="warning", metavar="LEVEL", type=click.Choice([level.lower() for level in LEVELS]),
    help="Least severe level shown here. [default: warning]",
)  # fmt: skip
@click.option("--supervised", is_flag=True, hidden=True)
def logs(name: str, console: str, supervised: bool, **flags: Any) -> None:
    """Collect every service's log records into DIR/logs/rookery.jsonl.

    Example:  rookery-logs --settings rookery.toml --log-files
    """
    settings = settings_from(flags)
    check_name(name)
    collect(settings, name, StopSignal(), None if supervised else console.upper())


def collect(settings: Settings, name: str, stopping: StopSignal, console: str | None) -> None:
    """Collect until told to stop and nothing more comes."""
    ports = Ports(host=settings.broker, base_port=settings.base_port)
    directory = settings.directory / "logs"
    try:
        collector = Collector(directory, per_service=settings.log_files)
        link = ZmqCollectorLink(ports, name, new_session())
        try:
            _collect(link, collector, stopping, console)
        finally:
            link.close()
            collector.close()
    except OSError as error:
        raise OperatorError(f"can't write logs to {directory}: {error.strerror}; check --run") from error


def _collect(link: ZmqCollectorLink, collector: Collector, stopping: StopSignal, console: str | None) -> None:
    told: dict[str, int] = {}
    now_s = reported_s = came_s = time.monotonic()
    end_s = math.inf
    while now_s < min(end_s, came_s + QUIET_S if stopping else math.inf):
        records = link.poll(0.1)
        now_s = time.monotonic()
        if records:
            came_s = now_s
        if stopping:
            end_s = min(end_s, now_s + DRAIN_S)
        for record in records:
            if collector.take(record) and console is not None:
                _show(record, console)
        if now_s - reported_s >= REPORT_INTERVAL_S:
            reported_s = now_s
            told = _report(link, collector, told)
    _report(link, collector, told)


def _report(link: ZmqCollectorLink, collector: Collector, told: dict[str, int]) -> dict[str, int]:
    """Write through, and report; return the gaps that are told now."""
    collector.flush()
    link.report(collector.records, collector.missing)
    missing = collector.missing_by_source()
    for source, count in missing.items():
        if count > told.get(source, 0):
            click.echo(f"rookery-logs: {count} records of {source} are missing", err=True)
    return missing


def _show(record: LogRecord, level: str) -> None:
    if LEVELS.index(record.level) >= LEVELS.index(level):
        click.echo(to_line(record), file=sys.stderr)


def main() -> None:
    """Run the command."""
    run(logs, "rookery-logs")


if __name__ == "__main__":
    main()

"""The dashboard of `rookery up`: its options, where it is served, and how it is started beside the services."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from common.errors import OperatorError, SettingsError
from common.settings import Settings
from deploy.checks import port_is_free
from deploy.supervisor import Supervised
from watch.dashboard_command import LOOPBACK, check_installed, default_port

F = TypeVar("F", bound=Callable[..., Any])

NAME = "dashboard"


def dashboard_options(function: F) -> F:
    """Give a command `--dashboard` and `--dashboard-port`; it gets them as keyword arguments."""
    function = click.option(
        "--dashboard-port", type=click.IntRange(1, 65535), metavar="N",
        help="Port of that page, on this machine alone. [default: the base port + 10]",
    )(function)  # fmt: skip
    return click.option(
        "--dashboard", is_flag=True, help="Serve a page that shows the run live; its address is printed."
    )(function)


def port_of(settings: Settings, wanted: bool, port: int | None) -> int | None:
    """Return where the run's page is to be served; None for none. Raises OperatorError where it can't be."""
    if not wanted and port is None:
        return None
    if settings.sequential:
        raise SettingsError("--dashboard: a sequential run has no broker to watch; leave one of the two out")
    check_installed()
    port = port or default_port(settings)
    if not port_is_free(LOOPBACK, port):
        raise OperatorError(f"port {port} is taken, where the dashboard should be: choose another --dashboard-port")
    return port


def address(port: int) -> str:
    """Return the address of the page."""
    return f"http://{LOOPBACK}:{port}"


def supervised(run: Path, settings_file: Path, port: int) -> Supervised:
    """Return the dashboard as a service, without which the others go on if it can't be kept running."""
    return Supervised(
        name=NAME,
        module="watch.dashboard_command",
        arguments=("--settings", str(settings_file), "--run", str(run), "--port", str(port), "--supervised"),
        stderr=run / "logs" / f"{NAME}.stderr",
        optional=True,
    )

"""`rookery dashboard`: a run's dashboard as a page, its metrics for Prometheus."""

import os
import secrets
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click

from common.errors import OperatorError, RunDirectoryError, SettingsError
from common.logs import Logging, spool_path
from common.options import run, settings_of_flags
from common.process import begin
from common.security import is_loopback, operator_of
from common.settings import Settings, help_of
from common.verbosity import Verbosity, verbosity_options

F = TypeVar("F", bound=Callable[..., Any])

LOOPBACK = "127.0.0.1"
NEEDED = ("chess", "numpy", "prometheus_client", "starlette", "uvicorn")
"""What the extra `dashboard` brings."""
PORT_OFFSET = 10
"""The dashboard's port after the broker's first, unless --port is given."""
MAX_PORT = 65_535
MIN_PASSWORD = 16


def _setting(name: str, metavar: str = "TEXT") -> Callable[[F], F]:
    return click.option(f"--{name.replace('_', '-')}", metavar=metavar, help=help_of(name))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--settings", "settings_file", type=click.Path(path_type=Path, dir_okay=False),
    help="Settings of the run. [default: settings.toml in --run, if there is one]",
)  # fmt: skip
@_setting("run", "DIR")
@_setting("broker")
@_setting("base_port", "N")
@_setting("keys", "DIR")
@_setting("operator")
@click.option("--insecure", is_flag=True, default=None, help="Reach a broker off loopback without keys.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the page. [default: the run's base port + 10]")
@click.option(
    "--bind", "listen_on", default=LOOPBACK, metavar="ADDRESS",
    help="Address of the page; off loopback a password is needed. [default: 127.0.0.1]",
)  # fmt: skip
@click.option(
    "--host-name", "host_names", multiple=True, metavar="NAME",
    help="A name that the page is also reached by: of this host, or of a proxy before it; a password is needed "
    "then. Can be repeated.",
)  # fmt: skip
@click.option(
    "--password-file", type=click.Path(path_type=Path, dir_okay=False),
    help="File whose first line is the password. [default where one is needed: one is drawn, and printed]",
)  # fmt: skip
@click.option("--allow-orders", is_flag=True, help="Take orders from other hosts, too; needs the operator's key.")
@verbosity_options
@click.option("--supervised", is_flag=True, hidden=True)
def dashboard(
    port: int | None,
    listen_on: str,
    host_names: tuple[str, ...],
    password_file: Path | None,
    allow_orders: bool,
    supervised: bool,
    verbosity: Verbosity,
    **flags: Any,
) -> None:
    """Serve a run's dashboard: a page that shows it live, and /metrics for Prometheus.

    Run it beside the log collector, whose files in DIR/logs it reads.

    Example:  rookery dashboard --run runs/first --port 8080
    """
    check_installed()
    from watch.dashboard import serve_dashboard
    from watch.guard import Access

    settings = settings_of_flags(flags)
    if not settings.directory.is_dir():
        raise RunDirectoryError(
            f"{settings.directory}: no such directory; name the --run whose logs are collected here"
        )
    if allow_orders and settings.keys is None:
        raise SettingsError("--allow-orders: orders from other hosts take the operator's key: give --keys DIR")
    access = Access(
        bind=listen_on, host_names=host_names, password=_password(listen_on, host_names, password_file),
        allow_orders=allow_orders,
    )  # fmt: skip
    if port is None:
        port = default_port(settings)
    process = begin(settings, operator_of(settings), lambda: settings_of_flags(flags))
    if os.isatty(0):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # typed by hand, it ends with its terminal
    # Its own records go to its console only: it takes no part in the run that it shows.
    with Logging(
        service="dashboard", session=process.session, level=settings.log_level, transport=None,
        spool=spool_path(settings.directory, "dashboard"), verbosity=verbosity,
    ):  # fmt: skip
        serve_dashboard(
            settings,
            process,
            process.transport.operator,
            access,
            port,
            None if supervised else click.echo,
            show_password=password_file is None,
        )


def check_installed() -> None:
    """Raise OperatorError, which says what to install, where the dashboard's packages are missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise OperatorError(f"the dashboard needs {', '.join(missing)}: pip install 'rookery[dashboard]'")


def default_port(settings: Settings) -> int:
    """Return the dashboard's port where none is given; raises SettingsError where no such port is."""
    port = settings.base_port + PORT_OFFSET
    if port > MAX_PORT:
        raise SettingsError(f"port {port} is none: give the dashboard a port of its own")
    return port


def _password(listen_on: str, host_names: tuple[str, ...], file: Path | None) -> str | None:
    """Return the password: of the file, else one that is drawn where others than this host's users may come."""
    if file is not None:
        return _password_in(file)
    return None if is_loopback(listen_on) and not host_names else secrets.token_urlsafe(24)


def _password_in(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--password-file {file}: can't be read: {error}") from error
    password = lines[0].strip() if lines else ""
    if len(password) < MIN_PASSWORD or not password.isascii() or not password.isprintable() or " " in password:
        raise SettingsError(
            f"--password-file {file}: the first line must have {MIN_PASSWORD} characters or more, of ASCII and "
            f"without spaces: `openssl rand -hex 16 > {file}` makes one"
        )
    return password


def main() -> None:
    """Run the command."""
    run(dashboard, "rookery dashboard")


if __name__ == "__main__":
    main()

"""`rookery systemd SERVICE`: prints a service's systemd unit, filled in for this host."""

import pwd
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import click

from common.errors import OperatorError, SettingsError
from common.nats.server import find_server
from common.settings import Settings, read_file
from common.whole_file import explained, whole_file
from deploy.systemd_unit import NATS, STANDARD, STATE_ROOT, Places, ServiceKind, fill_in
from watch.dashboard_command import check_installed

UNITS = Path("/etc/systemd/system")


@click.command("systemd", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("service", type=click.Choice([kind.value for kind in ServiceKind]))
@click.option(
    "--settings", "settings_file", type=click.Path(path_type=Path),
    help=f"The settings file; nats: the server's configuration. [default: {STANDARD.settings}, {NATS.settings}]",
)  # fmt: skip
@click.option("--user", metavar="NAME", help=f"Whom the service runs as. [default: {STANDARD.user}]")
@click.option(
    "--directory", type=click.Path(path_type=Path),
    help=f"The run directory; nats: its store. [default: {STANDARD.directory}, {NATS.directory}]",
)  # fmt: skip
@click.option(
    "--commands", type=click.Path(path_type=Path), help="Where rookery-broker, or nats-server, is. [default: here]"
)
@click.option(
    "--to", type=click.Path(path_type=Path, file_okay=False), help=f"Write it there under its own name: to {UNITS}."
)
def systemd(
    service: str,
    settings_file: Path | None,
    user: str | None,
    directory: Path | None,
    commands: Path | None,
    to: Path | None,
) -> None:
    """Print the unit of broker, logs, learner, actor, dashboard, or the target of all services on this host.

    Each starts once it works, is killed and started again where it hangs, drains when stopped, reads its settings
    again on reload, and sees and can do no more than it needs. What is missing here yet is said on standard error.

    nats is a server of a NATS cluster, with the configuration that `rookery keys init --nats` writes, or your own.

    Example:  rookery systemd actor --to /etc/systemd/system
    """
    kind = ServiceKind(service)
    places = Places(
        commands=_commands(commands, kind),
        settings=settings_file.absolute() if settings_file else kind.standard.settings,
        directory=directory.absolute() if directory else kind.standard.directory,
        user=_user(user),
    )
    settings = None
    if kind is not ServiceKind.NATS and (settings_file or places.settings.exists()):
        settings = read_file(places.settings)
    unit = f"# {UNITS / kind.file_name}\n{fill_in(kind, places, settings)}"
    if to is None:
        click.echo(unit, nl=False)
    else:
        with whole_file(to / kind.file_name) as file, explained(to / kind.file_name):
            file.write(unit.encode())
    for note in _notes(kind, places, settings):
        click.echo(f"note: {note}", err=True)


def _commands(given: Path | None, kind: ServiceKind) -> Path:
    if given:
        found = given.absolute()
    else:
        found = Path(find_server()).parent if kind is ServiceKind.NATS else Path(sysconfig.get_path("scripts"))
    if kind.program is not None and not (found / kind.program).is_file():
        raise OperatorError(f"no {kind.program} in {found}; say where it is with --commands")
    return found


def _user(given: str | None) -> str:
    if given is not None:
        try:
            pwd.getpwnam(given)
        except KeyError:
            raise SettingsError(f"--user: no user {given!r} on this host; make it, or name another") from None
    return given or STANDARD.user


def _notes(kind: ServiceKind, places: Places, settings: Settings | None) -> Iterator[str]:
    """Yield what has to be done before the unit can be started, and how to start it."""
    try:
        pwd.getpwnam(places.user)
    except KeyError:
        yield f"no user {places.user!r} yet: useradd --system --home-dir {places.directory} {places.user}"
    if kind is ServiceKind.NATS:
        yield from _notes_on_nats(places)
    elif settings is None:
        yield f"no {places.settings} yet: write it, or give another with --settings"
    elif kind is ServiceKind.BROKER and not settings.games:
        yield f"{places.settings} names no games"
    if kind is ServiceKind.DASHBOARD:
        try:
            check_installed()
        except OperatorError as error:
            yield str(error)
    if not places.directory.is_relative_to(STATE_ROOT) and not places.directory.is_dir():
        yield f"no {places.directory} yet: install -d -m 750 -o {places.user} {places.directory}"
    names = {
        ServiceKind.TARGET: ["rookery.target"],
        ServiceKind.LEARNER: [f"rookery-learner@{agent.name}" for agent in (settings or Settings()).agents],
        ServiceKind.ACTOR: ["rookery-actor@1", "rookery-actor@2 …"],
    }.get(kind, [f"rookery-{kind.value}"])
    yield f"then: systemctl daemon-reload && systemctl enable --now {' '.join(names)}"


def _notes_on_nats(places: Places) -> Iterator[str]:
    try:
        configuration = places.settings.read_text(encoding="utf-8")
    except FileNotFoundError:
        yield f"no {places.settings} yet: `rookery keys init --nats` writes one"
        return
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{places.settings}: can't be read: {error}") from error
    store = re.search(r"^[^#\n]*\bstore_dir\s*[:=]?\s*\"?([^\"\s]+)", configuration, re.MULTILINE)
    if store is None or Path(store[1]) != places.directory:
        there = store[1] if store else "missing"
        yield f"store_dir in {places.settings} is {there}: it has to be {places.directory}"

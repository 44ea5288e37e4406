"""`rookery keys`: the keys of a fleet, made, listed and revoked in a directory on the broker's host.

CURVE keys for ZeroMQ, or with `--nats` nkeys, the servers' certificate and their configuration.
"""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from broker.commands import HELP
from common.errors import OperatorError, SettingsError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.zmq.keys import KeyDirectory, public_key

if TYPE_CHECKING:
    from common.nats.keys import NatsKeys

_directory = click.option(
    "--keys", "directory", default="keys", envvar="ROOKERY_KEYS", metavar="DIR", type=click.Path(path_type=Path),
    help="Directory of the keys. [default: keys]",
)  # fmt: skip
_nats = click.option("--nats", "on_nats", is_flag=True, help="Keys for a run on NATS, instead of ZeroMQ.")
_hosts = click.option(
    "--host", "hosts", multiple=True, metavar="NAME[,NAME...]",
    help="With --nats: a server's host, as others reach it; once for each server. [default: this host]",
)  # fmt: skip
_role = click.argument("role", type=click.Choice([role.value for role in Role]), metavar="ROLE")
_names = click.argument("names", nargs=-1, required=True, metavar="NAME...")


class _Keys(Protocol):
    """What the commands need of keys of either kind."""

    def add(self, holder: KeyHolder) -> None: ...
    def revoke(self, holder: KeyHolder) -> Path: ...
    def allowed(self) -> Iterator[tuple[KeyHolder, Path]]: ...
    def revoked(self) -> list[Path]: ...
    def has_secret(self, holder: KeyHolder) -> bool: ...


@click.group(context_settings=HELP)
def keys() -> None:
    """Make, list and revoke the keys with which services know each other.

    Each process has a key of its own: an actor's goes by the actor's name, a learner's by its agent's. Off
    loopback, nothing listens or connects without them. See docs/operations.md, Keys, and Keys on NATS.

    Example:  rookery keys init && rookery keys add actor far-0 far-1
    """


@keys.command(context_settings=HELP)
@_directory
@_nats
@_hosts
@click.option(
    "--namespace", default="rookery", envvar="ROOKERY_NAMESPACE", show_default=True, metavar="NAME",
    help="With --nats: the run's, as the setting has it.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(1, 65535), default=4222, show_default=True,
    help="With --nats: where the servers listen.",
)  # fmt: skip
@click.option(
    "--store", type=click.Path(path_type=Path), default="/var/lib/rookery-nats", show_default=True, metavar="DIR",
    help="With --nats: where the servers keep what they store.",
)  # fmt: skip
def init(directory: Path, on_nats: bool, hosts: tuple[str, ...], namespace: str, port: int, store: Path) -> None:
    """Make a directory of keys, with the broker's.

    With --nats also an authority, a certificate for the servers, and the configuration to start them with.

    Example:  rookery keys init --keys /etc/rookery/keys
    """
    if not on_nats:
        if hosts:
            raise SettingsError("--host is for servers on NATS: give --nats, too")
        KeyDirectory(directory).init()
        click.echo(f"{directory}: made. Every host needs broker.key; broker.key_secret stays here.")
        click.echo("next: rookery keys add learner|actor|collector|operator NAME...")
        return
    made = _nats_keys(directory)
    from common.nats.fleet_config import Fleet
    from common.nats.names import NatsNames

    fleet = Fleet.parse(hosts or [socket.gethostname()], port=port, store=store.absolute())
    made.init(fleet, NatsNames(namespace))
    click.echo(f"{made.path}: made. Every host needs ca.pem; ca-key.pem and broker.nk stay here.")
    click.echo("Each server needs nats-server.conf, users.conf, server.pem and server-key.pem, at this same place:")
    click.echo(f"  nats-server -c {made.configuration_file}{' --name NAME' if len(fleet.servers) > 1 else ''}")
    _warn_of_old_server(made.configuration_file)
    click.echo(
        f"next: rookery keys add learner|actor|collector|operator NAME... --nats; transport {fleet.transport}"
    )


@keys.command(context_settings=HELP)
@_hosts
@_directory
def certify(hosts: tuple[str, ...], directory: Path) -> None:
    """Make the NATS servers' certificate anew: when there are other hosts, or before it runs out, after ten years.

    Name all of them. No other host needs anything new.

    Example:  rookery keys certify --host train1 --host train2 --host train3,10.0.0.3
    """
    made = _nats_keys(directory)
    from common.nats.fleet_config import Fleet

    fleet = Fleet.parse(hosts or [socket.gethostname()])
    made.certify(fleet)
    click.echo(f"{made.path}: server.pem and server-key.pem are for {', '.join(fleet.hosts)} now.")
    click.echo("Copy them to each server and reload it; other servers also go into `routes` in nats-server.conf.")


@keys.command(context_settings=HELP)
@_role
@_names
@_directory
@_nats
def add(role: str, names: tuple[str, ...], directory: Path, on_nats: bool) -> None:
    """Make key pairs for NAME... and allow them: ROLE is actor, learner, collector or operator.

    A learner's NAME is its agent's. A running broker takes them in by itself, NATS servers once they are reloaded.

    Example:  rookery keys add actor far-0 far-1
    """
    found = _opened(directory, on_nats)
    needs = f"nats/ca.pem and nats/{role}s/%s.nk" if on_nats else f"broker.key and {role}s/%s.key_secret"
    for name in names:
        holder = KeyHolder(Role(role), name)
        found.add(holder)
        click.echo(f"{holder}: allowed. Its host needs {needs % name} in its keys directory.")
    _tell_to_reload(on_nats)


@keys.command("list", context_settings=HELP)
@_directory
@_nats
def list_(directory: Path, on_nats: bool) -> None:
    """Show whose keys are allowed, since when, and which were revoked.

    Example:  rookery keys list --keys /etc/rookery/keys
    """
    found = _opened(directory, on_nats)
    ending = ".pub" if on_nats else ".key"
    brokers = (directory / "nats" if on_nats else directory) / f"{BROKER.name}{ending}"
    rows = [("broker", "", _public(brokers), "", _where(found, BROKER))]
    for holder, path in found.allowed():
        assert holder.role is not None
        try:
            key = _public(path)
        except SettingsError as error:
            key = f"not allowed: {error}"
        rows.append((holder.role.value, holder.name, key, _day(path), _where(found, holder)))
    for path in found.revoked():
        name = path.name.partition(ending)[0]
        rows.append((path.parent.name.removesuffix("s"), name, "revoked", _day(path), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@keys.command(context_settings=HELP)
@_role
@_names
@_directory
@_nats
def revoke(role: str, names: tuple[str, ...], directory: Path, on_nats: bool) -> None:
    """Allow the keys of ROLE NAME... no more: a running broker cuts their holders off within a second or two.

    NATS servers do as soon as they are reloaded.

    Example:  rookery keys revoke actor far-1
    """
    found = _opened(directory, on_nats)
    for name in names:
        holder = KeyHolder(Role(role), name)
        kept = found.revoke(holder)
        click.echo(f"{holder}: revoked; the public key is kept in {kept}")
    _tell_to_reload(on_nats)


def _opened(directory: Path, on_nats: bool) -> _Keys:
    return _nats_keys(directory) if on_nats else KeyDirectory(directory)


def _nats_keys(directory: Path) -> "NatsKeys":
    try:
        from common.nats.keys import NatsKeys
    except ModuleNotFoundError as error:
        raise OperatorError(f"--nats: {error.name} is not installed; pip install 'rookery[nats]'") from error
    return NatsKeys(directory)


def _warn_of_old_server(configuration: Path) -> None:
    from common.nats.server import find_server, server_version
    from common.nats.survey import SYNCS_FROM, version_of

    try:
        found = server_version(find_server())
    except OperatorError:  # it runs elsewhere
        return
    if version_of(found) < SYNCS_FROM:
        click.echo(
            f"nats-server here is {found}, which doesn't know `sync_interval: always`. Install 2.10 or later, or "
            f"take that line out of {configuration}: then what was acknowledged last can be lost when power fails.",
            err=True,
        )


def _public(path: Path) -> str:
    if path.suffix != ".pub":
        return public_key(path).decode()
    from common.nats.keys import public_nkey

    return public_nkey(path)


def _tell_to_reload(on_nats: bool) -> None:
    if on_nats:
        click.echo("next: copy nats/users.conf to each server, and reload it: nats-server --signal reload")


def _where(keys: _Keys, holder: KeyHolder) -> str:
    return "secret key here" if keys.has_secret(holder) else "secret key elsewhere"


def _day(path: Path) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_ctime))

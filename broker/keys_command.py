"""`rookery keys`: the CURVE keys of a fleet, made, listed and revoked in a directory on the broker's host."""

import time
from pathlib import Path

import click

from broker.commands import HELP
from common.errors import SettingsError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.zmq.keys import KeyDirectory, public_key

_directory = click.option(
    "--keys", "directory", default="keys", envvar="ROOKERY_KEYS", metavar="DIR",
    callback=lambda _, __, path: KeyDirectory(Path(path)), help="Directory of the keys. [default: keys]",
)  # fmt: skip
_role = click.argument("role", type=click.Choice([role.value for role in Role]), metavar="ROLE")
_names = click.argument("names", nargs=-1, required=True, metavar="NAME...")


@click.group(context_settings=HELP)
def keys() -> None:
    """Make, list and revoke the keys with which services know each other.

    Each process has a key of its own: an actor's goes by the actor's name, a learner's by its agent's. Off
    loopback, nothing listens or connects without them. See docs/operations.md, Keys.

    Example:  rookery keys init && rookery keys add actor far-0 far-1
    """


@keys.command(context_settings=HELP)
@_directory
def init(directory: KeyDirectory) -> None:
    """Make a directory of keys, with the broker's.

    Example:  rookery keys init --keys /etc/rookery/keys
    """
    directory.init()
    click.echo(f"{directory.path}: made. Every host needs broker.key; broker.key_secret stays here.")
    click.echo("next: rookery keys add learner|actor|collector|operator NAME...")


@keys.command(context_settings=HELP)
@_role
@_names
@_directory
def add(role: str, names: tuple[str, ...], directory: KeyDirectory) -> None:
    """Make key pairs for NAME... and allow them: ROLE is actor, learner, collector or operator.

    A learner's NAME is its agent's. A running broker takes them in by itself.

    Example:  rookery keys add actor far-0 far-1
    """
    for name in names:
        holder = KeyHolder(Role(role), name)
        directory.add(holder)
        click.echo(
            f"{holder}: allowed. Its host needs broker.key and {role}s/{name}.key_secret in its keys directory."
        )


@keys.command("list", context_settings=HELP)
@_directory
def list_(directory: KeyDirectory) -> None:
    """Show whose keys are allowed, since when, and which were revoked.

    Example:  rookery keys list --keys /etc/rookery/keys
    """
    rows = [("broker", "", directory.broker_public().decode(), "", _where(directory, BROKER))]
    for holder, path in directory.allowed():
        assert holder.role is not None
        try:
            key = public_key(path).decode()
        except SettingsError as error:
            key = f"not allowed: {error}"
        rows.append((holder.role.value, holder.name, key, _day(path), _where(directory, holder)))
    for path in directory.revoked():
        name = path.name.partition(".key")[0]
        rows.append((path.parent.name.removesuffix("s"), name, "revoked", _day(path), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@keys.command(context_settings=HELP)
@_role
@_names
@_directory
def revoke(role: str, names: tuple[str, ...], directory: KeyDirectory) -> None:
    """Allow the keys of ROLE NAME... no more: a running broker cuts their holders off within a second or two.

    Example:  rookery keys revoke actor far-1
    """
    for name in names:
        holder = KeyHolder(Role(role), name)
        kept = directory.revoke(holder)
        click.echo(f"{holder}: revoked; the public key is kept in {kept}")


def _where(directory: KeyDirectory, holder: KeyHolder) -> str:
    return "secret key here" if directory.has_secret(holder) else "secret key elsewhere"


def _day(path: Path) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_ctime))

"""`rookery config`: the settings shown with where they come from, checked, or written as a file to begin with."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from common.errors import SettingsError
from common.options import settings_from, settings_options
from common.settings import Layer, Origin, Settings, help_of, origins, read_file, toml_value
from common.whole_file import explained
from deploy.config_check import absences, mistakes
from deploy.config_file import settings_file

HELP = {"help_option_names": ["-h", "--help"]}
_FILE = click.Path(path_type=Path, dir_okay=False)
FILE_NAME = "rookery.toml"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as `rookery config show --json` prints it."""

    value: Any
    default: Any
    layer: Layer
    place: str | None
    help: str


@click.group(context_settings=HELP)
def config() -> None:
    """Show the settings and where each comes from, check a settings file, or write one to begin with.

    \b
    Example:  rookery config init rookery.toml
    """


@config.command(context_settings=HELP)
@settings_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print value, default, layer, place and help of each as JSON."
)
def show(as_json: bool, **flags: Any) -> None:
    """Print every setting as TOML, with where its value comes from: default, file, environment or flag.

    A flag wins over the environment (ROOKERY_NODES=200), that over the file, that over the default. What is printed
    is itself a settings file.

    \b
    Example:  rookery config show --settings rookery.toml --nodes 200
    """
    settings = settings_from(flags)
    given = dict(flags)
    found = origins(given.pop("settings_file"), given)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(_as_shown(settings, found))))
    else:
        click.echo(_as_toml(settings, found), nl=False)


@config.command(context_settings=HELP)
@click.argument("file", metavar="FILE", type=_FILE)
@click.option("--here", is_flag=True, help="What it names and this host has not is a mistake, too.")
def check(file: Path, here: bool) -> None:
    """Look for mistakes in the settings FILE: unknown names, types, ranges, contradictions, networks, queries.

    One line for each, and exit code 2. One file serves all hosts, so games, engine or keys that this host has not
    are only noted, unless --here is given.

    \b
    Example:  rookery config check rookery.toml
    """
    found = mistakes(file)
    missing = [] if found else [f"{file}: {line}" for line in absences(read_file(file))]
    for line in found + missing * here:
        click.echo(f"rookery: {line}", err=True)
    if found or (here and missing):
        sys.exit(SettingsError.exit_code)
    for line in missing:
        click.echo(f"note, of this host: {line}", err=True)
    changed = [name for name, value in _values(read_file(file)).items() if value != _values(Settings())[name]]
    click.echo(f"{file}: no mistakes; it sets {', '.join(changed) or 'nothing'} otherwise than the defaults")


@config.command(context_settings=HELP)
@click.argument("file", metavar="[FILE]", type=_FILE, default=Path(FILE_NAME))
def init(file: Path) -> None:
    """Write FILE (rookery.toml), with every setting, its meaning, range and default; never over an old one.

    \b
    Example:  rookery config init rookery.toml
    """
    text = settings_file(str(file))
    try:
        with explained(file), file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except SettingsError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise SettingsError(f"{file}: is there already; give another FILE, or move it away") from error
        raise
    click.echo(f"{file}: made; it sets nothing yet. Next: edit it, then `rookery config check {file}`")


def _values(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(settings)
    return values


def _as_shown(settings: Settings, found: dict[str, Origin]) -> dict[str, Shown]:
    values, defaults = _values(settings), _values(Settings())
    return {
        name: Shown(
            value=values[name], default=defaults[name], layer=origin.layer, place=origin.place, help=help_of(name)
        )
        for name, origin in found.items()
    }


def _as_toml(settings: Settings, found: dict[str, Origin]) -> str:
    values = _values(settings)
    lines = [
        f"{_assigned(name, value):<40}  # {_told(found[name])}"
        for name, value in values.items()
        if name != "agents"
    ]
    lines.append(f"\n# agents: {_told(found['agents'])}")
    for agent in values["agents"]:
        lines.append("[[agents]]")
        lines += [f"{key} = {toml_value(value)}" for key, value in agent.items() if value is not None]
    return "\n".join(lines) + "\n"


def _assigned(name: str, value: Any) -> str:
    return f"# {name} is not set" if value is None else f"{name} = {toml_value(value)}"


def _told(origin: Origin) -> str:
    """Return where a value comes from, on one line whatever the file is called."""
    place = "" if origin.place is None else " " + " ".join(origin.place.split())
    return f"{origin.layer.value}{place}"

"""`rookery uci`: a run's agents, or weights, as an engine for any chess GUI."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arena.uci_options import Options
from arena.uci_stream import serve
from common.errors import RunDirectoryError, SettingsError

if TYPE_CHECKING:
    from agent.player import Player


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="[DIR|CHECKPOINT|WEIGHTS]", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--option", "-o", "given", metavar="NAME=VALUE", multiple=True,
    help="Set one of the engine's options from the start, such as Nodes=200; `uci` lists them.",
)  # fmt: skip
def uci(path: Path, given: tuple[str, ...]) -> None:
    """Be a UCI engine: the run in DIR (white's agent and black's joined), a checkpoint, or weights.

    Tell a chess GUI to run this command as its engine. Standard output carries the protocol alone; what else is to
    be said goes to standard error. A search grows a tree of positions; with the option Nodes=1 the network plays
    alone.

    Example:  rookery uci runs/first -o Nodes=800 -o Hash=512
    """
    options = _options(given)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not path.exists():
        raise RunDirectoryError(f"{path}: there is no such file or directory")
    serve(lambda: _player(path), options, path.absolute().stem)


def _player(path: Path) -> "Player":
    from agent.loading import load_player  # brings torch

    return load_player(path)


def _options(given: tuple[str, ...]) -> Options:
    options = Options()
    for entry in given:
        name, equals, value = entry.partition("=")
        if not equals:
            raise SettingsError(f"--option {entry}: takes NAME=VALUE")
        try:
            options = options.with_value(name, value)
        except ValueError as error:
            raise SettingsError(f"--option {entry}: {error}") from error
    return options

"""`rookery play`: a board in the terminal against a run's agents, or weights."""

import random
from pathlib import Path

import chess
import click
import torch
from rich.console import Console

from agent.loading import load_player
from arena.play_game import Level
from arena.play_terminal import NODES_MAX, TEMPERATURE_MAX, PlayTerminal, ask
from arena.uci_position import PositionError, board_of
from common.errors import SettingsError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="[DIR|CHECKPOINT|WEIGHTS]", type=click.Path(path_type=Path), default=Path())
@click.option("--side", type=click.Choice(["white", "black", "random"]), default="white", help="Your side.")
@click.option(
    "--nodes", metavar="N", type=click.IntRange(1, NODES_MAX), default=200, show_default=True,
    help="Positions that the engine looks at for a move; 1: the network alone.",
)  # fmt: skip
@click.option(
    "--temperature", metavar="X", type=click.FloatRange(0, TEMPERATURE_MAX), default=0.0, show_default=True,
    help="0: its best move each time; the higher, the more random.",
)  # fmt: skip
@click.option("--seed", metavar="N", type=int, help="Repeats what a temperature draws.")
@click.option("--fen", metavar="FEN", help="Begin from this position.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Letters for the pieces, for terminals without figures.")
@click.option(
    "--pgn", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Add the game to this PGN file at the end.",
)  # fmt: skip
def play(
    path: Path,
    side: str,
    nodes: int,
    temperature: float,
    seed: int | None,
    fen: str | None,
    ascii_only: bool,
    pgn: Path | None,
) -> None:
    """Play chess against the run in DIR, a checkpoint, or weights; type `help` at the prompt for the commands.

    Moves can be piped in, one a line.

    Example:  rookery play runs/first --side black --nodes 50
    """
    start = _start(fen)
    torch.set_num_threads(1)
    console = Console(highlight=False)
    human = random.Random(seed).choice(chess.COLORS) if side == "random" else side == "white"
    PlayTerminal(
        load_player(path),
        human=human,
        level=Level(nodes=nodes, temperature=temperature),
        seed=seed,
        start=start,
        console=console,
        ascii_only=ascii_only or not _shows_figures(console),
        save=pgn,
    ).run(ask)


def _start(fen: str | None) -> chess.Board | None:
    try:
        return None if fen is None else board_of(fen)
    except PositionError as error:
        raise SettingsError(f"--fen: {error}") from error


def _shows_figures(console: Console) -> bool:
    return console.encoding.lower().replace("-", "") == "utf8"

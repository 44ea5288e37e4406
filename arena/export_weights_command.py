"""`rookery export-weights`: an agent's network as a file for other programs, checked to answer as it does here."""

import random
from pathlib import Path

import chess
import click
import torch

from agent.loading import load_network
from agent.networks import Inputs, Network
from agent.onnx_export import Answers, answers, ask, difference, legal_inputs, onnx_model
from agent.weights import save_weights
from arena.openings import load_openings
from arena.weights_source import About, about_weights, weights_in
from common.errors import SettingsError, StoreError
from common.options import to_option
from common.quantities import size
from common.whole_file import explained, whole_file

TOLERANCE = 1e-4
"""Largest difference from the answers here that a check lets pass (relative where they are above 1)."""

CHECKED = 200
"""Positions that a check compares."""

_PLIES_MAX = 120
_SUFFIXES = (".safetensors", ".onnx")


@click.command("export-weights", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", type=click.Path(path_type=Path))
@to_option(".safetensors or .onnx")
@click.option("--agent", metavar="NAME", help="Whose weights, of a run with several agents.")
@click.option("--check/--no-check", default=False, help="Compare what the file answers with what the network does.")
def export_weights(path: Path, to: Path, agent: str | None, check: bool) -> None:
    """Write the network in PATH (a run, a checkpoint or a weights file) as safetensors or ONNX.

    The file says in its metadata, as JSON under `rookery`, which network it is, whose, at which step, and with
    which settings it was trained. A safetensors file can be given to every command that takes a player. ONNX needs
    pip install 'rookery[onnx]'.

    \b
    Example:  rookery export-weights runs/first --agent white --to white.onnx --check
    """
    if to.suffix not in _SUFFIXES:
        raise SettingsError(f"{to}: name the file FILE.safetensors or FILE.onnx")
    source = weights_in(path, agent)
    network, about = load_network(source), about_weights(source)
    inputs = legal_inputs(positions(CHECKED)) if check else None
    greatest = (_write_onnx if to.suffix == ".onnx" else _write_safetensors)(network, about, to, inputs)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    click.echo(f"{about['network']} with {parameters:,} parameters in {to} ({size(to.stat().st_size)})")
    if greatest is not None:
        click.echo(f"checked on {CHECKED} positions: it answers as the network does, within {greatest:.1e}")


def positions(count: int, seed: int = 0) -> list[chess.Board]:
    """Return `count` positions to compare answers in: bundled openings, gone on from by random moves."""
    draw, openings, found = random.Random(seed), load_openings(), list[chess.Board]()
    while len(found) < count:
        board = openings[len(found) % len(openings)].board()
        for _ in range(draw.randrange(_PLIES_MAX)):
            moves = list(board.legal_moves)
            if not moves:
                break
            board.push(draw.choice(moves))
        if any(board.generate_legal_moves()):
            found.append(board)
    return found


def _write_onnx(network: Network, about: About, to: Path, inputs: Inputs | None) -> float | None:
    model = onnx_model(network, about)
    greatest = _check(network, answers(model, inputs), inputs, to) if inputs is not None else None
    with whole_file(to) as file, explained(to):
        file.write(model)
    return greatest


def _write_safetensors(network: Network, about: About, to: Path, inputs: Inputs | None) -> float | None:
    with explained(to):
        save_weights(to, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, about)
    if inputs is None:
        return None
    with torch.inference_mode():
        return _check(network, ask(load_network(to), inputs), inputs, to)


def _check(network: Network, theirs: Answers, inputs: Inputs, to: Path) -> float:
    """Return the greatest difference of `theirs` from the network's answers; raise StoreError above TOLERANCE."""
    with torch.inference_mode():
        greatest = difference(ask(network, inputs), theirs)
    if not greatest <= TOLERANCE:
        raise StoreError(
            f"{to}: answers differ from the network's by {greatest:.1e}: don't use it; please report it"
        )
    return greatest

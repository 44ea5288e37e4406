import io
from pathlib import Path

import chess
import chess.pgn
import numpy as np
import pytest
import torch
import zstandard

from agent.features import POSITION_FEATURES
from agent.networks import BINS, Inputs, Mlp, Network, ResNet, Transformer
from agent.onnx_export import (
    PADDING,
    Rectangular,
    answers,
    ask,
    difference,
    legal_inputs,
    metadata_of,
    onnx_model,
    rectangles,
)
from agent.player import judge

SAMPLES = Path(__file__).resolve().parent.parent.parent / "samples" / "games.pgn.zst"
NETWORKS = {
    "mlp": lambda: Mlp(16, 16),
    "resnet": lambda: ResNet(16, 1, 16),
    "transformer": lambda: Transformer(16, 1, 2, 16),
}


def network(kind: str) -> Network:
    torch.set_num_threads(1)  # the machine may be busy
    torch.manual_seed(3)
    made = NETWORKS[kind]()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    return made.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """Every seventh position of five games, to the end."""
    text = zstandard.ZstdDecompressor().stream_reader(SAMPLES.read_bytes()).read().decode("ascii")
    games, boards = io.StringIO(text), []
    for _ in range(5):
        game = chess.pgn.read_game(games)
        assert game is not None
        boards += [node.board() for node in list(game.mainline())[::7]]
    return legal_inputs([board for board in boards if any(board.generate_legal_moves())])


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_file_answers_as_the_network_does(kind: str, inputs: Inputs) -> None:
    made = network(kind)
    model = onnx_model(made, {"network": kind, "step": 7})
    theirs = answers(model, inputs)
    assert difference(ask(made, inputs), theirs) < 1e-4
    assert metadata_of(model) == {"network": kind, "step": 7}
    one = legal_inputs([chess.Board("7k/8/8/8/8/8/8/K6R b - - 0 1")])  # any numbers of positions and of moves
    assert difference(ask(made, one), answers(model, one)) < 1e-4


def test_rectangles_hold_what_the_network_reads_and_nothing_else(inputs: Inputs) -> None:
    padded = rectangles(inputs)
    assert padded.features.max() <= PADDING == POSITION_FEATURES
    assert padded.features[padded.features != PADDING].tolist() == inputs.features.tolist()
    assert padded.moves[padded.mask].tolist() == inputs.moves.tolist()
    assert not padded.moves[~padded.mask].any()
    assert padded.mask.sum(axis=1).tolist() == np.bincount(inputs.rows).tolist()


def test_what_is_padded_adds_nothing(inputs: Inputs) -> None:
    made = network("mlp")
    padded = rectangles(inputs)
    features, moves, mask = (torch.from_numpy(array) for array in (padded.features, padded.moves, padded.mask))
    wider = torch.cat((features, torch.full_like(features, PADDING)), dim=1)
    tall = torch.cat((moves, moves), dim=1), torch.cat((mask, torch.zeros_like(mask)), dim=1)
    module = Rectangular(made)
    value, logits, action_values = module(wider, *tall)
    expected = module(features, moves, mask)
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(logits[:, : inputs.width], expected[1])
    torch.testing.assert_close(action_values[:, : inputs.width], expected[2])
    assert value.shape == (len(inputs), BINS)
    assert (logits[:, inputs.width :] == torch.finfo(torch.float32).min).all()
    assert not action_values[:, inputs.width :].any()
    assert made.embedding.shape[0] == POSITION_FEATURES  # the network itself is as it was


def test_a_difference_is_seen(inputs: Inputs) -> None:
    mine = ask(network("mlp"), inputs)
    assert difference(mine, mine) == 0
    assert difference(mine, mine._replace(action_values=mine.action_values + 0.01)) == pytest.approx(0.01, rel=1e-3)
    assert not difference(mine, mine._replace(prior_logits=mine.prior_logits * float("nan"))) <= 1


def test_answers_are_those_of_the_player(inputs: Inputs) -> None:
    made, board = network("mlp"), chess.Board()
    mine, theirs = ask(made, legal_inputs([board])), judge(made, [board])[0]
    np.testing.assert_allclose(mine.action_values, theirs.action_values, atol=1e-6)
    np.testing.assert_allclose(mine.prior_logits.softmax(dim=0), theirs.priors, atol=1e-6)

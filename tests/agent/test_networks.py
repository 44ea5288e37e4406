import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.features import POSITION_FEATURES, pseudo_legal_moves
from agent.loading import NETWORKS
from agent.networks import BINS, Mlp, Network, Outputs, ResNet, Transformer, expected_scores, inputs_of
from common.positions import Positions
from tests.learner.units import random_positions

SMALL: dict[str, Callable[[], Network]] = {
    "mlp": lambda: Mlp(accumulator=16, width=32),
    "resnet": lambda: ResNet(channels=16, blocks=2, width=32),
    "transformer": lambda: Transformer(channels=16, layers=2, heads=2, width=32),
}
"""Of every kind one that is small and fast."""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(kind: str, seed: int = 1) -> Network:
    """A network that has something to say: its heads begin at zero."""
    made = SMALL[kind]()
    made.initialise(torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(2)
    for head in (made.value, made.action, made.prior, made.move_query):
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
    return made.requires_grad_(False)


def ask(made: Network, positions: Positions) -> Outputs:
    return made(inputs_of(positions, *pseudo_legal_moves(positions)))


def columns(made: Network, out: Outputs) -> list[torch.Tensor]:
    return [out.value_logits, out.prior_logits, made.action_logits(out.moves)]


def test_every_network_that_can_be_named_is_tested() -> None:
    assert SMALL.keys() == NETWORKS.keys()


@pytest.mark.parametrize("kind", SMALL)
def test_a_position_is_worth_the_same_in_any_company(kind: str) -> None:
    made, positions = network(kind), random_positions(np.random.default_rng(0), 6)
    together = columns(made, ask(made, positions))
    alone = [columns(made, ask(made, positions.take(slice(row, row + 1)))) for row in range(6)]
    for part, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), part, rtol=1e-4, atol=1e-4)
    backwards = columns(made, ask(made, positions.take(np.arange(6)[::-1])))
    torch.testing.assert_close(backwards[0].flip(0), together[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SMALL)
def test_a_move_is_worth_the_same_whichever_others_are_asked_for(kind: str) -> None:
    made, positions = network(kind), random_positions(np.random.default_rng(0), 4)
    rows, moves = pseudo_legal_moves(positions)
    whole = columns(made, ask(made, positions))
    some = np.arange(len(rows)) % 3 == 1
    part = columns(made, made(inputs_of(positions, rows[some], moves[some])))
    torch.testing.assert_close(part[0], whole[0], rtol=1e-4, atol=1e-4)
    for one, all_of_them in zip(part[1:], whole[1:], strict=True):
        torch.testing.assert_close(one, all_of_them[torch.from_numpy(some)], rtol=1e-4, atol=1e-4)
    none = made(inputs_of(positions, rows[:0], moves[:0]))
    torch.testing.assert_close(none.value_logits, whole[0], rtol=1e-4, atol=1e-4)
    assert made.action_logits(none.moves).shape == (0, BINS)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("column", ["boards", "castling", "en_passant", "halfmove_clock", "repetitions"])
def test_every_column_of_a_position_matters(kind: str, column: str) -> None:
    made = network(kind)

    def asked(**changes: int) -> list[torch.Tensor]:
        position = _position()
        for name, value in changes.items():
            getattr(position, name).flat[0] = value
        action = np.array([12 * 28], np.int64)
        return columns(made, made(inputs_of(position, np.zeros(1, np.int64), action)))

    before = asked()
    after = asked(**{column: {"halfmove_clock": 9}.get(column, 2)})
    for one, other in zip(before, after, strict=True):
        assert not torch.equal(one, other)
    if column in ("halfmove_clock", "repetitions"):  # beyond what matters in chess they are all one
        for one, other in zip(asked(**{column: 200}), asked(**{column: 250}), strict=True):
            assert torch.equal(one, other)


def _position() -> Positions:
    position = random_positions(np.random.default_rng(5), 1)
    position.boards[0, 0] = 4
    position.castling[0], position.en_passant[0] = 0, 3
    position.halfmove_clock[0], position.repetitions[0] = 3, 0
    return position


def test_the_sum_of_embeddings_is_a_linear_layer_over_one_hot_features() -> None:
    made = network("mlp")
    assert isinstance(made, Mlp)
    positions = random_positions(np.random.default_rng(0), 4)
    inputs = inputs_of(positions, *pseudo_legal_moves(positions))
    hot = torch.zeros(4, POSITION_FEATURES)
    ends = [*inputs.offsets.tolist()[1:], len(inputs.features)]
    for row, (start, end) in enumerate(zip(inputs.offsets.tolist(), ends, strict=True)):
        for feature in inputs.features[start:end].tolist():
            hot[row, feature] += 1
    first = torch.relu(hot @ made.embedding + made.embedding_bias)
    state = torch.relu(made.second(torch.relu(made.first(first))))
    torch.testing.assert_close(state, made.hidden(inputs).state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SMALL)
def test_training_begins_from_no_gains_a_uniform_prior_and_values_of_one_half(kind: str) -> None:
    made = SMALL[kind]().requires_grad_(False)
    made.initialise(torch.Generator().manual_seed(1))
    out = ask(made, random_positions(np.random.default_rng(0), 3))
    values, after = expected_scores(out.value_logits), expected_scores(made.action_logits(out.moves))
    torch.testing.assert_close(values, torch.full_like(values, 0.5))
    torch.testing.assert_close(after, torch.full_like(after, 0.5))
    assert not out.prior_logits.any()
    hidden = made.hidden(inputs_of(_position(), np.zeros(0, np.int64), np.zeros(0, np.int64)))
    assert hidden.state.std() > 0.01


@pytest.mark.parametrize("kind", SMALL)
def test_the_seed_alone_decides_the_first_weights(kind: str) -> None:
    made, again, other = (SMALL[kind]() for _ in range(3))
    made.initialise(torch.Generator().manual_seed(1))
    torch.manual_seed(123)  # whatever anybody else does with the global generator
    again.initialise(torch.Generator().manual_seed(1))
    other.initialise(torch.Generator().manual_seed(2))
    for name, parameter in made.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
    assert any(not torch.equal(p, other.get_parameter(name)) for name, p in made.named_parameters())


def answers() -> str:
    """What networks of all kinds answer, bit by bit."""
    positions = random_positions(np.random.default_rng(0), 3)
    parts = [part for kind in SMALL for part in columns(network(kind), ask(network(kind), positions))]
    return b"".join(part.numpy().tobytes() for part in parts).hex()


def test_two_processes_give_the_same_bits() -> None:
    code = "import torch; torch.set_num_threads(1)\nfrom tests.agent.test_networks import answers\nprint(answers())"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert run.stdout.strip() == answers()

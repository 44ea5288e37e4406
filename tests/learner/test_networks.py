import numpy as np
import pytest
import torch

from common.positions import Positions
from learner.networks import Mlp, Network, ResNet
from tests.learner.units import random_positions


def network(kind: type[Network], seed: int = 1) -> Network:
    made = kind()
    made.initialise(torch.Generator().manual_seed(seed))
    with torch.no_grad():  # the heads begin at zero: give them something to say
        for head in (made.value, made.advantage, made.prior):
            for parameter in head.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return made


@pytest.mark.parametrize("kind", [Mlp, ResNet])
def test_the_value_of_one_move_is_that_of_the_whole_row(kind: type[Network]) -> None:
    made = network(kind)
    positions = random_positions(np.random.default_rng(0), 9)
    actions = torch.arange(9) * 200
    with torch.no_grad():
        hidden = made.hidden(positions)
        rows = made.action_values(hidden)
        torch.testing.assert_close(made.values_of(hidden, actions), rows[torch.arange(9), actions])
    assert rows.shape == made.prior_logits(hidden).shape == (9, 1880)


@pytest.mark.parametrize("kind", [Mlp, ResNet])
@pytest.mark.parametrize("column", ["boards", "castling", "en_passant", "halfmove_clock", "repetitions"])
def test_every_column_of_a_position_matters(kind: type[Network], column: str) -> None:
    made = network(kind)
    with torch.no_grad():
        one = made.hidden(_position())
        changed = _position()
        getattr(changed, column).flat[0] += 1
        assert not torch.equal(one, made.hidden(changed))
        if column in ("halfmove_clock", "repetitions"):  # beyond what matters in chess they are all one
            far, further = _position(), _position()
            getattr(far, column)[0], getattr(further, column)[0] = 200, 250
            assert torch.equal(made.hidden(far), made.hidden(further))


def _position() -> Positions:
    position = random_positions(np.random.default_rng(5), 1)
    position.castling[0], position.en_passant[0] = 0, 3
    position.halfmove_clock[0], position.repetitions[0] = 3, 0
    return position


@pytest.mark.parametrize("kind", [Mlp, ResNet])
def test_a_position_is_worth_the_same_in_any_company(kind: type[Network]) -> None:
    made = network(kind)
    positions = random_positions(np.random.default_rng(0), 5)
    with torch.no_grad():
        together = made.hidden(positions)
        for row in range(5):
            torch.testing.assert_close(made.hidden(positions.take(slice(row, row + 1)))[0], together[row])


def test_the_sum_of_embeddings_is_a_linear_layer_over_one_hot_features() -> None:
    made = network(Mlp)
    assert isinstance(made, Mlp)
    positions = random_positions(np.random.default_rng(0), 4)
    hot = np.zeros((4, Mlp.FEATURES), np.float32)
    for row in range(4):
        for square, code in enumerate(positions.boards[row].tolist()):
            if code:
                hot[row, square * 13 + code] = 1
        start = 64 * 13
        hot[row, start + int(positions.castling[row])] = 1
        hot[row, start + 16 + 1 + int(positions.en_passant[row])] = 1
        hot[row, start + 25 + min(int(positions.halfmove_clock[row]) // 4, 25)] = 1
        hot[row, start + 51 + min(int(positions.repetitions[row]), 2)] = 1
    with torch.no_grad():
        first = torch.relu(torch.from_numpy(hot) @ made.embedding + made.embedding_bias)
        torch.testing.assert_close(torch.relu(made.layer(first)), made.hidden(positions))


@pytest.mark.parametrize("kind", [Mlp, ResNet])
def test_the_seed_alone_decides_the_first_weights_and_q_begins_at_zero(kind: type[Network]) -> None:
    made, again, other = kind(), kind(), kind()
    made.initialise(torch.Generator().manual_seed(1))
    torch.manual_seed(123)  # whatever anybody else does with the global generator
    again.initialise(torch.Generator().manual_seed(1))
    other.initialise(torch.Generator().manual_seed(2))
    for name, parameter in made.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
    assert any(not torch.equal(p, other.get_parameter(name)) for name, p in made.named_parameters())
    positions = random_positions(np.random.default_rng(0), 3)
    with torch.no_grad():
        hidden = made.hidden(positions)
        assert hidden.std() > 0.1
        assert not made.action_values(hidden).any()
        assert not made.prior_logits(hidden).any()

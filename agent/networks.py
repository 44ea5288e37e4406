"""Neural networks: what turns positions and moves into values, action values and logits of the prior.

A network is a trunk, which turns each position into a hidden state, and three heads: the value V(s), and for
each move that is asked for the expected score after it, which is V(s) + Q(s, a), and its logit of the prior
μ(a | s). Values are distributions over bins, of which the means count. The heads see a move
through its own features (see agent.features), so that what is learned of a capture on one square holds on
another. Pure torch modules; training them is learner.neural's work, playing with them agent.player's.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from agent.features import (
    ACTIVE,
    MOVE_FAMILIES,
    MOVE_FEATURES,
    POSITION_FEATURES,
    SITUATIONS,
    TOKENS,
    attacks,
    move_features,
    position_features,
    situations,
    tokens,
)
from common.moves import MOVES, decode
from common.positions import SQUARES, Positions

BINS = 64
"""Bins of the distributions that the value head and the action head give, over expected scores from 0 to 1."""


def expected_scores(logits: Tensor) -> Tensor:
    """Return the mean, float32 [n], of the distributions over [0, 1] that logits [n, BINS] stand for."""
    centres = (torch.arange(BINS, device=logits.device) + 0.5) / BINS
    return logits.float().softmax(dim=1) @ centres


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Inputs:
    """n positions and k moves in them, as networks read them; all int64, on the network's device."""

    features: Tensor
    """[m] numbers of the position features, one position after another."""
    offsets: Tensor
    """[n] where each position's features begin."""
    tokens: Tensor
    """[n, 64] what stands on each square and what attacks it."""
    situations: Tensor
    """[n, 4] castling rights, en-passant file, halfmove clock and repetitions, as numbers of features."""
    rows: Tensor
    """[k] the position of each move, rising."""
    moves: Tensor
    """[k, 6] features of each move."""
    slots: Tensor
    """[k] number of each move among those of its position, from 0."""
    width: int
    """Most moves that a position has here."""

    def __len__(self) -> int:
        return len(self.offsets)


class Outputs(NamedTuple):
    """What a network makes of n positions and k moves in them, float32."""

    value_logits: Tensor
    """[n, BINS] logits of the distribution of the expected score for the side to move."""
    prior_logits: Tensor
    """[k] of each move."""
    moves: Tensor
    """[k, move width] hidden states of the moves, which `Network.action_logits` takes, all or some of them."""


def inputs_of(
    positions: Positions,
    rows: npt.NDArray[np.int64],
    actions: npt.NDArray[np.int64],
    device: torch.device | None = None,
) -> Inputs:
    """Return n positions and k moves in them as networks read them; `rows` [k] must rise."""
    attacked = attacks(positions.boards)
    features, offsets = position_features(positions, attacked)
    counts = np.bincount(rows, minlength=len(positions))
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)

    def tensor(array: npt.NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Inputs(
        features=tensor(features),
        offsets=tensor(offsets),
        tokens=tensor(tokens(positions.boards, attacked)),
        situations=tensor(situations(positions)),
        rows=tensor(rows),
        moves=tensor(move_features(positions, attacked, rows, actions)),
        slots=tensor(slots),
        width=int(counts.max(initial=1)),
    )


class Hidden(NamedTuple):
    """What a trunk makes of n positions."""

    state: Tensor
    """[n, width]"""
    squares: Tensor | None
    """[n, 64, channels]; None of a trunk that keeps no squares apart."""


class Network(nn.Module):
    """A trunk with three heads; subclasses give the trunk (`hidden`) and state its width and channels.

    A move's hidden state is the sum of embeddings of its features, of a projection of the position's state, and
    of projections of the two squares where the trunk keeps squares apart; then one layer, and a weight for Q and
    one for the logit. To the logit comes the product of an embedding of the move and a projection of the state.
    """

    MOVE_WIDTH, KEY_WIDTH = 64, 32

    def __init__(self, width: int, channels: int = 0) -> None:
        super().__init__()
        self.value = nn.Linear(width, BINS)
        self.move_embedding = nn.Parameter(torch.empty(MOVE_FEATURES, self.MOVE_WIDTH))
        self.move_context = nn.Linear(width, self.MOVE_WIDTH)
        self.move_squares = nn.Linear(channels, 2 * self.MOVE_WIDTH, bias=False) if channels else None
        self.move_layer = nn.Linear(self.MOVE_WIDTH, self.MOVE_WIDTH)
        self.move_keys = nn.Parameter(torch.empty(MOVES, self.KEY_WIDTH))
        self.move_query = nn.Linear(width, self.KEY_WIDTH)
        self.prior = nn.Linear(self.MOVE_WIDTH, 1)
        self.action = nn.Linear(self.MOVE_WIDTH, BINS)
        starts, ends, _ = decode(np.arange(MOVES, dtype=np.uint16))
        self.register_buffer("starts", torch.from_numpy(starts.astype(np.int64)), persistent=False)
        self.register_buffer("ends", torch.from_numpy(ends.astype(np.int64)), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.value.weight.device

    def hidden(self, inputs: Inputs) -> Hidden:
        """Return the hidden states of the positions."""
        raise NotImplementedError

    def forward(self, inputs: Inputs) -> Outputs:
        """Return values of the positions and of the moves."""
        hidden = self.hidden(inputs)
        actions, rows = inputs.moves[:, 0], inputs.rows
        x = functional.embedding_bag(inputs.moves, self.move_embedding, mode="sum")  # [k, move width]
        x = x + self.move_context(hidden.state)[rows]
        if hidden.squares is not None and self.move_squares is not None:
            both = self.move_squares(hidden.squares).flatten(0, 1)  # [n * 64, 2 * move width]
            x = x + both[rows * SQUARES + self.get_buffer("starts")[actions], : self.MOVE_WIDTH]
            x = x + both[rows * SQUARES + self.get_buffer("ends")[actions], self.MOVE_WIDTH :]
        x = functional.relu(self.move_layer(functional.relu(x)))
        matched = (functional.embedding(actions, self.move_keys) * self.move_query(hidden.state)[rows]).sum(dim=1)
        logits = self.prior(x).squeeze(1) + matched  # [k]
        return Outputs(self.value(hidden.state).float(), logits.float(), x)

    def action_logits(self, moves: Tensor) -> Tensor:
        """Return the logits of the distribution of the expected score after each move, float32 [j, BINS].

        `moves` [j, move width] are hidden states of moves. Q(s, a) is the mean of that distribution less V(s).
        """
        logits: Tensor = self.action(moves.float())  # which mixed precision may have left in fewer bits
        return logits

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight anew from `generator` (a CPU one), in a fixed order.

        He's uniform initialisation (arXiv 1502.01852, equation 14), biases zero, scales one; the last layer of
        each head begins at zero, so that training begins from Q = 0, a uniform prior and values of one half.
        """
        zero = {id(layer.weight) for layer in (self.value, self.prior, self.action, self.move_query)}
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("norm.weight"):
                    parameter.fill_(1.0)
                elif id(parameter) in zero or parameter.dim() == 1:
                    parameter.zero_()
                else:
                    bound = math.sqrt(6.0 / self._inputs(name, parameter))
                    parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))

    def _inputs(self, name: str, parameter: Tensor) -> int:
        """Return how many inputs feed one output of a weight; of an embedding, how many are summed or more."""
        embeddings = {"move_embedding": MOVE_FAMILIES * 32, "move_keys": self.KEY_WIDTH, "embedding": 4 * ACTIVE}
        return embeddings.get(name, parameter[0].numel())


class Mlp(Network):
    """Network for the CPU: a sum of embeddings of the features that a position has, and two layers."""

    def __init__(self, accumulator: int = 256, width: int = 256) -> None:
        super().__init__(width)
        self.embedding = nn.Parameter(torch.empty(POSITION_FEATURES, accumulator))
        self.embedding_bias = nn.Parameter(torch.empty(accumulator))
        self.first = nn.Linear(accumulator, width)
        self.second = nn.Linear(width, width)

    def hidden(self, inputs: Inputs) -> Hidden:
        """Return the hidden states, float32 [n, width]."""
        total = functional.embedding_bag(inputs.features, self.embedding, inputs.offsets, mode="sum")
        x = functional.relu(total + self.embedding_bias)  # [n, accumulator]
        x = functional.relu(self.first(x))
        return Hidden(functional.relu(self.second(x)), None)


class _Squares(nn.Module):
    """The first layer of trunks that keep squares apart: an embedding of each square's token and its place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(TOKENS, channels))
        self.place = nn.Parameter(torch.empty(SQUARES, channels))
        self.situation = nn.Parameter(torch.empty(SITUATIONS, channels))

    def forward(self, inputs: Inputs) -> Tensor:
        """Return [n, 64, channels]."""
        situation = functional.embedding_bag(inputs.situations, self.situation, mode="sum")  # [n, channels]
        return functional.embedding(inputs.tokens, self.token) + self.place + situation.unsqueeze(1)


class ResNet(Network):
    """Residual tower with squeeze and excitation (arXiv 1512.03385, 1709.01507), groups normalised."""

    def __init__(self, channels: int = 64, blocks: int = 6, width: int = 256) -> None:
        super().__init__(width, channels)
        self.squares = _Squares(channels)
        self.blocks = nn.ModuleList(_Block(channels) for _ in range(blocks))
        self.layer = nn.Linear(2 * channels, width)

    def hidden(self, inputs: Inputs) -> Hidden:
        """Return the hidden states, float32 [n, width], and those of the squares."""
        x = self.squares(inputs).transpose(1, 2).unflatten(2, (8, 8))  # [n, channels, 8, 8]
        for block in self.blocks:
            x = block(x)
        squares = x.flatten(2).transpose(1, 2)  # [n, 64, channels]
        return Hidden(functional.relu(self.layer(_pooled(squares))), squares)


class _Block(nn.Module):
    """Two convolutions, a weight for each channel by the whole board, and a shortcut."""

    GROUPS, SQUEEZED = 8, 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(self.GROUPS, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(self.GROUPS, channels)
        self.squeeze = nn.Linear(channels, channels // self.SQUEEZED)
        self.excite = nn.Linear(channels // self.SQUEEZED, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; shapes [n, channels, 8, 8] in and out."""
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        scale = torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean(dim=(2, 3))))))
        return functional.relu(x + y * scale[:, :, None, None])


class Transformer(Network):
    """Small transformer over the 64 squares (arXiv 1706.03762), normalised before each layer."""

    def __init__(self, channels: int = 128, layers: int = 4, heads: int = 8, width: int = 256) -> None:
        super().__init__(width, channels)
        self.squares = _Squares(channels)
        self.layers = nn.ModuleList(_Layer(channels, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.layer = nn.Linear(2 * channels, width)

    def hidden(self, inputs: Inputs) -> Hidden:
        """Return the hidden states, float32 [n, width], and those of the squares."""
        x = self.squares(inputs)  # [n, 64, channels]
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return Hidden(functional.relu(self.layer(_pooled(x))), x)


class _Layer(nn.Module):
    """Attention among the squares, with a bias learned for each pair of them, and a layer on each square."""

    WIDENED = 2

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(channels)
        self.attention = nn.Linear(channels, 3 * channels, bias=False)
        self.bias = nn.Parameter(torch.empty(heads, SQUARES, SQUARES))
        self.join = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, self.WIDENED * channels)
        self.narrow = nn.Linear(self.WIDENED * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output; shapes [n, 64, channels] in and out."""
        parts = self.attention(self.attention_norm(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [n, heads, 64, channels / heads]
        y = functional.scaled_dot_product_attention(query, key, value, attn_mask=self.bias.to(query.dtype))
        x = x + self.join(y.transpose(1, 2).flatten(2))
        widened: Tensor = self.narrow(functional.gelu(self.widen(self.norm(x))))
        return x + widened


def _pooled(squares: Tensor) -> Tensor:
    """Return the mean and the maximum over squares, [n, 2 * channels], of [n, 64, channels]."""
    return torch.cat((squares.mean(dim=1), squares.amax(dim=1)), dim=1)

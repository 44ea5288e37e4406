"""Neural networks: what turns positions into action values and prior logits.

Each network maps a position to a hidden state, and the hidden state to Q(s, ·) and to the logits of the
prior μ(· | s), both over the 1880 moves of common.moves. Pure torch modules; training them is
learner.neural's work.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.moves import MOVES
from common.positions import PIECE_CODES, SQUARES, Positions

CASTLING_CODES = 16
HALFMOVE_STEP = 4
HALFMOVE_BUCKETS = 26  # 0-3, 4-7, … 100 and more
REPETITION_BUCKETS = 3  # new, once before, twice or more often before
FILES = 8


class Network(nn.Module):
    """A trunk with two heads; subclasses give the trunk (`hidden`) and state their hidden width.

    Q(s, a) = <v + A(a), h> / width + b(a), with h the hidden state, so that the value of one move costs one
    row of A and not all 1880. The division keeps Q steady: AdamW moves a weight by about the learning rate
    whatever its gradient, the rows of rare moves too, and without it that adds up over the width of h to
    errors ten times as large as the values (as in μP, arXiv 2203.03466).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.value = nn.Linear(width, 1, bias=False)
        self.advantage = nn.Linear(width, MOVES)
        self.prior = nn.Linear(width, MOVES)

    def hidden(self, positions: Positions) -> Tensor:
        """Return the hidden states, float32 [n, width]."""
        raise NotImplementedError

    def action_values(self, hidden: Tensor) -> Tensor:
        """Return Q of every move, float32 [n, 1880]."""
        scaled = hidden / self.width
        values: Tensor = self.value(scaled) + self.advantage(scaled)  # [n, 1] + [n, 1880]
        return values

    def values_of(self, hidden: Tensor, actions: Tensor) -> Tensor:
        """Return Q of one move of each position, float32 [n]; `actions` int64 [n]."""
        rows = functional.embedding(actions, self.advantage.weight) + self.value.weight  # [n, width]
        biases = functional.embedding(actions, self.advantage.bias.unsqueeze(1)).squeeze(1)  # [n]
        return (hidden * rows).sum(dim=1) / self.width + biases

    def prior_logits(self, hidden: Tensor, moves: Tensor | None = None) -> Tensor:
        """Return the logits of the prior of `moves`, int64 [k], as float32 [n, k]; of all 1880 for None."""
        if moves is None:
            logits: Tensor = self.prior(hidden)
            return logits
        return functional.linear(hidden, self.prior.weight[moves], self.prior.bias[moves])

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.value.weight.device

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight anew from `generator` (a CPU one), in a fixed order.

        He's uniform initialisation for the trunk (arXiv 1502.01852, equation 14), biases zero, scales one;
        the heads begin at zero, so that training begins from Q = 0 and a uniform prior.
        """
        heads = {id(part) for head in (self.value, self.advantage, self.prior) for part in head.parameters()}
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("norm.weight"):
                    parameter.fill_(1.0)
                elif id(parameter) in heads or parameter.dim() == 1:
                    parameter.zero_()
                else:
                    bound = math.sqrt(6.0 / self._inputs(parameter))
                    parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))

    def _inputs(self, parameter: Tensor) -> int:
        """Return how many inputs feed one output of a weight."""
        return parameter[0].numel()


class Mlp(Network):
    """Small network for the CPU: a sum of embeddings, one a (square, piece) and one a further feature.

    The sum is a linear layer over one-hot features that reads only the rows of the features that are there.
    """

    ACCUMULATOR, WIDTH = 256, 128

    _CASTLING = SQUARES * PIECE_CODES
    _EN_PASSANT = _CASTLING + CASTLING_CODES
    _HALFMOVE = _EN_PASSANT + FILES + 1
    _REPETITIONS = _HALFMOVE + HALFMOVE_BUCKETS
    FEATURES = _REPETITIONS + REPETITION_BUCKETS

    _ACTIVE = 36  # about as many features are there at once: 32 pieces and 4 more

    def __init__(self) -> None:
        super().__init__(self.WIDTH)
        self.embedding = nn.Parameter(torch.empty(self.FEATURES, self.ACCUMULATOR))
        self.embedding_bias = nn.Parameter(torch.empty(self.ACCUMULATOR))
        self.layer = nn.Linear(self.ACCUMULATOR, self.WIDTH)

    def hidden(self, positions: Positions) -> Tensor:
        """Return the hidden states, float32 [n, 128]."""
        indices, offsets = self._features(positions)
        total = functional.embedding_bag(indices, self.embedding, offsets, mode="sum")  # [n, 256]
        accumulator = functional.relu(total + self.embedding_bias)
        return functional.relu(self.layer(accumulator))

    def _features(self, positions: Positions) -> tuple[Tensor, Tensor]:
        """Return the numbers of the features that are there, int64 [m], and where each position's begin."""
        count = len(positions)
        features = np.zeros((count, SQUARES + 4), np.int64)  # 0 stands for an empty a1, which has no feature
        squares = features[:, :SQUARES]
        np.add(positions.boards, np.arange(SQUARES) * PIECE_CODES, out=squares)
        squares[positions.boards == 0] = 0
        features[:, SQUARES] = positions.castling
        features[:, SQUARES + 1] = positions.en_passant
        features[:, SQUARES + 2] = np.minimum(positions.halfmove_clock // HALFMOVE_STEP, HALFMOVE_BUCKETS - 1)
        features[:, SQUARES + 3] = np.minimum(positions.repetitions, REPETITION_BUCKETS - 1)
        # No file, -1, is a feature of its own.
        features[:, SQUARES:] += (self._CASTLING, self._EN_PASSANT + 1, self._HALFMOVE, self._REPETITIONS)
        there = features > 0
        offsets = np.zeros(count, np.int64)
        np.cumsum(there.sum(axis=1)[:-1], out=offsets[1:])
        device = self.device
        return torch.from_numpy(features[there]).to(device), torch.from_numpy(offsets).to(device)

    def _inputs(self, parameter: Tensor) -> int:
        return self._ACTIVE if parameter is self.embedding else super()._inputs(parameter)


class ResNet(Network):
    """Residual tower over board planes (arXiv 1512.03385, with normalised groups of channels), for GPUs."""

    CHANNELS, BLOCKS, SQUEEZED, WIDTH = 64, 6, 8, 256
    PLANES = PIECE_CODES - 1 + 4 + 3  # pieces, castling rights, en-passant file, halfmove clock, repetitions

    def __init__(self) -> None:
        super().__init__(self.WIDTH)
        self.stem = nn.Conv2d(self.PLANES, self.CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(self.CHANNELS) for _ in range(self.BLOCKS))
        self.squeeze = nn.Conv2d(self.CHANNELS, self.SQUEEZED, 1)
        self.layer = nn.Linear(self.SQUEEZED * SQUARES, self.WIDTH)

    def hidden(self, positions: Positions) -> Tensor:
        """Return the hidden states, float32 [n, 256]."""
        x = functional.relu(self.stem(self._planes(positions)))  # [n, channels, 8, 8]
        for block in self.blocks:
            x = block(x)
        x = functional.relu(self.squeeze(x)).flatten(1)  # [n, squeezed * 64]
        return functional.relu(self.layer(x))

    def _planes(self, positions: Positions) -> Tensor:
        """Return the board planes, float32 [n, 19, 8, 8], rows from the mover's first rank up."""
        count, pieces = len(positions), PIECE_CODES - 1
        planes = np.zeros((count, self.PLANES, SQUARES), np.float32)
        rows, squares = np.nonzero(positions.boards)
        planes[rows, positions.boards[rows, squares] - 1, squares] = 1.0
        for bit in range(4):
            planes[:, pieces + bit] = (positions.castling >> bit & 1)[:, None]
        (capturing,) = np.nonzero(positions.en_passant >= 0)
        for rank in range(8):
            planes[capturing, pieces + 4, positions.en_passant[capturing] + 8 * rank] = 1.0
        planes[:, pieces + 5] = np.minimum(positions.halfmove_clock / 100.0, 1.0)[:, None]
        planes[:, pieces + 6] = np.minimum(positions.repetitions / 2.0, 1.0)[:, None]
        return torch.from_numpy(planes.reshape(count, self.PLANES, 8, 8)).to(self.device)


class _Block(nn.Module):
    """Two convolutions around a shortcut."""

    GROUPS = 8

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.first_norm = nn.GroupNorm(self.GROUPS, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.second_norm = nn.GroupNorm(self.GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; shapes [n, channels, 8, 8] in and out."""
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(x + y)

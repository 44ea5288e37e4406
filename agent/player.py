"""A player: networks that judge positions; white's agent and black's joined, or one agent that plays both.

    player = Player.of(white=network, black=network)
    for judgement in player.judge(boards):
        judgement.policy        # π over the legal moves

Owned by one thread. Knows no clock, no search and no opponent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import chess
import numpy as np
import numpy.typing as npt
import torch

from agent.boards import actions_of, positions_of, side_of
from agent.networks import Network, expected_scores, inputs_of
from common.settings import Side

TAU = 0.05
"""Temperature τ of π(a|s) ∝ μ(a|s) · exp(Q(s, a) / τ), in points of expected score."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judgement:
    """What a player makes of one position with k ≥ 1 legal moves, all from the view of its side to move."""

    value: float
    """Expected score, from 0 to 1."""
    moves: tuple[chess.Move, ...]
    """The k legal moves."""
    priors: npt.NDArray[np.float32]
    """[k] μ: how likely the players of the games are to make each move; adds up to 1."""
    action_values: npt.NDArray[np.float32]
    """[k] Q of each move: the expected score that it gains or (below 0) loses."""
    policy: npt.NDArray[np.float32]
    """[k] π ∝ μ · exp(Q / τ); adds up to 1."""

    @property
    def best(self) -> chess.Move:
        """The move that π ranks first."""
        return self.moves[int(self.policy.argmax())]


class Player:
    """Judges positions with the network of their side to move."""

    def __init__(self, networks: dict[Side, Network], name: str = "rookery", tau: float = TAU) -> None:
        self._networks, self.name, self.tau = networks, name, tau

    @classmethod
    def of(cls, *, white: Network, black: Network, name: str = "rookery", tau: float = TAU) -> "Player":
        """Join two networks, which may be one."""
        return cls({Side.WHITE: white, Side.BLACK: black}, name, tau)

    def judge(self, boards: Sequence[chess.Board]) -> list[Judgement]:
        """Return what the networks make of n positions, in order; each must have a legal move."""
        found: dict[int, Judgement] = {}
        by_network: dict[int, list[int]] = {}
        for index, board in enumerate(boards):
            by_network.setdefault(id(self._networks[side_of(board)]), []).append(index)
        for indices in by_network.values():
            network = self._networks[side_of(boards[indices[0]])]
            judged = judge(network, [boards[index] for index in indices], self.tau)
            found.update(zip(indices, judged, strict=True))
        return [found[index] for index in range(len(boards))]


@torch.inference_mode()
def judge(network: Network, boards: Sequence[chess.Board], tau: float = TAU) -> list[Judgement]:
    """Return what one network makes of n positions, whoever is to move."""
    if not boards:
        return []
    legal = [tuple(board.legal_moves) for board in boards]
    counts = np.array([len(moves) for moves in legal])
    actions = np.concatenate(
        [actions_of(moves, side_of(board)) for moves, board in zip(legal, boards, strict=True)]
    )
    rows = np.repeat(np.arange(len(boards)), counts)
    out = network(inputs_of(positions_of(boards), rows, actions, network.device))
    state_values = expected_scores(out.value_logits)
    q = expected_scores(network.action_logits(out.moves)) - state_values[torch.from_numpy(rows).to(network.device)]
    values, logits, action_values = state_values.cpu().numpy(), out.prior_logits.cpu().numpy(), q.cpu().numpy()
    ends = np.cumsum(counts)
    judgements = []
    for moves, value, begin, end in zip(legal, values.tolist(), ends - counts, ends, strict=True):
        own, gains = logits[begin:end], action_values[begin:end]
        judgements.append(
            Judgement(
                value=value,
                moves=moves,
                priors=softmax(own),
                action_values=gains,
                policy=softmax(own + gains / tau),
            )
        )
    return judgements


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the softmax of k logits, float32 [k]."""
    powers = np.exp(logits - logits.max())
    shares: npt.NDArray[np.float32] = powers / powers.sum()
    return shares

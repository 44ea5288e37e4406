"""Judges for tests: networks of random weights, and ones that always name the first or the last legal move."""

from collections.abc import Sequence

import chess
import numpy as np
import torch

from actor.judges import Arrays, Judges
from agent.networks import Mlp, Network
from agent.player import Judgement


def random_network(seed: int = 0) -> Network:
    """A small network whose moves have nothing to do with chess."""
    torch.manual_seed(seed)
    network = Mlp()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.02)
    return network.eval()


def judges_of(*agents: str, version: int = 3) -> Judges:
    """Judges that have weights of these agents."""

    def load(name: str, arrays: Arrays) -> Network:
        assert (name, list(arrays)) == ("mlp", [])
        torch.set_num_threads(1)
        return random_network()

    judges = Judges(load)
    for agent in agents:
        judges.renew(agent, version, "mlp", {})
    return judges


class Chooser:
    """Stands in for a judge: `choose` picks the move of which its policy is sure."""

    def __init__(self, pick: int, version: int = 3) -> None:
        self.pick, self.version = pick, version
        self.pieces: list[int] = []
        """Boards of each call."""

    def latest(self, _agent: str) -> "Chooser":
        return self

    def renew(self, *_weights: object) -> None:
        self.version += 1

    def judge(self, boards: Sequence[chess.Board]) -> list[Judgement]:
        self.pieces.append(len(boards))
        return [self._judgement(board) for board in boards]

    def _judgement(self, board: chess.Board) -> Judgement:
        moves = tuple(board.legal_moves)
        policy = np.zeros(len(moves), np.float32)
        policy[self.pick] = 1.0
        return Judgement(value=0.5, moves=moves, priors=policy, action_values=policy, policy=policy)

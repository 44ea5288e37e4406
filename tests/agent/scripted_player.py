"""A player without a network: what it makes of a position is written down in a few lines."""

from collections.abc import Callable, Sequence

import chess
import numpy as np

from agent.player import Judgement

WORTH = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9, chess.KING: 0}


def material(board: chess.Board) -> float:
    """Return an expected score that counts the pieces."""
    balance = sum(
        worth * (len(board.pieces(kind, board.turn)) - len(board.pieces(kind, not board.turn)))
        for kind, worth in WORTH.items()
    )
    return 1 / (1 + np.exp(-balance / 4))


class ScriptedPlayer:
    """Judges by a function of the board, with a policy that prefers the first moves a little."""

    name = "scripted"

    def __init__(self, value: Callable[[chess.Board], float] = material) -> None:
        self.value = value
        self.calls: list[int] = []

    def judge(self, boards: Sequence[chess.Board]) -> list[Judgement]:
        self.calls.append(len(boards))
        return [self._judge(board) for board in boards]

    def _judge(self, board: chess.Board) -> Judgement:
        moves = tuple(board.legal_moves)
        assert moves, f"asked to judge {board.fen()}, where the game is over"
        priors = np.linspace(1.1, 0.9, len(moves), dtype=np.float32)
        policy = priors / priors.sum()
        return Judgement(
            value=float(self.value(board)),
            moves=moves,
            priors=policy,
            action_values=np.zeros(len(moves), np.float32),
            policy=policy,
        )

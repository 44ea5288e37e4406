"""Movers and players for tests: small networks, and movers that do what a test says."""

from collections.abc import Callable, Sequence

import chess
import torch

from agent.networks import Mlp
from agent.player import Player
from arena.movers import NO_MOVE, Choice


def small_player(seed: int = 0) -> Player:
    """A player whose network is small and of random weights."""
    torch.set_num_threads(1)  # the machine may be busy
    torch.manual_seed(seed)
    network = Mlp(16, 16)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return Player.of(white=network, black=network, name="small")


class ScriptedMover:
    """Plays what a function says, and counts how it was asked."""

    def __init__(self, move: Callable[[chess.Board], chess.Move], name: str = "scripted") -> None:
        self.name = name
        self._move = move
        self.batches: list[int] = []

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        self.batches.append(len(boards))
        return [self._move(board) for board in boards]


class ScoringMover:
    """Plays the first legal move and always gives the same score."""

    def __init__(self, score_cp: int | None, name: str = "scoring") -> None:
        self.name, self._score_cp = name, score_cp

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        return [first(board) for board in boards]

    def explain(self, boards: Sequence[chess.Board]) -> list[Choice]:
        return [Choice(move=first(board), score_cp=self._score_cp) for board in boards]


def first(board: chess.Board) -> chess.Move:
    """The first legal move."""
    return next(iter(board.legal_moves))


def no_move(board: chess.Board) -> chess.Move:
    """No move."""
    return NO_MOVE

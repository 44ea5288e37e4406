"""Rankings: the legal moves of a position in the order that a way of choosing puts them, and those ways.

    for ranking in PolicyRanker(player).rank(boards):
        ranking.chance_of({expected})       # that one of these moves is played

Movers (arena.movers) play; rankers are what an evaluation asks, since it wants to know of the second move too,
and of the chances where moves are level: then the figures of a random mover are exact, not one draw of many.
"""

import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import chess
import numpy as np
import numpy.typing as npt

from agent.player import Judgement, Player
from agent.search import search_many
from arena.movers import after, final_score, material_gain


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ranking:
    """The k ≥ 1 legal moves of a position with a score each; among equal scores, each order is as likely."""

    moves: tuple[chess.Move, ...]
    scores: npt.NDArray[np.float64]
    """[k] the higher, the better; of no unit."""

    @property
    def first(self) -> list[chess.Move]:
        """The moves of the highest score: one, or those that are level."""
        return [self.moves[index] for index in np.flatnonzero(self.scores == self.scores.max()).tolist()]

    def chance_of(self, right: Collection[chess.Move]) -> float:
        """Return the chance that the move ranked first is one of `right`."""
        first = self.first
        return sum(move in right for move in first) / len(first)

    def chance_within(self, move: chess.Move, places: int) -> float:
        """Return the chance that `move` is among the first `places`; 0 if it is no legal move."""
        if move not in self.moves:
            return 0.0
        own = self.scores[self.moves.index(move)]
        above, level = int((self.scores > own).sum()), int((self.scores == own).sum())
        return min(max((places - above) / level, 0.0), 1.0)

    def scores_of(self, moves: Sequence[chess.Move]) -> npt.NDArray[np.float64]:
        """Return the scores in the order of `moves`, which are the same moves."""
        places = {move: place for place, move in enumerate(self.moves)}
        return self.scores[[places[move] for move in moves]]


class Ranker(Protocol):
    """A way of choosing."""

    def rank(self, boards: Sequence[chess.Board]) -> list[Ranking]:
        """Return the ranking of the moves of each of n boards, in order; each must have a legal move."""
        ...


class RandomRanker:
    """All moves level: the random mover."""

    def rank(self, boards: Sequence[chess.Board]) -> list[Ranking]:
        """Return rankings of equal scores."""
        return [_ranking(board, lambda *_: 0.0) for board in boards]


class MaterialRanker:
    """By the material that a move takes and promotes to: the material-greedy mover."""

    def rank(self, boards: Sequence[chess.Board]) -> list[Ranking]:
        """Return rankings by arena.movers.material_gain."""
        return [_ranking(board, material_gain) for board in boards]


class Judge(Protocol):
    """A player, or what remembers one's judgements."""

    def judge(self, boards: Sequence[chess.Board]) -> list[Judgement]:
        """Return the judgement of each of n boards."""
        ...


class Remembering:
    """A player that is asked once where the same boards are asked of it several times in a row."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._boards: list[chess.Board] = []
        self._judgements: list[Judgement] = []

    def judge(self, boards: Sequence[chess.Board]) -> list[Judgement]:
        """Return the judgement of each of n boards, which nobody changes."""
        same = len(boards) == len(self._boards) and all(map(operator.is_, boards, self._boards))
        if not same:
            self._boards, self._judgements = list(boards), self._player.judge(boards)
        return self._judgements


class JudgementRanker:
    """By something of a player's judgement: its policy, its prior or its action values."""

    def __init__(self, player: Judge, score: Callable[[Judgement], npt.NDArray[np.float32]]) -> None:
        self._player, self._score = player, score

    def rank(self, boards: Sequence[chess.Board]) -> list[Ranking]:
        """Return rankings by one judgement of all boards."""
        return [
            Ranking(moves=judgement.moves, scores=self._score(judgement).astype(np.float64))
            for judgement in self._player.judge(boards)
        ]


class LookaheadRanker:
    """By a player's value of the position after each move, or by what the end of the game gives."""

    def __init__(self, player: Player) -> None:
        self._player = player

    def rank(self, boards: Sequence[chess.Board]) -> list[Ranking]:
        """Return rankings whose scores are expected scores of the side to move; one judgement of all children."""
        legal = [tuple(board.legal_moves) for board in boards]
        children = [after(board, move) for board, moves in zip(boards, legal, strict=True) for move in moves]
        scores = self._expected(children)
        ends = np.cumsum([len(moves) for moves in legal])
        return [
            Ranking(moves=moves, scores=scores[end - len(moves) : end])
            for moves, end in zip(legal, ends.tolist(), strict=True)
        ]

    def _expected(self, children: Sequence[chess.Board]) -> npt.NDArray[np.float64]:
        """Return the expected score of each child for the side that has just moved, [number of children]."""
        final = [final_score(child) for child in children]
        open_children = [child for child, score in zip(children, final, strict=True) if score is None]
        values = iter([1.0 - judgement.value for judgement in self._player.judge(open_children)])
        return np.array([next(values) if score is None else score for score in final], np.float64)


class SearchRanker:
    """By the order in which a search of so many nodes puts the moves."""

    def __init__(self, player: Player, nodes: int) -> None:
        self._player, self._nodes = player, nodes

    def rank(self, boards: Sequence[chess.Board]) -> list[Ranking]:
        """Return rankings by searches of all boards side by side."""
        return [
            Ranking(
                moves=tuple(line.move for line in result.lines), scores=-np.arange(len(result.lines), dtype=float)
            )
            for result in search_many(self._player, boards, self._nodes)
        ]


def _ranking(board: chess.Board, score: Callable[[chess.Board, chess.Move], float]) -> Ranking:
    moves = tuple(board.legal_moves)
    return Ranking(moves=moves, scores=np.array([score(board, move) for move in moves], np.float64))

"""Tree of a search: nodes with the visits, values and proven endings of their moves, and how they grow.

Called by agent.search alone. Knows the rules' endings and no network: what a network makes of a position comes in
as a `Judgement`. Every value is an expected score, from 0 to 1, of the side to move at the node that holds it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import chess
import numpy as np
import numpy.typing as npt

from agent.boards import repetitions_of, with_history
from agent.player import Judgement

DRAW = 0.5
FIFTY_MOVES = 100
"""Plies without a capture or a pawn's move after which a game is drawn."""

REPETITIONS = 1
"""Earlier occurrences for which a search takes a position for drawn: what repeats once will repeat again.

The rules ask for two; with one, a search sees in time that it is about to give a won game away."""

NODE_BYTES, MOVE_BYTES = 1_750, 80
"""About what a node takes in memory, and what each of its moves adds (measured with CPython 3.11)."""


class Ending(NamedTuple):
    """What a position is proven to come to."""

    score: float
    """1 won, 0.5 drawn, 0 lost for the side to move."""
    plies: int
    """Plies until then: the winner's fewest found, the loser's most."""

    def before(self) -> "Ending":
        """Return what this is for the other side, one ply earlier."""
        return Ending(1.0 - self.score, self.plies + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """How a search weighs what it knows; the defaults solved most puzzles with 200 nodes of those tried."""

    exploration: float = 0.6
    """c of PUCT for values between 0 and 1: weight of the prior against the mean value."""
    exploration_base: float = 19_652.0
    """Visits over which c grows (arXiv 1712.01815, supplementary materials)."""
    reduction: float = 0.1
    """Expected score by which a move that was never tried is worth less than its position."""
    action_weight: float = 0.0
    """Share of the move's own Q in what a move that was never tried is worth."""
    softening: float = 1.4
    """Exponent 1/softening of the prior: above 1 it is flatter."""


class Node:
    """A judged position: its k moves, and what the search found of each."""

    __slots__ = (
        "action_values", "board", "children", "ending", "means", "moves", "policy", "priors", "settled", "shares",
        "totals", "value", "visited", "visits",
    )  # fmt: skip

    def __init__(self, board: chess.Board, judgement: Judgement, settings: SearchSettings) -> None:
        self.board = board  # never changed
        self.value = judgement.value
        self.moves: Sequence[chess.Move] = [_interned(move) for move in judgement.moves]
        self.policy = judgement.policy
        softened = soften(judgement.policy, settings.softening)
        self.priors: list[float] = softened.tolist()
        self.action_values = judgement.action_values
        # shares[i] is prior / (1 + visits), means[i] the mean value, or what an untried move is taken for.
        self.shares = softened
        self.means = first_values(judgement, settings)
        self.visits = [0] * len(self.moves)
        self.totals = [0.0] * len(self.moves)
        self.children: dict[int, Node] = {}
        self.settled: dict[int, Ending] = {}  # endings of moves, for the side that makes them
        self.ending: Ending | None = None
        self.visited = 0  # visits of all moves

    def select(self, settings: SearchSettings) -> int:
        """Return the number of the move to try next: the greatest mean + c · prior · √visits / (1 + visits)."""
        visits = 1 + self.visited
        base = settings.exploration_base
        factor = (settings.exploration + math.log((visits + base + 1) / base)) * math.sqrt(visits)
        scores = self.shares * np.float32(factor)
        scores += self.means
        return int(scores.argmax())

    def enter(self, index: int) -> None:
        """Count a visit of a move whose value is still to come: until then it counts as a loss."""
        self.visits[index] += 1
        self.visited += 1
        self._update(index)

    def leave(self, index: int) -> None:
        """Take back a visit that came to nothing."""
        self.visits[index] -= 1
        self.visited -= 1
        self._update(index)

    def add(self, index: int, value: float) -> None:
        """Give a visit of a move its value."""
        self.totals[index] += value
        self._update(index)

    def settle(self, index: int, ending: Ending) -> None:
        """Note what a move is proven to come to, for the side that makes it."""
        self.settled[index] = ending
        self.means[index] = ending.score if ending.score > 0 else -np.inf
        if ending.score == 1.0:
            if self.ending is None or self.ending.score < 1.0 or ending.plies < self.ending.plies:
                self.ending = ending
        elif self.ending is None and len(self.settled) == len(self.moves):
            self.ending = max(self.settled.values(), key=_preference)

    def _update(self, index: int) -> None:
        visits = self.visits[index]
        self.shares[index] = self.priors[index] / (1 + visits)
        if visits and index not in self.settled:
            self.means[index] = self.totals[index] / visits

    def ranking(self) -> list[int]:
        """Return the numbers of the moves, best first."""
        return sorted(range(len(self.moves)), key=self._rank, reverse=True)

    def best(self) -> int:
        """Return the number of the best move."""
        return max(range(len(self.moves)), key=self._rank)

    def _rank(self, index: int) -> tuple[float, ...]:
        ending = self.settled.get(index)
        if ending is not None and ending.score != DRAW:
            return (1.0 if ending.score > 0 else -1.0, *_preference(ending), self.priors[index])
        visits = self.visits[index]
        return (0.0, visits, self.totals[index] / visits if visits else 0.0, self.priors[index])


@dataclass(slots=True, eq=False)
class Leaf:
    """A position that a search wants judged."""

    board: chess.Board
    """With its history; never changed."""
    path: list[tuple[Node, int]] = field(default_factory=list)
    """Nodes from the root on, and the move made in each."""


def successor(board: chess.Board, move: chess.Move) -> chess.Board:
    """Return the board after a move; `board` stays as it is, and what can repeat is remembered."""
    after = with_history(board)
    after.push(move)
    return after


def ending_of(board: chess.Board) -> Ending | None:
    """Return how the game has ended on `board` by the rules, or as good as ended: where a position comes again."""
    if not any(board.generate_legal_moves()):
        return Ending(0.0 if board.is_check() else DRAW, 0)
    if board.halfmove_clock >= FIFTY_MOVES or board.is_insufficient_material():
        return Ending(DRAW, 0)
    if board.halfmove_clock >= 4 and repetitions_of(board) >= REPETITIONS:
        return Ending(DRAW, 0)
    return None


def back_up(path: list[tuple[Node, int]], value: float, ending: Ending | None = None) -> None:
    """Carry the value of a leaf to the root, and its ending as far as that proves anything (MCTS-Solver).

    `value` and `ending` are those of the side to move at the leaf. A move that wins proves its position won; one
    whose moves are all proven is proven the best of them (Winands, Björnsson and Saito 2008).
    """
    for node, index in reversed(path):
        value = 1.0 - value
        if ending is not None:
            node.settle(index, ending.before())
            ending = node.ending
        node.add(index, value)
        if ending is not None:
            value = ending.score


def first_values(judgement: Judgement, settings: SearchSettings) -> npt.NDArray[np.float32]:
    """Return what each of k moves is taken for before it is tried (first-play urgency), float32 [k]."""
    base = judgement.value - settings.reduction
    if settings.action_weight == 0.0:
        return np.full(len(judgement.moves), max(0.0, base), np.float32)
    values: npt.NDArray[np.float32] = np.clip(base + settings.action_weight * judgement.action_values, 0.0, 1.0)
    return values


def soften(policy: npt.NDArray[np.float32], softening: float) -> npt.NDArray[np.float32]:
    """Return policy^(1/softening), adding up to 1, float32 [k]."""
    powers = policy ** np.float32(1.0 / softening)
    shares: npt.NDArray[np.float32] = powers / powers.sum()
    return shares


def size_bytes(node: Node) -> int:
    """Return about how much memory a node takes by itself."""
    return NODE_BYTES + MOVE_BYTES * len(node.moves)


def _preference(ending: Ending) -> tuple[float, int]:
    """Win rather than draw rather than lose; win soon, lose late."""
    return ending.score, -ending.plies if ending.score > DRAW else ending.plies


# Moves are the same objects throughout all trees: one takes four times what all else about it does.
_MOVES: dict[int, chess.Move] = {}


def _interned(move: chess.Move) -> chess.Move:
    return _MOVES.setdefault(move.from_square | move.to_square << 6 | (move.promotion or 0) << 12, move)

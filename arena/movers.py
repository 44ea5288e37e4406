"""Movers: everybody who can play, asked for the moves of many games at once.

    mover = PolicyMover(load_player(path))
    moves = mover.choose(boards)        # one legal move for each board

A board carries its game's moves, so that repetitions can be seen; nobody who chooses changes it. UCI engines are
in arena.opponents, how movers are named on the command line in arena.mover_specs. Owned by one thread.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import chess
import numpy as np
import numpy.typing as npt

from agent.boards import repetitions_of, with_history
from agent.player import Judgement, Player
from agent.search import search_many
from common.scores import WIN_RATE

NO_MOVE = chess.Move.null()
"""What a mover answers that has no move to give; its game is lost by that."""

WORTH = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9, chess.KING: 0}
"""Worth of a piece, in pawns."""

_SCORE_CENTIPAWNS_MAX = 2_000


class Mover(Protocol):
    """Chooses moves."""

    name: str

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        """Return a legal move for each of n boards that has one, in order; NO_MOVE where it fails."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A move, and what its mover thinks of it."""

    move: chess.Move
    """Legal, or NO_MOVE."""
    score_cp: int | None = None
    """Centipawns from the view of the side to move, within ±10,000; None from a mover that gives no scores."""
    failure: str = ""
    """Why there is no move."""


@runtime_checkable
class Explainer(Protocol):
    """A mover that says what it thinks of its moves; adjudication asks for that."""

    def explain(self, boards: Sequence[chess.Board]) -> list[Choice]:
        """Return a choice for each of n boards, in order."""
        ...


def choices_of(mover: Mover, boards: Sequence[chess.Board]) -> list[Choice]:
    """Return what `mover` chooses on n boards, with its scores if it gives any."""
    if isinstance(mover, Explainer):
        return mover.explain(boards)
    return [Choice(move=move) for move in mover.choose(boards)]


class RandomMover:
    """Any legal move, each as likely as the others."""

    def __init__(self, seed: int = 0, name: str = "random") -> None:
        self.name = name
        self._random = random.Random(seed)

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        """Return moves drawn from the generator, in the order of the boards."""
        return [self._random.choice(list(board.legal_moves)) for board in boards]


class MaterialGreedy:
    """The move after which its own material is the most against the opponent's; among equals, any of them.

    It does not look at the reply, nor for mate.
    """

    def __init__(self, seed: int = 0, name: str = "material") -> None:
        self.name = name
        self._random = random.Random(seed)

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        """Return the moves that gain the most; ties by the generator, in the order of the boards."""
        return [self._best(board) for board in boards]

    def _best(self, board: chess.Board) -> chess.Move:
        moves = list(board.legal_moves)
        gains = [material_gain(board, move) for move in moves]
        most = max(gains)
        return self._random.choice([move for move, gain in zip(moves, gains, strict=True) if gain == most])


def material_gain(board: chess.Board, move: chess.Move) -> int:
    """Return what a legal move takes and promotes to, in pawns."""
    gain = WORTH[move.promotion] - WORTH[chess.PAWN] if move.promotion else 0
    if board.is_en_passant(move):
        return gain + WORTH[chess.PAWN]
    taken = board.piece_type_at(move.to_square) if not board.is_castling(move) else None
    return gain + (WORTH[taken] if taken else 0)


class PolicyMover:
    """Plays π of a player: the move it ranks first, or with a temperature T any, drawn from π^(1/T).

    `careful`: it knows the rules beside. It mates where it can, and while it thinks itself better it makes no move
    that ends the game in a draw or brings back a position, unless there is no other.
    """

    def __init__(
        self,
        player: Player,
        temperature: float = 0.0,
        seed: int = 0,
        name: str | None = None,
        *,
        careful: bool = False,
    ) -> None:
        self.name = name if name is not None else player.name
        self._player, self._temperature, self._careful = player, temperature, careful
        self._random = np.random.default_rng(seed)

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        """Return moves by one judgement of all boards."""
        return [choice.move for choice in self.explain(boards)]

    def explain(self, boards: Sequence[chess.Board]) -> list[Choice]:
        """Return moves with the value of the position."""
        return [
            Choice(move=self._move(board, judgement), score_cp=centipawns(judgement.value))
            for board, judgement in zip(boards, self._player.judge(boards), strict=True)
        ]

    def _move(self, board: chess.Board, judgement: Judgement) -> chess.Move:
        logits = np.log(np.maximum(judgement.policy.astype(np.float64), 1e-30))
        if self._careful:
            logits[~sensible(board, judgement)] = -np.inf
        if self._temperature <= 0:
            return judgement.moves[int(logits.argmax())]
        shares = np.exp((logits - logits.max()) / self._temperature)
        return judgement.moves[int(self._random.choice(len(shares), p=shares / shares.sum()))]


def sensible(board: chess.Board, judgement: Judgement) -> npt.NDArray[np.bool_]:
    """Return which of the k moves a player who knows the rules considers, bool [k], at least one."""
    child, ends, new = with_history(board), [], []
    for move in judgement.moves:
        child.push(move)
        ends.append(final_score(child))
        new.append(repetitions_of(child) == 0)
        child.pop()
    mates = np.array([end == 1.0 for end in ends])
    if mates.any():
        return mates
    going_on = np.array([end is None for end in ends]) & np.array(new)
    better = judgement.value > 0.5 and going_on.any()
    return going_on if better else np.ones(len(ends), np.bool_)


class PriorMover:
    """Plays the move that people would most likely play, by the prior μ: a behavioural clone."""

    def __init__(self, player: Player, name: str | None = None) -> None:
        self.name = name if name is not None else f"prior of {player.name}"
        self._player = player

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        """Return the moves of the highest prior."""
        return [judgement.moves[int(judgement.priors.argmax())] for judgement in self._player.judge(boards)]


class OnePlyMover:
    """Plays the move after which a player's value of the position is the worst for the opponent.

    What ends the game is worth what it gives: mate 1; stalemate, dead position, third repetition and the
    fiftieth move ½.
    """

    CHILDREN_AT_ONCE = 4096

    def __init__(self, player: Player, name: str | None = None) -> None:
        self.name = name if name is not None else f"one-ply of {player.name}"
        self._player = player

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        """Return moves by one judgement of the positions after all legal moves."""
        return [choice.move for choice in self.explain(boards)]

    def explain(self, boards: Sequence[chess.Board]) -> list[Choice]:
        """Return moves with what is expected of them."""
        legal = [list(board.legal_moves) for board in boards]
        children = [after(board, move) for board, moves in zip(boards, legal, strict=True) for move in moves]
        expected = iter(self._expected(children))
        choices = []
        for moves in legal:
            scores = [next(expected) for _ in moves]
            best = max(range(len(moves)), key=scores.__getitem__)
            choices.append(Choice(move=moves[best], score_cp=centipawns(scores[best])))
        return choices

    def _expected(self, children: Sequence[chess.Board]) -> list[float]:
        """Return the expected score of each child for the side that has just moved."""
        scores = [final_score(child) for child in children]
        going_on = [index for index, score in enumerate(scores) if score is None]
        for start in range(0, len(going_on), self.CHILDREN_AT_ONCE):
            indices = going_on[start : start + self.CHILDREN_AT_ONCE]
            judged = self._player.judge([children[index] for index in indices])
            for index, judgement in zip(indices, judged, strict=True):
                scores[index] = 1.0 - judgement.value
        return [score for score in scores if score is not None]


class SearchMover:
    """Plays the best move of a search by a player's network."""

    def __init__(self, player: Player, nodes: int, name: str | None = None) -> None:
        self.name = name if name is not None else f"{player.name} {nodes} nodes"
        self._player, self._nodes = player, nodes

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        """Return moves by searches of all boards side by side."""
        return [result.best for result in search_many(self._player, boards, self._nodes)]


def after(board: chess.Board, move: chess.Move) -> chess.Board:
    """Return a copy of `board` with `move` made; of its moves only those since the last irreversible one."""
    child = with_history(board)
    child.push(move)
    return child


def final_score(board: chess.Board) -> float | None:
    """Return the score for the side that has just moved if the game is over by that; else None."""
    if not any(board.generate_legal_moves()):
        return 1.0 if board.is_check() else 0.5
    if board.is_insufficient_material() or board.halfmove_clock >= 100 or repetitions_of(board) >= 2:
        return 0.5
    return None


def centipawns(expected_score: float) -> int:
    """Return the centipawns that an expected score stands for: common.scores, the other way, within ±2,000."""
    share = min(max(expected_score, 1e-6), 1 - 1e-6)
    found = np.log(share / (1 - share)) / WIN_RATE
    return round(max(-_SCORE_CENTIPAWNS_MAX, min(_SCORE_CENTIPAWNS_MAX, float(found))))

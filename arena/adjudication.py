"""Endings: how a game ends, by the rules or by adjudication as engine testers use it.

By the rules: mate, stalemate, dead position, and at once the third repetition and the fiftieth move. Adjudication
is off unless asked for: it saves the time of games that are decided, but only players whose scores mean something
can be judged by them.
"""

from collections.abc import Sequence
from enum import StrEnum

import chess
import msgspec

from common.errors import SettingsError


class Termination(StrEnum):
    """How a game came to its end: the words of the PGN standard (section 9.8.1)."""

    NORMAL = "normal"
    ADJUDICATION = "adjudication"
    ABANDONED = "abandoned"
    """A player gave no move."""
    RULES_INFRACTION = "rules infraction"
    """A player made an illegal move."""


class Ending(msgspec.Struct, frozen=True):
    """The end of a game."""

    result: str
    """`1-0`, `0-1` or `1/2-1/2`."""
    termination: Termination
    reason: str
    """In words, for example `threefold repetition`."""


class Adjudication(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a game is ended early; everything that is None is off. Raises SettingsError for what can't be."""

    resign_cp: int | None = None
    """A player whose own scores are all at or below minus this for `resign_moves` moves in a row has lost, if its
    opponent's scores agree, should it give any."""
    resign_moves: int = 3
    draw_cp: int | None = None
    """A game in which all scores of both players are within this for `draw_moves` moves in a row is a draw."""
    draw_moves: int = 8
    draw_after: int = 40
    """Full moves before which no draw is adjudicated."""
    max_moves: int | None = None
    """Full moves after which the game is a draw."""

    def __post_init__(self) -> None:
        for name in ("resign_moves", "draw_moves", "draw_after", "max_moves", "resign_cp", "draw_cp"):
            value = getattr(self, name)
            if value is not None and value < (name != "draw_cp" and name != "draw_after"):
                raise SettingsError(f"adjudication: {name.replace('_', ' ')} can't be {value}")

    def ending(self, board: chess.Board, scores: Sequence[int | None]) -> Ending | None:
        """Return how the game ends by adjudication; None if it goes on.

        `scores` are those of the moves so far, in centipawns from the view of who made them, the latest last;
        None from players that give none.
        """
        if not scores:
            return None
        if self._resigned(scores):
            return _won_by(board.turn, Termination.ADJUDICATION, "the loser's own score")
        if self._level(scores) and board.fullmove_number > self.draw_after:
            return _drawn(Termination.ADJUDICATION, "both scores level")
        if self.max_moves is not None and board.ply() >= 2 * self.max_moves:
            return _drawn(Termination.ADJUDICATION, f"{self.max_moves} moves")
        return None

    def _resigned(self, scores: Sequence[int | None]) -> bool:
        """Return whether the player of the last move is lost by its own scores, and by its opponent's if any."""
        if self.resign_cp is None or len(scores) < 2 * self.resign_moves:
            return False
        own, other = scores[::-2][: self.resign_moves], scores[-2::-2][: self.resign_moves]
        lost = all(score is not None and score <= -self.resign_cp for score in own)
        return lost and all(score is None or score >= self.resign_cp for score in other)

    def _level(self, scores: Sequence[int | None]) -> bool:
        if self.draw_cp is None or len(scores) < 2 * self.draw_moves:
            return False
        return all(score is not None and abs(score) <= self.draw_cp for score in scores[-2 * self.draw_moves :])


def ending_by_rules(board: chess.Board) -> Ending | None:
    """Return how the game ends by the rules, draws claimed at once; None if it goes on."""
    if not any(board.generate_legal_moves()):
        if board.is_check():
            return _won_by(not board.turn, Termination.NORMAL, "checkmate")
        return _drawn(Termination.NORMAL, "stalemate")
    if board.is_insufficient_material():
        return _drawn(Termination.NORMAL, "insufficient material")
    if board.halfmove_clock >= 100:
        return _drawn(Termination.NORMAL, "fifty-move rule")
    if board.is_repetition(3):
        return _drawn(Termination.NORMAL, "threefold repetition")
    return None


def forfeit(board: chess.Board, move: chess.Move, failure: str) -> Ending:
    """Return the ending of a game whose side to move answered with `move`, which is not legal."""
    if move:
        return _won_by(not board.turn, Termination.RULES_INFRACTION, f"illegal move {move.uci()}")
    return _won_by(not board.turn, Termination.ABANDONED, failure or "no move")


def _won_by(side: chess.Color, termination: Termination, reason: str) -> Ending:
    return Ending("1-0" if side else "0-1", termination, reason)


def _drawn(termination: Termination, reason: str) -> Ending:
    return Ending("1/2-1/2", termination, reason)

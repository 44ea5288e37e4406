"""Game of a person against a player: its moves, its end, and what the player thinks of it.

Called by `rookery play`. Knows no terminal.
"""

import datetime
from dataclasses import dataclass

import chess
import chess.pgn
import numpy as np

from agent.player import Player
from agent.search import Search, SearchResult, choose

_NAMES = {chess.WHITE: "White", chess.BLACK: "Black"}


class IllegalMove(ValueError):
    """What was typed is no legal move; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """How well a player plays."""

    nodes: int = 200
    """Positions looked at for a move; 1: the network alone."""
    temperature: float = 0.0
    """0: always the best move; the higher, the more random."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A move of the player's."""

    move: chess.Move
    san: str
    result: SearchResult
    """What it found, from its own side."""


class PlayGame:
    """One game; the board is public and is changed by the methods alone."""

    def __init__(
        self,
        player: Player,
        *,
        human: chess.Color,
        level: Level,
        random: np.random.Generator,
        start: chess.Board | None = None,
    ) -> None:
        self._player, self._random = player, random
        self.human, self.level = human, level
        self.board = chess.Board() if start is None else start.copy()
        self.resigned: chess.Color | None = None

    @property
    def human_to_move(self) -> bool:
        """Whether the person is to move."""
        return self.board.turn == self.human

    def play(self, text: str) -> str:
        """Make the person's move, written in SAN or UCI's notation; return it in SAN. Raises IllegalMove."""
        move = parse_move(self.board, text)
        san = self.board.san(move)
        self.board.push(move)
        return san

    def reply(self) -> Reply:
        """Make the player's move."""
        result = self.think()
        move = choose(result, self.level.temperature, self._random)
        san = self.board.san(move)
        self.board.push(move)
        return Reply(move=move, san=san, result=result)

    def think(self, variations: int = 1) -> SearchResult:
        """Return what the player finds on the board, from the side to move; there must be a legal move."""
        search = Search(self._player, self.board)
        search.spend(self.level.nodes)
        return search.result(variations)

    def undo(self) -> int:
        """Take back moves until the person is to move once more; return how many."""
        undone = 0
        self.resigned = None
        while self.board.move_stack and (undone == 0 or not self.human_to_move):
            self.board.pop()
            undone += 1
        return undone

    def resign(self) -> None:
        """Let the person resign."""
        self.resigned = self.human

    def result(self) -> str:
        """Return `1-0`, `0-1`, `1/2-1/2`, or `*` for a game that goes on."""
        if self.resigned is not None:
            return "0-1" if self.resigned == chess.WHITE else "1-0"
        if (outcome := self.board.outcome()) is not None:
            return outcome.result()
        return "1/2-1/2" if self._drawn() else "*"

    def ending(self) -> str | None:
        """Return how the game ended, in words; None while it goes on."""
        if self.resigned is not None:
            return f"{_NAMES[self.resigned]} resigns: {_NAMES[not self.resigned]} wins."
        outcome = self.board.outcome()
        if outcome is None:
            return f"Draw by {self._drawn()}." if self._drawn() else None
        if outcome.winner is not None:
            return f"Checkmate: {_NAMES[outcome.winner]} wins."
        return f"Draw by {outcome.termination.name.lower().replace('_', ' ')}."

    def pgn(self) -> str:
        """Return the game as PGN."""
        game = chess.pgn.Game.from_board(self.board)
        human, player = ("White", "Black") if self.human == chess.WHITE else ("Black", "White")
        game.headers["Event"] = "rookery play"
        game.headers["Site"] = "?"
        game.headers["Date"] = f"{datetime.date.today():%Y.%m.%d}"
        game.headers[human] = "Human"
        game.headers[player] = f"{self._player.name} ({self.level.nodes} nodes)"
        game.headers["Result"] = self.result()
        return f"{game}\n\n"

    def _drawn(self) -> str | None:
        if self.board.is_repetition(3):
            return "threefold repetition"
        return "the fifty-move rule" if self.board.is_fifty_moves() else None


def parse_move(board: chess.Board, text: str) -> chess.Move:
    """Return the legal move that `text` writes, in SAN (`Nf3`, `nf3`, `O-O`, `0-0`) or UCI's notation (`g1f3`).

    Raises IllegalMove.
    """
    ambiguous = False
    for attempt in (text, text[:1].upper() + text[1:], text.upper()):
        try:
            move = board.parse_san(attempt)
        except chess.AmbiguousMoveError:
            ambiguous = True
        except ValueError:
            pass
        else:
            if move:
                return move
    try:
        move = board.parse_uci(text.lower())
    except ValueError:
        move = chess.Move.null()
    if move:
        return move
    if ambiguous:
        raise IllegalMove(f"{text} could be several moves: say from where, such as Nbd2 or b1d2")
    raise IllegalMove(f"{text} is no legal move here; `moves` lists those that are, `help` the commands")

"""Labels: every position of a game gets a score, from comments, from the store or from the engine.

Called by the actor's worker, which submits a unit's games and polls for them; single positions (of probes) are
passed on to the engine, which works on all that is asked in the order of asking. Owns which source counts:

- `pgn`: comments alone. A game in which a position has none is rejected.
- `engine`: the store of evaluations, else the engine; comments count for nothing.
- `auto`: a comment where there is one, else the engine. An engine that is needed for one position is asked
  for the whole game, and the comments are laid over: its scores follow from the game's moves alone, so
  that they are reproducible and the store can keep them; a game that is all commented never asks it.

Two positions need no comment. The last one, where it is checkmate or stalemate, is exact in all three. And
the first one: lichess comments moves, so it never has one, and asking an engine for it would make `pgn`
need one. The start of chess takes START_SCORE, so that the first move of each game is measured against
the same value; another start takes the score of the position after its first move (there is no constant
that suits it), which makes that first move neutral.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from actor.engine import Engine, Evaluated
from actor.engine_commands import EngineGame, Line
from actor.evaluations import Evaluations, GameKey, game_key
from common.settings import EvaluationSource

log = logging.getLogger(__name__)

START_SCORE = 20
"""Score, in centipawns for white, of the start of chess where only comments count: what lichess shows."""


class LabelledGame(EngineGame, Protocol):
    """What a game of n moves must have to be labelled; `actor.games.Game` has it."""

    @property
    def comment_scores(self) -> npt.NDArray[np.int16]:
        """[n + 1] score of each position that a comment gives, from its side to move."""

    @property
    def has_comment_score(self) -> npt.NDArray[np.bool_]:
        """[n + 1] whether a comment gives a score of the position."""


class Origin(StrEnum):
    """Where the scores of a game come from."""

    COMMENTS = "comments"
    STORE = "store"
    ENGINE = "engine"


class LabelFault(StrEnum):
    """Why a game can't be labelled; the values are reasons of rejection."""

    NO_EVALUATION = "no-evaluation"
    """Comments alone count, and a position has none."""
    ENGINE_DIED = "engine-died"
    """The engine died on the game again and again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A game that is done with: with its scores, or with the reason why there are none."""

    ticket: int
    """What `submit` returned for the game."""
    scores: npt.NDArray[np.int16] | None
    """[n + 1] score of each position from its side to move; None for a game to be rejected."""
    origin: Origin | None = None
    """Where the scores come from, comments laid over aside."""
    fault: LabelFault | None = None
    detail: str = ""
    """What exactly is wrong, for a person: one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """Single positions that the engine is done with."""

    ticket: int
    """What `search` returned for them."""
    scores: tuple[int, ...] | None
    """Of each position, from its side to move; None where the engine died on them again and again."""
    best_moves: tuple[str, ...] = ()
    """In each position, in UCI's notation, unchecked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelStats:
    """Snapshot of the games labelled so far, by where their scores come from."""

    commented_games: int
    stored_games: int
    engine_games: int
    faulty_games: int
    positions: int
    """Positions of all labelled games."""
    outstanding_games: int
    """Games submitted and not yet given back."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A game that waits for the engine."""

    ticket: int
    game: LabelledGame


class Labels:
    """Gives games their scores; one thread's own.

    `engine` (entered) may be None for `pgn`; `store`, at the engine's fingerprint, may be None anyway.
    """

    def __init__(
        self, source: EvaluationSource, engine: Engine | None = None, store: Evaluations | None = None
    ) -> None:
        if engine is None and source is not EvaluationSource.PGN:
            raise ValueError(f"evaluations from {source} need an engine")
        self._source = source
        self._engine = engine
        self._store = store
        self._next_ticket = 0
        self._done: list[Labelled] = []
        self._asked: dict[int, GameKey] = {}
        """The game behind each ticket of the engine."""
        self._waiting: dict[GameKey, list[_Waiting]] = {}
        """Who waits for each game that the engine works on; the same game twice is evaluated once."""
        self._searches: set[int] = set()
        """Tickets of the engine for single positions."""
        self._searched: list[Searched] = []
        self._games: Counter[Origin | LabelFault] = Counter()
        self._positions = 0

    @property
    def hungry(self) -> bool:
        """True when it is time to submit more games, so that the engine never idles."""
        return self._engine is None or self._engine.hungry

    @property
    def outstanding(self) -> int:
        """Games submitted and not yet given back."""
        return len(self._done) + sum(len(waiting) for waiting in self._waiting.values())

    def submit(self, games: Sequence[LabelledGame]) -> list[int]:
        """Take games, best a unit's at once, and return a ticket for each; never waits for the engine."""
        tickets = list(range(self._next_ticket, self._next_ticket + len(games)))
        self._next_ticket += len(games)
        needy: list[_Waiting] = []
        for ticket, game in zip(tickets, games, strict=True):
            missing = _missing(game)
            if self._source is EvaluationSource.ENGINE or (self._source is EvaluationSource.AUTO and missing):
                needy.append(_Waiting(ticket, game))
            elif missing:
                detail = (
                    f"{len(missing)} of {len(game.positions)} positions have no evaluation,"
                    f" the first one after {missing[0]} plies"
                )
                self._give(Labelled(ticket=ticket, scores=None, fault=LabelFault.NO_EVALUATION, detail=detail))
            else:
                self._give(Labelled(ticket=ticket, scores=_commented(game), origin=Origin.COMMENTS))
        if needy:
            self._look_up(needy)
        return tickets

    def poll(self, timeout_s: float) -> list[Labelled]:
        """Drive the engine until a game is done or `timeout_s` is over; return the games that are done.

        Returns at once when there are some already, or none outstanding; early when single positions are done.
        Raises EngineNotUsable as the engine does.
        """
        if self._engine is not None and (self._asked or self._searches):
            self._take_from_engine(self._engine, 0.0 if self._done else timeout_s)
        done, self._done = self._done, []
        return done

    def search(self, lines: Sequence[Line]) -> int:
        """Put positions to the engine, which must be there, as `Engine.submit_lines` has it; return a ticket."""
        assert self._engine is not None
        ticket = self._engine.submit_lines(lines)
        self._searches.add(ticket)
        return ticket

    def searched(self) -> list[Searched]:
        """Return the single positions that `poll` found done since the last call."""
        done, self._searched = self._searched, []
        return done

    def forget(self) -> None:
        """Forget all outstanding games and start the engine anew, for units that are given back."""
        self._done.clear()
        self._asked.clear()
        self._waiting.clear()
        self._searches.clear()
        self._searched.clear()
        if self._engine is not None:
            self._engine.reset()

    def stats(self) -> LabelStats:
        """Return the figures so far."""
        return LabelStats(
            commented_games=self._games[Origin.COMMENTS],
            stored_games=self._games[Origin.STORE],
            engine_games=self._games[Origin.ENGINE],
            faulty_games=sum(self._games[fault] for fault in LabelFault),
            positions=self._positions,
            outstanding_games=self.outstanding,
        )

    def _look_up(self, needy: Sequence[_Waiting]) -> None:
        """Take the scores from the store where it has them; pass the other games to the engine."""
        assert self._engine is not None
        keys = [game_key(waiting.game.start_fen, waiting.game.moves_uci) for waiting in needy]
        kept = self._store.get_many(keys) if self._store is not None else [None] * len(keys)
        for waiting, key, scores in zip(needy, keys, kept, strict=True):
            if scores is not None:
                self._give(self._laid_over(waiting, scores, Origin.STORE))
            elif key in self._waiting:
                self._waiting[key].append(waiting)
            else:
                self._waiting[key] = [waiting]
                self._asked[self._engine.submit(waiting.game)] = key

    def _take_from_engine(self, engine: Engine, timeout_s: float) -> None:
        fresh: list[tuple[GameKey, npt.NDArray[np.int16]]] = []
        for evaluated in engine.poll(timeout_s):
            if evaluated.ticket in self._searches:
                self._searches.remove(evaluated.ticket)
                self._searched.append(_searched(evaluated))
                continue
            key = self._asked.pop(evaluated.ticket)
            if evaluated.scores is not None:
                fresh.append((key, evaluated.scores))
            for waiting in self._waiting.pop(key):
                if evaluated.scores is not None:
                    self._give(self._laid_over(waiting, evaluated.scores, Origin.ENGINE))
                else:
                    self._give(
                        Labelled(
                            ticket=waiting.ticket,
                            scores=None,
                            fault=LabelFault.ENGINE_DIED,
                            detail=evaluated.failure or "",
                        )
                    )
        if self._store is not None:
            self._store.put_many(fresh)

    def _laid_over(self, waiting: _Waiting, scores: npt.NDArray[np.int16], origin: Origin) -> Labelled:
        """Return the engine's scores for a game, comments in their place where they count."""
        if self._source is EvaluationSource.AUTO:
            game = waiting.game
            scores = np.where(game.has_comment_score, game.comment_scores, scores)
            _set_terminal(game, scores)
        return Labelled(ticket=waiting.ticket, scores=scores, origin=origin)

    def _give(self, labelled: Labelled) -> None:
        self._done.append(labelled)
        outcome = labelled.fault or labelled.origin
        assert outcome is not None
        self._games[outcome] += 1
        if labelled.scores is not None:
            self._positions += len(labelled.scores)


def _searched(evaluated: Evaluated) -> Searched:
    if evaluated.scores is None:
        return Searched(ticket=evaluated.ticket, scores=None)
    scores = tuple(evaluated.scores.tolist())
    return Searched(ticket=evaluated.ticket, scores=scores, best_moves=evaluated.best_moves)


def _missing(game: LabelledGame) -> list[int]:
    """Return the plies that lack a comment and need one."""
    needed = ~game.has_comment_score
    if game.terminal_score is not None:
        needed[-1] = False
    plies: list[int] = np.flatnonzero(needed).tolist()
    return [ply for ply in plies if ply > 0 or len(needed) == 1]


def _commented(game: LabelledGame) -> npt.NDArray[np.int16]:
    """Return the scores of a game whose comments suffice."""
    scores = game.comment_scores.copy()
    _set_terminal(game, scores)
    if not game.has_comment_score[0]:
        scores[0] = START_SCORE if game.start_fen is None else -scores[1]
    return scores


def _set_terminal(game: LabelledGame, scores: npt.NDArray[np.int16]) -> None:
    if game.terminal_score is not None:
        scores[-1] = game.terminal_score

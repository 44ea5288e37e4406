"""Annotator: units of games in, their annotations out, in the games' order, with the engine always busy.

    annotator = Annotator(units, labels, comments=False)
    while not annotator.done:
        for unit in annotator.poll(timeout_s):
            ...

Owned by one thread. What an actor's Desk is to batches, this is to annotations; knows neither sources nor files.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd

from actor.annotations import ScoredGame, annotations
from actor.games import Game, read_games
from actor.labels import Labelled, Labels
from common.messages import RawGame
from common.rejections import MAX_DETAIL, Rejection, RejectionReason

UNITS_MAX = 64
"""Units begun and not out: games wait here for earlier ones, which may take the engine far longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatedUnit:
    """A unit that is done."""

    rows: pd.DataFrame
    """Annotations of the games that can be used (see `actor.annotations.COLUMNS`), in the games' order."""
    rejections: tuple[Rejection, ...]
    """The unit's other games, in their order."""
    games: int
    """Games of the unit, both kinds."""


@dataclass(slots=True)
class _UnitInHand:
    raw_games: Sequence[RawGame]
    games: list[Game]
    rejections: list[Rejection]
    scored: dict[int, ScoredGame] = field(default_factory=dict)
    """By index into `games`."""
    awaited: int = 0


class Annotator:
    """Annotates the games of `units`; takes the next unit only when the engine is about to run out of work.

    Invariants: units come out whole, each once, in the order in which they came; at most UNITS_MAX are in hand.
    `comments` says whether `[%eval …]` comments are read, which `labels` needs for all sources but the engine.
    """

    def __init__(self, units: Iterator[Sequence[RawGame]], labels: Labels, *, comments: bool) -> None:
        self._units, self._labels, self._comments = units, labels, comments
        self._exhausted = False
        self._in_hand: deque[_UnitInHand] = deque()
        self._waiting: dict[int, tuple[_UnitInHand, int]] = {}
        """The unit and the index of each game that waits for scores, by ticket."""

    @property
    def done(self) -> bool:
        """Whether all units are out."""
        return self._exhausted and not self._in_hand

    def poll(self, timeout_s: float) -> Iterator[AnnotatedUnit]:
        """Go on for at most about `timeout_s`; yield the units that are done.

        Raises what reading the units raises, and EngineNotUsable.
        """
        while not self._exhausted and self._labels.hungry and len(self._in_hand) < UNITS_MAX:
            self._begin()
        for labelled in self._labels.poll(timeout_s):
            self._take(labelled)
        while self._in_hand and self._in_hand[0].awaited == 0:
            yield _finished(self._in_hand.popleft())

    def _begin(self) -> None:
        raw_games = next(self._units, None)
        if raw_games is None:
            self._exhausted = True
            return
        games, rejections = read_games(raw_games, comments=self._comments)
        unit = _UnitInHand(raw_games, games, rejections, awaited=len(games))
        self._in_hand.append(unit)
        for index, ticket in enumerate(self._labels.submit(games)):
            self._waiting[ticket] = (unit, index)

    def _take(self, labelled: Labelled) -> None:
        unit, index = self._waiting.pop(labelled.ticket)
        game = unit.games[index]
        unit.awaited -= 1
        if labelled.scores is not None:
            assert labelled.origin is not None
            unit.scored[index] = ScoredGame(game=game, scores=labelled.scores, origin=labelled.origin)
        else:
            assert labelled.fault is not None
            raw = next(raw for raw in unit.raw_games if raw.number == game.number)
            unit.rejections.append(
                Rejection(
                    number=raw.number,
                    source=raw.source,
                    line=raw.line,
                    reason=RejectionReason(labelled.fault.value),
                    detail=labelled.detail[:MAX_DETAIL],
                )
            )


def _finished(unit: _UnitInHand) -> AnnotatedUnit:
    return AnnotatedUnit(
        rows=annotations([unit.scored[index] for index in sorted(unit.scored)]),
        rejections=tuple(sorted(unit.rejections, key=lambda rejection: rejection.number)),
        games=len(unit.raw_games),
    )

"""Evaluation: every contender on the same puzzles, positions and test positions, chunk by chunk.

All contenders do a chunk before the next one begins: interrupted at any time, they have all done the same, which
is a fair sample, since the order is drawn at random. Called by arena.evaluate_command.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arena.calibration import Calibration, Prediction, calibrate
from arena.confidence import Estimate, mean_of_clusters, share
from arena.entrants import Contender, Entrant
from arena.epd import POINTS_MAX, TestPosition, TestScore, score
from arena.held_out import PLY_BANDS, RATING_BANDS, HeldOut, band_of
from arena.puzzles import Puzzle, solved
from arena.puzzles import band_of as puzzle_band
from arena.rankings import Ranking
from arena.reference import Reference, kendall_tau_b
from arena.report_card import (
    Against,
    Band,
    Entry,
    Epd,
    EpdResult,
    MoveMatch,
    Positions,
    PuzzleResult,
    Puzzles,
    ReferenceFacts,
    Way,
)
from arena.work import Work
from common.errors import EngineDied

EVEN = "always ½"
"""The source of predictions that knows nothing."""

_UNRANKED = (Way.RANDOM,)
"""Ways whose order of the moves correlates with nothing, by definition."""


def evaluate_puzzles(path: Path, puzzles: Sequence[Puzzle], contenders: Sequence[Contender], work: Work) -> Puzzles:
    """Return how many of the puzzles each contender solves."""
    chances: dict[Entry, list[float]] = {contender.entry: [] for contender in contenders}
    for chunk in work.chunks(f"puzzles of {path.name}", puzzles):
        for contender in contenders:
            chances[contender.entry].extend(solved(chunk, contender.ranker))
    results = []
    for entry, own in chances.items():
        total = share(own)
        if total is not None:
            ratings = [puzzle_band(puzzle.rating) for puzzle in puzzles[: len(own)]]
            results.append(PuzzleResult(entry=entry, solved=total, bands=_bands(own, ratings)))
    return Puzzles(file=str(path), puzzles=len(puzzles), results=results)


def evaluate_epd(path: Path, positions: Sequence[TestPosition], contenders: Sequence[Contender], work: Work) -> Epd:
    """Return how often each contender finds the right move, and the points that it gets."""
    scores: dict[Entry, list[TestScore]] = {contender.entry: [] for contender in contenders}
    for chunk in work.chunks(f"positions of {path.name}", positions):
        for contender in contenders:
            rankings = contender.rank([position.board for position in chunk])
            scores[contender.entry].extend(map(score, chunk, rankings))
    results = []
    for entry, own in scores.items():
        right = share([one.chance for one in own])
        points = [one.points / POINTS_MAX for one in own if one.points is not None]
        if right is not None:
            estimate = mean_of_clusters(points, range(len(points)))
            results.append(EpdResult(entry=entry, right=right, points=estimate))
    return Epd(file=str(path), positions=len(positions), results=results)


@dataclass(slots=True)
class _Tally:
    """What is kept of a contender's rankings of held-out positions."""

    top_1: list[float] = field(default_factory=list)
    top_3: list[float] = field(default_factory=list)
    top_5: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    loss_games: list[int] = field(default_factory=list)
    correlations: list[float] = field(default_factory=list)
    correlation_games: list[int] = field(default_factory=list)

    def add(self, position: HeldOut, ranking: Ranking) -> None:
        self.top_1.append(ranking.chance_within(position.played, 1))
        self.top_3.append(ranking.chance_within(position.played, 3))
        self.top_5.append(ranking.chance_within(position.played, 5))

    def measure(self, position: HeldOut, ranking: Ranking, worth: npt.NDArray[np.float64]) -> None:
        """Hold a ranking against the worth [k] of the legal moves."""
        own = ranking.scores_of(tuple(position.board.legal_moves))
        self.losses.append(float(worth.max() - worth[own == own.max()].mean()))
        self.loss_games.append(position.game)
        tau = kendall_tau_b(own, worth)
        if tau is not None:
            self.correlations.append(tau)
            self.correlation_games.append(position.game)


class HeldOutEvaluation:
    """Holds contenders against what was played in held-out positions, its results, and a reference engine."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        entrants: Sequence[Entrant],
        reference: Reference | None,
        reference_positions: int,
    ) -> None:
        self._contenders = [one for one in contenders if one.entry.way != Way.ACTION_VALUES]
        self._action_values = [one for one in contenders if one.entry.way == Way.ACTION_VALUES]
        self._entrants = [entrant for entrant in entrants if entrant.has_value]
        self._reference, self._wanted = reference, reference_positions
        self._tallies = {contender.entry: _Tally() for contender in contenders}
        self._predictions: dict[str, list[Prediction]] = {}
        self._done: list[HeldOut] = []
        self._scored = self._unfinished = 0
        self.failure = ""
        """Why the reference scored no more; empty if it went well."""

    def run(self, path: Path, positions: Sequence[HeldOut], games: int, work: Work) -> Positions:
        """Return what came of `positions`, which are of so many games."""
        for chunk in work.chunks(f"positions of {path.name}", positions):
            worths = [self._worth(position) for position in chunk]
            for contender in (*self._contenders, *self._action_values):
                self._hold(contender, chunk, worths)
            self._predict(chunk, worths)
            self._done.extend(chunk)
        return self._results(path, len(positions), games)

    def _worth(self, position: HeldOut) -> npt.NDArray[np.float64] | None:
        """Return the expected score after each legal move, [k], if this position is among those to be scored."""
        moves = tuple(position.board.legal_moves)
        if self._reference is None or self._scored + self._unfinished >= self._wanted or len(moves) < 2:
            return None
        try:
            worth = self._reference.expected_scores(position.board, moves)
        except EngineDied as error:
            # What it said until then counts.
            self.failure, self._wanted = str(error), 0
            return None
        self._scored += worth is not None
        self._unfinished += worth is None
        return worth

    def _hold(
        self, contender: Contender, chunk: Sequence[HeldOut], worths: Sequence[npt.NDArray[np.float64] | None]
    ) -> None:
        tally = self._tallies[contender.entry]
        rankings = contender.rank([position.board for position in chunk])
        for position, ranking, worth in zip(chunk, rankings, worths, strict=True):
            tally.add(position, ranking)
            if worth is not None:
                tally.measure(position, ranking, worth)

    def _predict(self, chunk: Sequence[HeldOut], worths: Sequence[npt.NDArray[np.float64] | None]) -> None:
        """Note what everybody predicts of the positions whose games have a result."""
        boards = [position.board for position in chunk]
        values = {entrant.source: [one.value for one in entrant.judge(boards)] for entrant in self._entrants}
        values[EVEN] = [0.5] * len(chunk)
        for index, (position, worth) in enumerate(zip(chunk, worths, strict=True)):
            if position.result is None:
                continue
            said = {name: own[index] for name, own in values.items()}
            if worth is not None and self._reference is not None:
                said[self._reference.name] = float(worth.max())
            for name, predicted in said.items():
                prediction = Prediction(
                    predicted=predicted,
                    result=position.result,
                    game=position.game,
                    ply=position.ply,
                    sampled=worth is not None,
                )
                self._predictions.setdefault(name, []).append(prediction)

    def _results(self, path: Path, drawn: int, games: int) -> Positions:
        entries = [contender.entry for contender in self._contenders]
        matches = [match for entry in entries if (match := self._match(entry)) is not None]
        ranked = [contender.entry for contender in (*self._action_values, *self._contenders)]
        ranked = [entry for entry in ranked if entry.way not in _UNRANKED]
        return Positions(
            file=str(path),
            positions=drawn,
            games=games,
            matches=matches,
            reference=self._facts(),
            losses=[
                one
                for entry in entries
                if (one := _against(entry, self._tallies[entry].losses, self._tallies[entry].loss_games))
            ],
            correlations=[
                one
                for entry in ranked
                if (
                    one := _against(
                        entry, self._tallies[entry].correlations, self._tallies[entry].correlation_games
                    )
                )
            ],
            calibrations=self._calibrations(),
        )

    def _match(self, entry: Entry) -> MoveMatch | None:
        tally = self._tallies[entry]
        tops = share(tally.top_1), share(tally.top_3), share(tally.top_5)
        if tops[0] is None or tops[1] is None or tops[2] is None:
            return None
        plies = [band_of(position.ply, PLY_BANDS) for position in self._done]
        ratings = [band_of(position.rating, RATING_BANDS) for position in self._done]
        return MoveMatch(
            entry=entry,
            top_1=tops[0],
            top_3=tops[1],
            top_5=tops[2],
            by_ply=_bands(tally.top_1, plies),
            by_rating=_bands(tally.top_1, ratings),
        )

    def _facts(self) -> ReferenceFacts | None:
        if self._reference is None or not self._scored + self._unfinished:
            return None
        return ReferenceFacts(
            engine=self._reference.name,
            nodes=self._reference.nodes,
            positions=self._scored,
            unfinished=self._unfinished,
        )

    def _calibrations(self) -> list[Calibration]:
        found = (calibrate(name, own) for name, own in self._predictions.items())
        return [one for one in found if one is not None]


def _against(entry: Entry, values: Sequence[float], games: Sequence[int]) -> Against | None:
    estimate: Estimate | None = mean_of_clusters(values, games)
    return None if estimate is None else Against(entry=entry, estimate=estimate)


def _bands(chances: Sequence[float], starts: Sequence[int | None]) -> list[Band]:
    """Return the share of each band, the lowest first, those of which nothing is known last."""
    members: dict[int | None, list[float]] = {}
    for chance, start in zip(chances, starts, strict=True):
        members.setdefault(start, []).append(chance)
    order = sorted(members, key=lambda start: (start is None, start or 0))
    return [Band(start=start, estimate=one) for start in order if (one := share(members[start])) is not None]

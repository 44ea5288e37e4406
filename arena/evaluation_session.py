"""One evaluation from beginning to end: section by section, until it is done or stopped, and then its card."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from arena.entrants import Entrant, contenders
from arena.evaluation import HeldOutEvaluation, evaluate_epd, evaluate_puzzles
from arena.game_record import PgnFile
from arena.games import Fixture, evaluate_games
from arena.held_out import HeldOut
from arena.match import MatchResult
from arena.material import Material
from arena.reference import Reference
from arena.report_card import Epd, Positions, Puzzles, ReportCard, Way
from arena.work import Work
from common.errors import EngineDied


@dataclass(kw_only=True, slots=True)
class EvaluationSession:
    """What is evaluated how, and what was found so far."""

    entrants: list[Entrant]
    nodes: int
    """Of the searches; 0 where there are none."""
    search_positions: bool
    """Whether held-out positions are searched too."""
    reference: Reference | None
    reference_positions: int
    """How many held-out positions of a file the reference scores."""
    work: Work
    seed: int
    notes: list[str]
    begun_s: float = field(default_factory=time.monotonic)
    puzzles: list[Puzzles] = field(default_factory=list)
    positions: list[Positions] = field(default_factory=list)
    epd: list[Epd] = field(default_factory=list)
    matches: list[MatchResult] = field(default_factory=list)

    def measure(self, material: Material) -> None:
        """Evaluate the entrants on everything that was read; a file that nobody got to has no section."""
        everybody = contenders(self.entrants, self.nodes)
        for path, puzzles in material.puzzles:
            solved = evaluate_puzzles(path, puzzles, everybody, self.work)
            self.puzzles += [solved] if solved.results else []
        for path, held_out, games in material.positions:
            matched = self._held_out(path, held_out, games)
            self.positions += [matched] if matched.matches else []
        for path, tests in material.epd:
            right = evaluate_epd(path, tests, everybody, self.work)
            self.epd += [right] if right.results else []

    def play(self, fixture: Fixture, record: PgnFile) -> None:
        """Let the checkpoints play; an engine that can't go on ends the games, and is noted."""
        try:
            self.matches.extend(evaluate_games(self.entrants, fixture, record, self.work))
        except EngineDied as error:
            self.notes.append(str(error))

    def _held_out(self, path: Path, held_out: Sequence[HeldOut], games: int) -> Positions:
        without = () if self.search_positions else (Way.SEARCH,)
        rows = contenders(self.entrants, self.nodes, without=without, action_values=True)
        evaluation = HeldOutEvaluation(rows, self.entrants, self.reference, self.reference_positions)
        found = evaluation.run(path, held_out, games, self.work)
        if evaluation.failure:
            self.notes.append(evaluation.failure)
        return found

    def card(self) -> ReportCard:
        """Return what was found."""
        notes = list(self.notes)
        if self.work.interrupted:
            notes.append("interrupted: the figures are of what was done until then")
        notes += [
            f"{result.player} gave no legal move in {result.forfeits} games against {result.opponent}"
            for result in self.matches
            if result.forfeits
        ]
        return ReportCard(
            rookery=version("rookery"),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self.begun_s, 1),
            seed=self.seed,
            nodes=self.nodes,
            complete=not self.work.interrupted,
            notes=notes,
            contestants=[entrant.contestant for entrant in self.entrants],
            puzzles=self.puzzles,
            positions=self.positions,
            epd=self.epd,
            matches=self.matches,
        )

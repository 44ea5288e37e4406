"""Evaluation: what contenders make of the same things, whole and interrupted."""

from collections.abc import Callable
from pathlib import Path

import chess
import numpy as np
import pytest

from arena.entrants import Contender, Entrant, contenders
from arena.epd import read_epd
from arena.evaluation import EVEN, HeldOutEvaluation, evaluate_epd, evaluate_puzzles
from arena.held_out import HeldOut, read_positions
from arena.puzzles import read_puzzles
from arena.rankings import Ranking
from arena.report_card import Entry, Way
from arena.work import CHUNK, Work
from common.progress_line import ProgressLine
from tests.arena.players import small_player


def work(stop: Callable[[], bool] = lambda: False) -> Work:
    return Work(ProgressLine(plain=False), stop)


def stop_after(chunks: int) -> Callable[[], bool]:
    asked = iter(range(1000))
    return lambda: next(asked) >= chunks


def entrants() -> list[Entrant]:
    return [
        Entrant(
            name="small", path=Path("x"), player=small_player(), baseline=False, ways=[Way.POLICY, Way.LOOKAHEAD]
        ),
        Entrant(name="cloning", path=Path("y"), player=small_player(1), baseline=True, ways=[Way.PRIOR]),
    ]


class Knowing:
    """A reference that thinks the best of captures."""

    name, nodes = "knowing", 7

    def expected_scores(self, board: chess.Board, moves: tuple[chess.Move, ...]) -> np.ndarray:
        return np.array([0.75 if board.is_capture(move) else 0.25 for move in moves])


class Ideal:
    """Ranks the move that was played first."""

    def __init__(self, positions: list[HeldOut]) -> None:
        self.played = {position.board.fen(): position.played for position in positions}

    def rank(self, boards):
        return [
            Ranking(
                moves=tuple(board.legal_moves),
                scores=np.array([float(move == self.played[board.fen()]) for move in board.legal_moves]),
            )
            for board in boards
        ]


def test_everybody_is_measured_on_the_same_puzzles(shared_data: Path) -> None:
    path = shared_data / "puzzles" / "lichess-full.csv.zst"
    puzzles, _ = read_puzzles(path, limit=70)
    found = evaluate_puzzles(path, puzzles, contenders(entrants(), 0), work())
    ways = [(one.entry.player, one.entry.way) for one in found.results]
    assert ways == [
        ("small", Way.POLICY), ("small", Way.LOOKAHEAD), ("cloning", Way.PRIOR), ("random", Way.RANDOM),
        ("material", Way.MATERIAL),
    ]  # fmt: skip
    assert {one.solved.count for one in found.results} == {70}
    for one in found.results:
        assert sum(band.estimate.count for band in one.bands) == 70
        assert sum(band.estimate.mean * band.estimate.count for band in one.bands) == pytest.approx(
            one.solved.mean * 70
        )


def test_interrupted_everybody_has_done_the_same(shared_data: Path) -> None:
    path = shared_data / "puzzles" / "lichess-full.csv.zst"
    puzzles, _ = read_puzzles(path, limit=200)
    stopped = work(stop_after(1))
    found = evaluate_puzzles(path, puzzles, contenders([], 0), stopped)
    assert stopped.interrupted
    assert [one.solved.count for one in found.results] == [CHUNK, CHUNK]
    assert evaluate_puzzles(path, puzzles, contenders([], 0), work(lambda: True)).results == []


def test_points_are_a_share_of_what_there_is_to_get(shared_data: Path) -> None:
    path = shared_data / "puzzles" / "sts-half.epd"
    positions, _ = read_epd(path)
    found = evaluate_epd(path, positions[:40], contenders([], 0), work())
    for one in found.results:
        assert one.points is not None
        assert 0 < one.right.mean <= one.points.mean < 1


def test_held_out_positions_are_matched_measured_and_predicted(shared_data: Path) -> None:
    path = shared_data / "games" / "online-clk.pgn.zst"
    positions, games, _ = read_positions(path, count=90)
    players = entrants()
    rows = contenders(players, 0, action_values=True)
    ideal = Entry(player="ideal", way=Way.POLICY, baseline=True)
    rows.append(Contender(entry=ideal, ranker=Ideal(positions)))
    found = HeldOutEvaluation(rows, players, Knowing(), 30).run(path, positions, games, work())
    match = {one.entry: one for one in found.matches}[ideal]
    assert (match.top_1.mean, match.top_1.count) == (1.0, 90)
    assert not any(one.entry.way == Way.ACTION_VALUES for one in found.matches)
    for one in found.matches:
        assert one.top_1.mean <= one.top_3.mean <= one.top_5.mean
    assert found.reference is not None
    assert (found.reference.positions, found.reference.nodes, found.reference.unfinished) == (30, 7, 0)
    assert {one.estimate.count for one in found.losses} == {30}
    lost = {one.entry.way: one.estimate.mean for one in found.losses}
    assert 0 <= lost[Way.MATERIAL] < lost[Way.RANDOM] <= 0.5
    assert Way.RANDOM not in {one.entry.way for one in found.correlations}
    assert Way.ACTION_VALUES in {one.entry.way for one in found.correlations}
    sources = {one.source: one for one in found.calibrations}
    assert set(sources) == {"small", EVEN, "knowing"}
    assert sources[EVEN].brier.count == 90
    assert sources["knowing"].brier.count == 30
    assert sources["small"].brier_sampled is not None
    assert sources["small"].brier_sampled.count == 30


def test_without_an_engine_there_is_no_reference(shared_data: Path) -> None:
    path = shared_data / "games" / "online-clk.pgn.zst"
    positions, games, _ = read_positions(path, count=20)
    found = HeldOutEvaluation(contenders([], 0), [], None, 200).run(path, positions, games, work())
    assert found.reference is None
    assert found.losses == []
    assert len(found.matches) == 2

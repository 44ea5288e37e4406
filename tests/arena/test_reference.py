"""The reference engine, and rank correlation."""

from pathlib import Path

import chess
import numpy as np
import pytest

from arena.reference import Reference, kendall_tau_b
from common.errors import EngineNotUsable


def test_tau_of_the_same_order_is_one_and_of_the_opposite_minus_one() -> None:
    ours = np.array([0.1, 0.5, 0.2, 0.9])
    assert kendall_tau_b(ours, ours * 3) == 1.0
    assert kendall_tau_b(ours, -ours) == -1.0


def test_tau_b_allows_for_ties() -> None:
    # scipy.stats.kendalltau([1, 2, 2, 3], [1, 3, 2, 3]) gives 0.8.
    tau = kendall_tau_b(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 3.0]))
    assert tau == pytest.approx(0.8)


def test_tau_of_moves_that_are_all_level_is_none() -> None:
    assert kendall_tau_b(np.zeros(3), np.arange(3.0)) is None


def test_stockfish_scores_every_legal_move_and_does_so_again(stockfish: str) -> None:
    board = chess.Board("k7/8/1K6/8/8/8/8/7R w - - 0 1")
    moves = tuple(board.legal_moves)
    with Reference(stockfish, 5_000) as reference:
        worth = reference.expected_scores(board, moves)
        reference.expected_scores(chess.Board(), tuple(chess.Board().legal_moves))
        again = reference.expected_scores(board, moves)
    assert worth is not None
    assert again is not None
    assert moves[int(worth.argmax())] == chess.Move.from_uci("h1h8")
    assert worth.max() > 0.99
    assert worth.tolist() == again.tolist()
    assert "Stockfish" in reference.name


def test_scores_are_those_of_the_side_to_move(stockfish: str) -> None:
    winning = chess.Board("K7/8/1k6/8/8/8/8/7r b - - 0 1")
    losing = chess.Board("K7/8/1k6/8/8/8/8/6rr w - - 0 1")
    with Reference(stockfish, 2_000) as reference:
        won = reference.expected_scores(winning, tuple(winning.legal_moves))
        lost = reference.expected_scores(losing, tuple(losing.legal_moves))
    assert won is not None
    assert lost is not None
    assert won.max() > 0.99
    assert lost.max() < 0.01


def test_an_engine_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineNotUsable, match="no such engine"):
        Reference("no-such-engine-here", 100)
    script = tmp_path / "engine"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    with pytest.raises(EngineNotUsable, match="no UCI engine"):
        Reference(str(script), 100)

"""Batches made up for tests: of random columns, or of random legal games."""

import random

import chess
import numpy as np
from hypothesis import strategies as st

from common import moves
from common.batch import Batch
from common.positions import Positions, concatenate, empty
from common.rejections import Rejection, RejectionReason
from common.settings import Side
from tests.common.boards import positions_of

COLUMNS = ("actions", "scores", "game_numbers", "game_rows", "first_plies", "start_fullmoves", "results",
           "final_scores")  # fmt: skip
POSITION_COLUMNS = ("boards", "castling", "en_passant", "halfmove_clock", "repetitions")
REASONS = (RejectionReason.VARIANT, RejectionReason.CUT_OFF, RejectionReason.VARIANT)


def noise(seed: int, game_rows: list[int]) -> Batch:
    """A batch of valid columns that make no sense as chess."""
    rng = np.random.default_rng(seed)
    rows, games = sum(game_rows), len(game_rows)
    return Batch(
        unit=int(rng.integers(0, 2**53)),
        agent="black",
        side=Side.BLACK,
        games_read=games + 5,
        unselected=2,
        rejections=tuple(
            Rejection(number=number, source="a.pgn", line=7 + number, reason=reason, detail="why")
            for number, reason in enumerate(REASONS)
        ),
        positions=Positions(
            boards=rng.integers(0, 13, (rows, 64)).astype(np.uint8),
            castling=rng.integers(0, 16, rows).astype(np.uint8),
            en_passant=rng.integers(-1, 8, rows).astype(np.int8),
            halfmove_clock=rng.integers(0, 2**16, rows).astype(np.uint16),
            repetitions=rng.integers(0, 256, rows).astype(np.uint8),
        ),
        actions=rng.integers(0, 1880, rows).astype(np.uint16),
        scores=rng.integers(-32000, 32001, rows).astype(np.int16),
        game_numbers=np.cumsum(rng.integers(1, 2**50, games)).astype(np.uint64),
        game_rows=np.array(game_rows, np.uint32),
        first_plies=rng.integers(0, 2, games).astype(np.uint32),
        start_fullmoves=rng.integers(0, 2**20, games).astype(np.uint32),
        results=rng.choice([0, 1, 2, 255], games).astype(np.uint8),
        final_scores=rng.integers(-32000, 32001, games).astype(np.int16),
    )


def noises() -> st.SearchStrategy[Batch]:
    return st.builds(noise, st.integers(0, 2**32), st.lists(st.integers(0, 6), max_size=6))


def played(seed: int, games: int = 3, plies: int = 61, side: Side = Side.WHITE) -> Batch:
    """A batch of random legal games."""
    rng = random.Random(seed)
    rows: list[Positions] = []
    actions: list[int] = []
    counts = []
    for _ in range(games):
        board = chess.Board()
        count = 0
        for _ in range(plies):
            if board.is_game_over():
                break
            move = rng.choice(list(board.legal_moves))
            if board.turn == (side is Side.WHITE):
                rows.append(positions_of(board))
                actions.append(moves.indices_by_uci(side)[move.uci()])
                count += 1
            board.push(move)
        counts.append(count)
    n = len(actions)
    return Batch(
        unit=4,
        agent="white",
        side=side,
        games_read=games,
        unselected=0,
        rejections=(),
        positions=concatenate(rows) if rows else empty(0),
        actions=np.array(actions, np.uint16),
        scores=np.array([rng.randrange(-300, 300) for _ in range(n)], np.int16),
        game_numbers=np.arange(64, 64 + games, dtype=np.uint64),
        game_rows=np.array(counts, np.uint32),
        first_plies=np.full(games, 0 if side is Side.WHITE else 1, np.uint32),
        start_fullmoves=np.ones(games, np.uint32),
        results=np.array([rng.choice([0, 1, 2, 255]) for _ in range(games)], np.uint8),
        final_scores=np.zeros(games, np.int16),
    )


def assert_equal(left: Batch, right: Batch) -> None:
    for name in ("unit", "agent", "side", "games_read", "unselected"):
        assert getattr(left, name) == getattr(right, name)
    assert left.rejections == right.rejections
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), strict=True)
    for name in POSITION_COLUMNS:
        np.testing.assert_array_equal(getattr(left.positions, name), getattr(right.positions, name), strict=True)

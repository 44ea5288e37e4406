"""Batches made up for tests: of random columns, or of random legal games."""

import dataclasses
import random
from collections.abc import Sequence

import chess
import numpy as np
from hypothesis import strategies as st

from common import moves
from common.batch import GAME_SIDES, Batch
from common.positions import Positions, concatenate, empty
from common.probes import NO_REPLY, Probes, probe_boards
from common.rejections import Rejection, RejectionReason
from common.settings import Side
from tests.common.boards import positions_of

COLUMNS = ("actions", "scores", "game_numbers", "game_sides", "game_rows", "first_plies", "start_fullmoves",
           "results", "final_scores")  # fmt: skip
PROBE_COLUMNS = ("rows", "actions", "versions", "after_scores", "replies", "scores", "ended")
POSITION_COLUMNS = ("boards", "castling", "en_passant", "halfmove_clock", "repetitions")
REASONS = (RejectionReason.VARIANT, RejectionReason.CUT_OFF, RejectionReason.VARIANT)


def noise(seed: int, game_rows: list[int], side: Side = Side.BLACK) -> Batch:
    """A batch of valid columns that make no sense as chess; half of its rows are probed."""
    rng = np.random.default_rng(seed)
    colours = len(side.colours)
    games, run_rows = len(game_rows), [rows for rows in game_rows for _ in range(colours)]
    rows, runs = sum(run_rows), len(run_rows)
    positions = noisy_positions(rng, rows)
    return Batch(
        unit=int(rng.integers(0, 2**53)),
        agent="black",
        side=side,
        games_read=games + 5,
        unselected=2,
        rejections=tuple(
            Rejection(number=number, source="a.pgn", line=7 + number, reason=reason, detail="why")
            for number, reason in enumerate(REASONS)
        ),
        positions=positions,
        actions=rng.integers(0, 1880, rows).astype(np.uint16),
        scores=rng.integers(-32000, 32001, rows).astype(np.int16),
        game_numbers=np.repeat(np.cumsum(rng.integers(1, 2**50, games)).astype(np.uint64), colours),
        game_sides=np.tile([GAME_SIDES.index(colour) for colour in side.colours], games).astype(np.uint8),
        game_rows=np.array(run_rows, np.uint32),
        first_plies=rng.integers(0, 2, runs).astype(np.uint32),
        start_fullmoves=rng.integers(0, 2**20, runs).astype(np.uint32),
        results=rng.choice([0, 1, 2, 255], runs).astype(np.uint8),
        final_scores=rng.integers(-32000, 32001, runs).astype(np.int16),
        probes=noisy_probes(rng, positions),
    )


def noisy_positions(rng: np.random.Generator, rows: int) -> Positions:
    return Positions(
        boards=rng.integers(0, 13, (rows, 64)).astype(np.uint8),
        castling=rng.integers(0, 16, rows).astype(np.uint8),
        en_passant=rng.integers(-1, 8, rows).astype(np.int8),
        halfmove_clock=rng.integers(0, 2**16, rows).astype(np.uint16),
        repetitions=rng.integers(0, 256, rows).astype(np.uint8),
    )


def noisy_probes(rng: np.random.Generator, positions: Positions) -> Probes:
    rows = np.flatnonzero(rng.random(len(positions)) < 0.5).astype(np.uint32)
    count = len(rows)
    actions = rng.integers(0, 1880, count).astype(np.uint16)
    replied = rng.random(count) < 0.7
    replies = np.where(replied, rng.integers(0, 1880, count), NO_REPLY).astype(np.uint16)
    after_scores, scores = rng.integers(-32000, 32001, (2, count)).astype(np.int16)
    after, after_reply = probe_boards(positions.boards, rows, actions, replies)
    following = noisy_positions(rng, count)
    for name, none in (("castling", 0), ("en_passant", -1), ("halfmove_clock", 0), ("repetitions", 0)):
        getattr(following, name)[~replied] = none
    return Probes(
        rows=rows,
        actions=actions,
        versions=rng.integers(0, 2**60, count).astype(np.uint64),
        after_scores=after_scores,
        replies=replies,
        scores=np.where(replied, scores, after_scores),
        ended=~replied | (rng.random(count) < 0.2),
        after_positions=dataclasses.replace(noisy_positions(rng, count), boards=after),
        next_positions=dataclasses.replace(following, boards=after_reply),
    )


def noises() -> st.SearchStrategy[Batch]:
    return st.builds(noise, st.integers(0, 2**32), st.lists(st.integers(0, 6), max_size=6), st.sampled_from(Side))


def played(seed: int, games: int = 3, plies: int = 61, side: Side = Side.WHITE, probe_rate: float = 0.0) -> Batch:
    """A batch of random legal games, a share of its rows probed with random moves and replies."""
    rng = random.Random(seed)
    boards: list[chess.Board] = []
    actions: list[int] = []
    counts = []
    for _ in range(games):
        board = chess.Board()
        runs: dict[Side, list[tuple[chess.Board, int]]] = {colour: [] for colour in side.colours}
        for _ in range(plies):
            if board.is_game_over():
                break
            move = rng.choice(list(board.legal_moves))
            mover = Side.WHITE if board.turn else Side.BLACK
            if mover in runs:
                runs[mover].append((board.copy(stack=False), moves.indices_by_uci(mover)[move.uci()]))
            board.push(move)
        for run in runs.values():
            boards += [board for board, _ in run]
            actions += [action for _, action in run]
            counts.append(len(run))
    n, colours = len(actions), len(side.colours)
    return Batch(
        unit=4,
        agent="white",
        side=side,
        games_read=games,
        unselected=0,
        rejections=(),
        positions=concatenate([positions_of(board) for board in boards]),
        actions=np.array(actions, np.uint16),
        scores=np.array([rng.randrange(-300, 300) for _ in range(n)], np.int16),
        game_numbers=np.arange(64, 64 + games, dtype=np.uint64).repeat(colours),
        game_sides=np.tile([GAME_SIDES.index(colour) for colour in side.colours], games).astype(np.uint8),
        game_rows=np.array(counts, np.uint32),
        first_plies=np.tile([GAME_SIDES.index(colour) for colour in side.colours], games).astype(np.uint32),
        start_fullmoves=np.ones(games * colours, np.uint32),
        results=np.array([rng.choice([0, 1, 2, 255]) for _ in range(games * colours)], np.uint8),
        final_scores=np.zeros(games * colours, np.int16),
        probes=probed(rng, boards, probe_rate),
    )


def probed(rng: random.Random, boards: list[chess.Board], rate: float) -> Probes:
    """Random moves in a share of `boards`, random replies to them, and made-up scores."""
    rows = [row for row in range(len(boards)) if rng.random() < rate]
    actions, replies, after_positions, next_positions, ended = [], [], [], [], []
    for row in rows:
        board = boards[row].copy()
        actions.append(pushed(rng, board))
        after_positions.append(positions_of(board))
        replies.append(NO_REPLY if board.is_game_over() else pushed(rng, board))
        next_positions.append(empty(1) if replies[-1] == NO_REPLY else positions_of(board))
        ended.append(board.is_game_over())
    scores = np.array([rng.randrange(-300, 300) for _ in rows], np.int16)
    return Probes(
        rows=np.array(rows, np.uint32),
        actions=np.array(actions, np.uint16),
        versions=np.full(len(rows), 3, np.uint64),
        after_scores=scores,
        replies=np.array(replies, np.uint16),
        scores=np.where(np.array(replies, np.uint16) == NO_REPLY, scores, scores + 9).astype(np.int16),
        ended=np.array(ended, np.bool_),
        after_positions=concatenate(after_positions),
        next_positions=concatenate(next_positions),
    )


def pushed(rng: random.Random, board: chess.Board) -> int:
    """Make a random move on `board`; return its index."""
    side = Side.WHITE if board.turn else Side.BLACK
    move = rng.choice(list(board.legal_moves))
    board.push(move)
    return moves.indices_by_uci(side)[move.uci()]


def assert_equal(left: Batch, right: Batch) -> None:
    for name in ("unit", "agent", "side", "games_read", "unselected"):
        assert getattr(left, name) == getattr(right, name)
    assert left.rejections == right.rejections
    same_columns(left, right, COLUMNS)
    same_columns(left.positions, right.positions, POSITION_COLUMNS)
    same_columns(left.probes, right.probes, PROBE_COLUMNS)
    same_columns(left.probes.after_positions, right.probes.after_positions, POSITION_COLUMNS)
    same_columns(left.probes.next_positions, right.probes.next_positions, POSITION_COLUMNS)


def same_columns(left: object, right: object, names: Sequence[str]) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), strict=True)

"""From the fast reader's arrays to positions and moves as the learner sees them, a whole unit at a time.

Called by actor.games. Owns what the fast reader leaves open: the turned board, legal en passant, halfmove
clocks beyond 255, repetitions. Knows nothing of text, headers or results.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import chess
import numpy as np
import numpy.typing as npt
from rust_pgn_reader_python_binding import PyChunkView

from common import moves
from common.positions import NO_FILE, SQUARES, Positions

_CLOCK_SATURATED = 255
_OWN_PAWN = 1
_FIFTH_RANK = 32  # first square of the rank from which a pawn takes en passant
_SIXTH_RANK = 40

# A white-or-black piece as the side to move sees it when that is black: colours change places.
_SWAPPED_PIECE = np.array([0, *range(7, 13), *range(1, 7)], np.uint8)
_SWAPPED_CASTLING = np.array([rights >> 2 | (rights & 3) << 2 for rights in range(16)], np.uint8)
# Odd constants that spread equal positions' words over 64 bits; any would do.
_SPREAD = (np.arange(1, 9, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The positions and moves of g games, one game after another: N positions, M = N - g moves."""

    positions: Positions
    """[N] each game's positions, the last one included."""
    white_to_move: npt.NDArray[np.bool_]
    """[N]"""
    actions: npt.NDArray[np.uint16]
    """[M] index of each move."""
    first_positions: list[int]
    """[g + 1] row of each game's first position."""
    first_moves: list[int]
    """[g + 1] row of each game's first move."""


def columns_of(chunk: PyChunkView, start_clocks: Mapping[int, int]) -> Columns:
    """Return the columns of all games that the fast reader read into `chunk`, unusable ones included.

    `start_clocks` gives the halfmove clock of the start position of each game that has one.
    """
    first_positions, first_moves = (
        chunk.position_offsets.astype(np.int64),
        chunk.move_offsets.astype(np.int64),
    )
    game_of_position = np.repeat(np.arange(chunk.num_games), np.diff(first_positions))
    white = chunk.turn
    black_rows = np.flatnonzero(~white)
    boards = chunk.boards.reshape(-1, SQUARES).copy()
    turned = boards[black_rows].reshape(-1, 8, 8)[:, ::-1].reshape(-1, SQUARES)
    boards[black_rows] = _SWAPPED_PIECE[turned]
    castling = np.packbits(chunk.castling, axis=1, bitorder="little").reshape(-1)
    castling[black_rows] = _SWAPPED_CASTLING[castling[black_rows]]
    en_passant = _legal_en_passant(boards, chunk.en_passant)
    positions = Positions(
        boards=boards,
        castling=castling,
        en_passant=en_passant,
        halfmove_clock=_halfmove_clock(chunk.halfmove_clock, first_positions, start_clocks),
        repetitions=_repetitions(boards, white, castling, en_passant, game_of_position),
    )
    return Columns(
        positions=positions,
        white_to_move=white,
        actions=_actions(chunk, first_positions, first_moves),
        first_positions=first_positions.tolist(),
        first_moves=first_moves.tolist(),
    )


def _actions(
    chunk: PyChunkView, first_positions: npt.NDArray[np.int64], first_moves: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint16]:
    # The k-th move of a game leaves its k-th position: skip each game's last position.
    counts = np.diff(first_moves)
    position_of_move = np.arange(chunk.num_moves) + np.repeat(first_positions[:-1] - first_moves[:-1], counts)
    turn = np.where(chunk.turn[position_of_move], np.uint8(0), np.uint8(56))
    promotions = np.maximum(chunk.promotions, moves.NO_PROMOTION).astype(np.uint8)
    return moves.encode(chunk.from_squares ^ turn, chunk.to_squares ^ turn, promotions)


def _legal_en_passant(boards: npt.NDArray[np.uint8], pushed: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return the file of a legal en-passant capture, given that of the last double push; NO_FILE for none."""
    files = np.full(len(pushed), NO_FILE, np.int8)
    rows = np.flatnonzero(pushed >= 0)
    pawns = np.zeros((len(rows), 10), np.bool_)  # own pawns on the fifth rank, a column of none on each side
    pawns[:, 1:9] = boards[rows, _FIFTH_RANK : _FIFTH_RANK + 8] == _OWN_PAWN
    file = pushed[rows].astype(np.int64)
    beside = pawns[np.arange(len(rows)), file] | pawns[np.arange(len(rows)), file + 2]
    for row in rows[beside].tolist():
        if _can_take(boards[row], int(pushed[row])):
            files[row] = pushed[row]
    return files


def _can_take(board: npt.NDArray[np.uint8], file: int) -> bool:
    """Return whether taking en passant on `file` is legal: python-chess decides, the mover being white."""
    codes = np.arange(1, 13, dtype=np.uint8)[:, None]
    masks = np.packbits(board == codes, axis=1, bitorder="little").view("<u8")[:, 0].tolist()
    set_up = chess.Board(None)
    set_up.pawns, set_up.knights, set_up.bishops, set_up.rooks, set_up.queens, set_up.kings = (
        own | other for own, other in zip(masks[:6], masks[6:], strict=True)
    )
    for colour, own in ((chess.WHITE, masks[:6]), (chess.BLACK, masks[6:])):
        set_up.occupied_co[colour] = sum(own)
    set_up.occupied = sum(masks)
    set_up.ep_square = _SIXTH_RANK + file
    return set_up.has_legal_en_passant()


def _halfmove_clock(
    clock: npt.NDArray[np.uint8], first_positions: npt.NDArray[np.int64], start_clocks: Mapping[int, int]
) -> npt.NDArray[np.uint16]:
    if len(clock) == 0 or clock.max() < _CLOCK_SATURATED:
        return clock.astype(np.uint16)
    rows = np.arange(len(clock))
    known = clock == 0
    known[first_positions[:-1][np.diff(first_positions) > 0]] = True
    start = np.zeros(len(clock), np.int64)
    for game, start_clock in start_clocks.items():
        if first_positions[game + 1] > first_positions[game]:
            start[first_positions[game]] = start_clock
    latest = np.maximum.accumulate(np.where(known, rows, 0))
    return (rows - latest + start[latest]).astype(np.uint16)


def _repetitions(
    boards: npt.NDArray[np.uint8],
    white: npt.NDArray[np.bool_],
    castling: npt.NDArray[np.uint8],
    en_passant: npt.NDArray[np.int8],
    game_of_position: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8]:
    """Return how often each position occurred earlier in its game.

    Equal positions have equal hashes, so only positions that share their hash are counted, and those exactly.
    """
    repetitions = np.zeros(len(boards), np.uint8)
    state = white | castling.astype(np.uint64) << 1 | (en_passant + 1).astype(np.uint64) << 5
    words = boards.view(np.uint64) * _SPREAD
    words ^= words >> np.uint64(29)
    hashes = (words * _MIX).sum(axis=1) + (state | game_of_position.astype(np.uint64) << 16) * _SPREAD[1]
    order = np.argsort(hashes, kind="stable")
    equal = np.flatnonzero(np.diff(hashes[order]) == 0)
    seen: dict[tuple[int, int, bytes], int] = {}
    for row in np.unique(order[np.concatenate([equal, equal + 1])]).tolist():
        key = (int(game_of_position[row]), int(state[row]), boards[row].tobytes())
        earlier = seen.get(key, 0)
        seen[key] = earlier + 1
        repetitions[row] = min(earlier, 255)
    return repetitions

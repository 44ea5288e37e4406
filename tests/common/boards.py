"""Positions made from python-chess boards, independently of the code under test."""

import random

import chess
import numpy as np

from common.positions import Positions, concatenate, empty


def positions_of(board: chess.Board, repetitions: int = 0) -> Positions:
    seen = board if board.turn == chess.WHITE else board.mirror()
    positions = empty(1)
    for square, piece in seen.piece_map().items():
        positions.boards[0, square] = piece.piece_type + (0 if piece.color == chess.WHITE else 6)
    for bit, (colour, king_side) in enumerate(
        [(chess.WHITE, True), (chess.WHITE, False), (chess.BLACK, True), (chess.BLACK, False)]
    ):
        has = seen.has_kingside_castling_rights if king_side else seen.has_queenside_castling_rights
        positions.castling[0] |= has(colour) << bit
    if board.has_legal_en_passant():
        positions.en_passant[0] = chess.square_file(board.ep_square)
    positions.halfmove_clock[0] = board.halfmove_clock
    positions.repetitions[0] = repetitions
    return positions


def random_boards(seed: int, games: int = 15, plies: int = 120) -> list[chess.Board]:
    rng = random.Random(seed)
    boards = []
    for _ in range(games):
        board = chess.Board()
        for _ in range(plies):
            boards.append(board.copy(stack=False))
            if board.is_game_over():
                break
            board.push(rng.choice(list(board.legal_moves)))
    return boards


AWKWARD_FENS = [
    "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1",
    "r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 12 40",
    "rn2k1nr/8/8/8/8/8/8/RN2K1NR w KQkq - 0 1",
    "8/8/8/8/k2Pp2Q/8/8/3K4 b - d3 0 1",
    "8/P1P5/8/8/8/8/p1p4k/1N1N2K1 w - - 0 1",
    "1n1n4/P1P4k/8/8/8/8/p1p5/1N1N2K1 b - - 0 1",
    "4k3/8/8/3pPp2/8/8/8/4K3 w - d6 0 2",
    "4k3/8/8/8/3PpP2/8/8/4K3 b - f3 0 2",
    "QQQQQQQQ/8/8/8/8/8/8/k1K5 w - - 99 300",
]


def all_boards() -> list[chess.Board]:
    return [chess.Board(fen) for fen in AWKWARD_FENS] + random_boards(7)


def all_positions() -> tuple[list[chess.Board], Positions]:
    boards = all_boards()
    return boards, concatenate([positions_of(board) for board in boards])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)

"""Games for the engine's tests, made by python-chess alone: an oracle independent of the readers."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import chess
import chess.engine
import chess.pgn
import numpy as np
import numpy.typing as npt
import zstandard

from actor.engine_commands import EngineGame
from common import scores
from common.positions import Positions, empty


@dataclass(frozen=True, kw_only=True)
class MadeGame:
    start_fen: str | None
    moves_uci: list[str]
    positions: Positions
    terminal_score: int | None
    comment_scores: npt.NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    has_comment_score: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))


def boards_of(game: EngineGame) -> list[chess.Board]:
    """Return the board before each move of a game, and after the last."""
    board = chess.Board(game.start_fen or chess.STARTING_FEN)
    boards = [board.copy()]
    for move in game.moves_uci:
        board.push_uci(move)
        boards.append(board.copy())
    return boards


def game_of(moves: Sequence[str], start_fen: str | None = None) -> MadeGame:
    board = chess.Board(start_fen or chess.STARTING_FEN)
    positions = empty(len(moves) + 1)
    seen: Counter[object] = Counter()
    for ply in range(len(moves) + 1):
        _fill(positions, ply, board, seen)
        if ply < len(moves):
            board.push_uci(moves[ply])
    terminal = None
    if board.is_checkmate():
        terminal = scores.CHECKMATED
    elif board.is_stalemate():
        terminal = scores.DRAWN
    return MadeGame(
        start_fen=start_fen,
        moves_uci=list(moves),
        positions=positions,
        terminal_score=terminal,
        comment_scores=np.zeros(len(moves) + 1, np.int16),
        has_comment_score=np.zeros(len(moves) + 1, np.bool_),
    )


def _fill(positions: Positions, ply: int, board: chess.Board, seen: Counter[object]) -> None:
    us, them = board.turn, not board.turn
    for square, piece in board.piece_map().items():
        turned = square if us == chess.WHITE else square ^ 56
        positions.boards[ply, turned] = piece.piece_type + (0 if piece.color == us else 6)
    rights = (
        board.has_kingside_castling_rights(us),
        board.has_queenside_castling_rights(us),
        board.has_kingside_castling_rights(them),
        board.has_queenside_castling_rights(them),
    )
    positions.castling[ply] = sum(1 << bit for bit, right in enumerate(rights) if right)
    if board.ep_square is not None and board.has_legal_en_passant():
        positions.en_passant[ply] = chess.square_file(board.ep_square)
    positions.halfmove_clock[ply] = board.halfmove_clock
    key = board._transposition_key()
    positions.repetitions[ply] = min(255, seen[key])
    seen[key] += 1


def real_games(shared_data: Path, count: int, skip: int = 0) -> list[MadeGame]:
    path = shared_data / "games" / "games-a.pgn.zst"
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        text = io.TextIOWrapper(stream, encoding="latin-1")
        for _ in range(skip):
            chess.pgn.skip_game(text)
        games = [chess.pgn.read_game(text) for _ in range(count)]
    return [game_of([move.uci() for move in game.mainline_moves()]) for game in games if game is not None]


def unpipelined_scores(stockfish: str, games: Sequence[MadeGame], nodes: int) -> list[npt.NDArray[np.int16]]:
    """Ask one python-chess engine for one position after the other, all moves given each time."""
    answers = []
    with chess.engine.SimpleEngine.popen_uci(stockfish) as engine:
        for game in games:
            row = []
            for board in boards_of(game):
                if board.is_checkmate() or board.is_stalemate():
                    row.append(scores.CHECKMATED if board.is_checkmate() else scores.DRAWN)
                    continue
                info = engine.analyse(board, chess.engine.Limit(nodes=nodes), game=id(game))
                score = info["score"].relative
                mate = score.mate()
                if mate is not None:
                    row.append(scores.from_mate(mate))
                else:
                    row.append(scores.from_centipawns(score.score() or 0))
            answers.append(np.array(row, np.int16))
    return answers

"""A game that was worked on, for the dashboard's board: its moves and Stockfish's evaluation of each position.

Recorded by the actor's desk, now and then, as the event `game` (common/tracing.py). Fields: `unit`, `game` (its
number), `source`, `line`, `start_fen`, `moves` (UCI), `scores`, `result` and `agents` (their names). Each position
has a score, the last one, too, white's view: centipawns, m3 or m-2 for a mate by white or black in so many moves,
m0 for checkmate on the board.
"""

from collections.abc import Sequence

import chess
import numpy as np
import numpy.typing as npt

from actor.games import Game
from common.logs import MAX_FIELD_CHARACTERS
from common.messages import RawGame
from common.scores import CENTIPAWNS_MAX, MATE
from common.tracing import record_event

INTERVAL_S = 2.0
"""Least time between two samples of an actor."""
_RESULTS = {None: "*", 0: "0-1", 1: "1/2-1/2", 2: "1-0"}


def record_game(unit: int, agents: Sequence[str], raw: RawGame, game: Game, scores: npt.NDArray[np.int16]) -> bool:
    """Record a game; return False, with nothing recorded, for one that is too long for a log record.

    `scores` [n + 1] are from the side to move.
    """
    texts = {
        "moves": " ".join(game.moves_uci),
        "scores": " ".join(_words(scores, white_first=game.start_white_to_move)),
        "agents": " ".join(agents),
    }
    if max(map(len, texts.values())) > MAX_FIELD_CHARACTERS:
        return False
    record_event(
        "game",
        unit=unit,
        game=game.number,
        source=raw.source,
        line=raw.line,
        start_fen=game.start_fen or chess.STARTING_FEN,
        result=_RESULTS[game.result],
        **texts,
    )
    return True


def _words(scores: npt.NDArray[np.int16], *, white_first: bool) -> list[str]:
    return [_word(score if (ply % 2 == 0) == white_first else -score) for ply, score in enumerate(scores.tolist())]


def _word(score: int) -> str:
    if abs(score) <= CENTIPAWNS_MAX:
        return str(score)
    moves = MATE - abs(score)
    return f"m{moves if score > 0 else -moves}"

"""Annotations: the evaluations of whole games as a table, one row per position.

Pure: games and scores in, rows out. Called by the annotator; knows neither engine nor file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pandas as pd

from actor.games import Game
from actor.labels import Origin
from common import scores
from common.settings import Side

COLUMNS = {
    "game": "int64",
    "ply": "int32",
    "fen": "str",
    "move": "str",
    "score_cp": "Int32",
    "mate": "Int32",
    "expected_score": "float32",
    "side": "str",
    "source": "str",
}
"""The table's columns and their pandas dtypes.

game            number of the game, from 0 over all sources in order
ply             number of the position, from 0, the final one included
fen             the position
move            the move played there, in UCI's notation; null in the final position
score_cp        the evaluation in centipawns, from the side to move, within ±20000; null for a mate
mate            moves to mate: positive where the side to move mates, negative where it is mated, 0 where it is
                checkmated on the board; null for centipawns
expected_score  what the evaluation is worth to white, in [0, 1] (see common.scores)
side            the side to move: white or black
source          whose evaluation it is, a ScoreSource
"""


class ScoreSource(StrEnum):
    """Where the score of a position comes from."""

    ENGINE = "engine"
    """The engine said so, now or when the store of evaluations was filled."""
    COMMENT = "comment"
    """An `[%eval …]` comment of the PGN says so."""
    RULES = "rules"
    """Checkmate or stalemate on the board: exact."""
    ASSUMED = "assumed"
    """The start of a game whose other positions are all commented (see actor.labels)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredGame:
    """A game of n moves and what its positions are worth."""

    game: Game
    scores: npt.NDArray[np.int16]
    """[n + 1] score of each position from its side to move."""
    origin: Origin
    """Where the scores come from, comments laid over aside."""


def annotations(games: Sequence[ScoredGame]) -> pd.DataFrame:
    """Return the rows of these games, one after another, with COLUMNS."""
    if not games:
        return pd.DataFrame({name: [] for name in COLUMNS}).astype(COLUMNS)
    lengths = [len(scored.scores) for scored in games]
    white = np.concatenate([_white_to_move(scored.game) for scored in games])
    score = np.concatenate([scored.scores for scored in games])
    is_mate = np.abs(score) > scores.CENTIPAWNS_MAX
    moves_to_mate = np.sign(score) * (scores.MATE - np.abs(score))
    columns = {
        "game": np.repeat(np.array([scored.game.number for scored in games], np.int64), lengths),
        "ply": np.concatenate([np.arange(length) for length in lengths]),
        "fen": [fen for scored in games for fen in _fens(scored.game)],
        "move": [move for scored in games for move in (*scored.game.moves_uci, None)],
        "score_cp": pd.arrays.IntegerArray(score.astype(np.int32), is_mate),
        "mate": pd.arrays.IntegerArray(moves_to_mate.astype(np.int32), ~is_mate),
        "expected_score": scores.expected_score(np.where(white, score, -score)),
        "side": np.where(white, Side.WHITE.value, Side.BLACK.value),
        "source": np.concatenate([_sources(scored) for scored in games]),
    }
    return pd.DataFrame(columns).astype(COLUMNS)


def _white_to_move(game: Game) -> npt.NDArray[np.bool_]:
    white = np.zeros(len(game) + 1, np.bool_)
    white[0 if game.start_white_to_move else 1 :: 2] = True
    return white


def _fens(game: Game) -> list[str]:
    sides = (Side.WHITE, Side.BLACK) if game.start_white_to_move else (Side.BLACK, Side.WHITE)
    black_first = not game.start_white_to_move
    return [
        game.positions.to_fen(ply, sides[ply % 2], game.start_fullmove + (ply + black_first) // 2)
        for ply in range(len(game) + 1)
    ]


def _sources(scored: ScoredGame) -> npt.NDArray[np.object_]:
    game = scored.game
    sources = np.full(len(game) + 1, ScoreSource.ENGINE.value, np.object_)
    sources[game.has_comment_score] = ScoreSource.COMMENT.value
    if scored.origin is Origin.COMMENTS and not game.has_comment_score[0]:
        sources[0] = ScoreSource.ASSUMED.value
    if game.terminal_score is not None:
        sources[-1] = ScoreSource.RULES.value
    return sources

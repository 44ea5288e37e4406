"""The step from a unit's games and their scores to the batch of one agent.

Called by the actor's service, once for each agent of a leased unit. Picks columns; computes no reward (see
common.transitions, which the learner calls).
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from actor.games import Game
from actor.selection import select
from common.batch import NO_RESULT, Batch
from common.positions import Positions, empty
from common.rejections import Rejection
from common.settings import AgentSettings, Side

T = TypeVar("T", bound=np.generic)


def make_batch(
    unit: int,
    agent: AgentSettings,
    games: Sequence[Game],
    scores: Sequence[npt.NDArray[np.int16]],
    rejections: Sequence[Rejection],
) -> Batch:
    """Return the batch of `agent` for a unit: the decision points of the games that its query selects.

    `scores` holds, for each of `games`, the score of each of its n + 1 positions, int16, from the side to
    move. `rejections` holds the unit's other games.
    """
    selected = np.flatnonzero(select(games, agent.where)).tolist()
    used = [games[index] for index in selected]
    scored = [scores[index] for index in selected]
    white = agent.side is Side.WHITE
    first_plies = [0 if game.start_white_to_move == white else 1 for game in used]
    picks = [slice(first, len(game), 2) for first, game in zip(first_plies, used, strict=True)]
    return Batch(
        unit=unit,
        agent=agent.name,
        side=agent.side,
        games_read=len(games) + len(rejections),
        unselected=len(games) - len(used),
        rejections=tuple(rejections),
        positions=_picked([game.positions for game in used], picks),
        actions=_joined([game.actions[pick] for game, pick in zip(used, picks, strict=True)], np.uint16),
        scores=_joined([score[pick] for score, pick in zip(scored, picks, strict=True)], np.int16),
        game_numbers=np.array([game.number for game in used], np.uint64),
        game_rows=np.array(
            [len(range(len(game))[pick]) for game, pick in zip(used, picks, strict=True)], np.uint32
        ),
        first_plies=np.array(first_plies, np.uint32),
        start_fullmoves=np.array(
            [
                game.start_fullmove + (first == 1 and not game.start_white_to_move)
                for game, first in zip(used, first_plies, strict=True)
            ],
            np.uint32,
        ),
        results=np.array([_half_points(game.result, white) for game in used], np.uint8),
        final_scores=np.array(
            [
                # The agent is to move at the end when an even number of plies lies between its first and it.
                int(score[-1]) if (len(game) - first) % 2 == 0 else -int(score[-1])
                for game, score, first in zip(used, scored, first_plies, strict=True)
            ],
            np.int16,
        ),
    )


def _half_points(result: int | None, white: bool) -> int:
    if result is None:
        return NO_RESULT
    return result if white else 2 - result


def _picked(parts: Sequence[Positions], picks: Sequence[slice]) -> Positions:
    if not parts:
        return empty(0)
    pairs = list(zip(parts, picks, strict=True))
    return Positions(
        boards=np.concatenate([part.boards[pick] for part, pick in pairs]),
        castling=np.concatenate([part.castling[pick] for part, pick in pairs]),
        en_passant=np.concatenate([part.en_passant[pick] for part, pick in pairs]),
        halfmove_clock=np.concatenate([part.halfmove_clock[pick] for part, pick in pairs]),
        repetitions=np.concatenate([part.repetitions[pick] for part, pick in pairs]),
    )


def _joined(parts: Sequence[npt.NDArray[T]], dtype: type[T]) -> npt.NDArray[T]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)

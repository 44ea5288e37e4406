"""Transitions: what an agent learns from, made from a batch.

For an agent that plays colour c, with its decision points s₀, s₁, … in a game, w(s) the expected score for
c, and z the result for c in {0, ½, 1}:

    shaped      r = w(sₖ₊₁) - w(sₖ); at the last decision point z - w(sₖ)
    outcome     r = 0; at the last decision point z

The shaped rewards of a game add up to z - w(s₀). A game without a result ends truncated: there the expected
score of its final position stands in for z, and no terminal flag is set. After the agent's last decision
point a game may go on for one more move, of the opponent.

Called by learners and exports. Pure: the same batch gives the same bits.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.batch import NO_RESULT, Batch
from common.positions import Positions
from common.scores import expected_score, expected_score_exact
from common.settings import Reward

END = -1
"""Next row of the last decision point of a game."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Transitions:
    """The n transitions of one batch, in its order: games one after another, plies rising."""

    positions: Positions
    """[n] decision points, seen from the agent's side."""
    actions: npt.NDArray[np.uint16]
    """[n] index of the move played."""
    rewards: npt.NDArray[np.float32]
    """[n] reward for the agent; shaped rewards lie in [-1, 1], outcomes in [0, 1]."""
    expected_scores: npt.NDArray[np.float32]
    """[n] w of the position, from the agent's side."""
    next_rows: npt.NDArray[np.int64]
    """[n] row of the next decision point; END at the end of a game."""
    terminated: npt.NDArray[np.bool_]
    """[n] whether the game ends here, with a result."""
    truncated: npt.NDArray[np.bool_]
    """[n] whether the game ends here, without one."""
    outcomes: npt.NDArray[np.float32]
    """[n] z of the game: 0, 0.5 or 1 from the agent's side; NaN for a game without a result."""
    game_numbers: npt.NDArray[np.uint64]
    """[n] number of the game."""
    plies: npt.NDArray[np.uint32]
    """[n] ply of the position in its game, from 0."""
    fullmoves: npt.NDArray[np.uint32]
    """[n] fullmove number of the position, as in a FEN."""

    def __len__(self) -> int:
        return len(self.actions)


def transitions(batch: Batch, reward: Reward) -> Transitions:
    """Return the transitions of `batch`, paid as `reward` says, in float64 and rounded to float32 once."""
    rows = len(batch)
    counts = batch.game_rows.astype(np.int64)
    game_of_row = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    moves_on = np.arange(rows) - np.repeat(ends - counts, counts)
    last = moves_on == np.repeat(counts - 1, counts)

    has_result = batch.results != NO_RESULT
    worth_of_end = np.where(has_result, batch.results / 2.0, expected_score_exact(batch.final_scores))
    exact = expected_score_exact(batch.scores)
    next_exact = np.append(exact[1:], 0.0)[:rows]
    following = np.where(last, worth_of_end[game_of_row], next_exact)
    rewards = following - exact if reward is Reward.SHAPED else np.where(last, following, 0.0)

    ended_by_result = has_result[game_of_row]
    return Transitions(
        positions=batch.positions,
        actions=batch.actions,
        rewards=rewards.astype(np.float32),
        expected_scores=expected_score(batch.scores),
        next_rows=np.where(last, END, np.arange(1, rows + 1)),
        terminated=last & ended_by_result,
        truncated=last & ~ended_by_result,
        outcomes=np.where(has_result, batch.results / 2.0, np.nan).astype(np.float32)[game_of_row],
        game_numbers=batch.game_numbers[game_of_row],
        plies=(batch.first_plies[game_of_row] + 2 * moves_on).astype(np.uint32),
        fullmoves=(batch.start_fullmoves[game_of_row] + moves_on).astype(np.uint32),
    )

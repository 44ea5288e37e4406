"""Transitions: what an agent learns from, made from a batch.

For an agent that plays colour c, with its decision points s₀, s₁, … in a game, w(s) the expected score for
c, and z the result for c in {0, ½, 1}:

    shaped      r = w(sₖ₊₁) - w(sₖ); at the last decision point z - w(sₖ)
    outcome     r = 0; at the last decision point z

The shaped rewards of a game add up to z - w(s₀). A game without a result ends truncated: there the expected
score of its final position stands in for z, and no terminal flag is set. After the agent's last decision
point a game may go on for one more move, of the opponent. What is said of a game holds for each of the two
runs of a game that an agent plays both sides of, c being the run's colour.

A probe is a game of one move of the agent's, cut off after the reply, or ended by the move itself.

Called by learners and exports. Pure: the same batch gives the same bits.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from common.batch import NO_RESULT, Batch
from common.positions import Positions
from common.probes import NO_REPLY
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
    sides: npt.NDArray[np.uint8]
    """[n] colour c, an index into common.batch.GAME_SIDES: 0 white, 1 black."""
    plies: npt.NDArray[np.uint32]
    """[n] ply of the position in its game, from 0."""
    fullmoves: npt.NDArray[np.uint32]
    """[n] fullmove number of the position, as in a FEN."""

    def __len__(self) -> int:
        return len(self.actions)

    def first_games(self, rows: int) -> "Transitions":
        """Return the first games, or runs of games, that have `rows` rows or more between them; all if none do."""
        ends = np.flatnonzero(self.next_rows == END) + 1
        enough = ends[ends >= rows]
        if not len(enough) or enough[0] == len(self):
            return self
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        positions = columns.pop("positions").take(slice(0, int(enough[0])))
        return Transitions(positions=positions, **{name: part[: enough[0]] for name, part in columns.items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeTransitions:
    """The p one-move transitions of a batch's probes, in its order."""

    rows: npt.NDArray[np.int64]
    """[p] row of the decision point in the batch's transitions, rising."""
    positions: Positions
    """[p] decision points s, seen from the agent's side."""
    actions: npt.NDArray[np.uint16]
    """[p] index of the agent's move."""
    rewards: npt.NDArray[np.float32]
    """[p] reward for the agent: w(last position) - w(s) where shaped, else w(last position)."""
    expected_scores: npt.NDArray[np.float32]
    """[p] w of s, from the agent's side."""
    after_positions: Positions
    """[p] positions after the move, seen from the opponent, which is to move."""
    after_expected_scores: npt.NDArray[np.float32]
    """[p] w of those, from the opponent's side."""
    has_next: npt.NDArray[np.bool_]
    """[p] whether there is a reply and a position after it; False where the agent's move ends the game."""
    next_positions: Positions
    """[p] positions after the reply, seen from the agent, which is to move; empty boards where there is none."""
    next_expected_scores: npt.NDArray[np.float32]
    """[p] w of the last position, the one after the reply if there is one, from the agent's side."""
    ended: npt.NDArray[np.bool_]
    """[p] whether the game is over in the last position: there is no legal move in it, or it is a draw."""
    versions: npt.NDArray[np.uint64]
    """[p] version of the weights that chose the move."""

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
        sides=batch.game_sides[game_of_row],
        plies=(batch.first_plies[game_of_row] + 2 * moves_on).astype(np.uint32),
        fullmoves=(batch.start_fullmoves[game_of_row] + moves_on).astype(np.uint32),
    )


def probe_transitions(batch: Batch, reward: Reward) -> ProbeTransitions:
    """Return what the probes of `batch` teach, paid as `reward` says; the last position's w stands in for z.

    That w is exact where the game is over there: 1, ½ or 0. Computed in float64, rounded to float32 once.
    """
    probes = batch.probes
    last = expected_score_exact(probes.scores)
    before = expected_score_exact(batch.scores[probes.rows])
    return ProbeTransitions(
        rows=probes.rows.astype(np.int64),
        positions=batch.positions.take(probes.rows),
        actions=probes.actions,
        rewards=(last - before if reward is Reward.SHAPED else last).astype(np.float32),
        expected_scores=expected_score(batch.scores[probes.rows]),
        after_positions=probes.after_positions,
        after_expected_scores=expected_score(-probes.after_scores),
        has_next=probes.replies != NO_REPLY,
        next_positions=probes.next_positions,
        next_expected_scores=expected_score(probes.scores),
        ended=probes.ended,
        versions=probes.versions,
    )

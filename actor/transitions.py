"""The step from a unit's games and their scores to the batch of one agent.

Called by the actor's service, once for each agent of a leased unit. Picks columns; computes no reward (see
common.transitions, which the learner calls).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from actor.games import Game
from actor.probe import Probe
from actor.selection import select
from common.batch import NO_RESULT, Batch
from common.positions import concatenate
from common.probes import Probes, no_probes
from common.rejections import Rejection
from common.settings import AgentSettings, Side

T = TypeVar("T", bound=np.generic)


def make_batch(
    unit: int,
    agent: AgentSettings,
    games: Sequence[Game],
    scores: Sequence[npt.NDArray[np.int16]],
    rejections: Sequence[Rejection],
    probes: Sequence[Probe] = (),
) -> Batch:
    """Return the batch of `agent` for a unit: the decision points of the games that its query selects.

    Each game has a run of rows for each side that the agent plays, white's first.

    `scores` holds, for each of `games`, the score of each of its n + 1 positions, int16, from the side to
    move. `rejections` holds the unit's other games, `probes` the agent's probes that are done, in any order;
    those of games that are not used are left out.
    """
    selected = np.flatnonzero(select(games, agent.where)).tolist()
    runs = [
        Run.of(games[index], scores[index], white=side is Side.WHITE)
        for index in selected
        for side in agent.side.colours
    ]
    return Batch(
        unit=unit,
        agent=agent.name,
        side=agent.side,
        games_read=len(games) + len(rejections),
        unselected=len(games) - len(selected),
        rejections=tuple(rejections),
        positions=concatenate([run.game.positions.take(run.plies) for run in runs]),
        actions=_joined([run.game.actions[run.plies] for run in runs], np.uint16),
        scores=_joined([run.scores[run.plies] for run in runs], np.int16),
        game_numbers=np.array([run.game.number for run in runs], np.uint64),
        game_sides=np.array([0 if run.white else 1 for run in runs], np.uint8),
        game_rows=np.array([len(run) for run in runs], np.uint32),
        first_plies=np.array([run.plies.start for run in runs], np.uint32),
        start_fullmoves=np.array([run.start_fullmove for run in runs], np.uint32),
        results=np.array([run.half_points for run in runs], np.uint8),
        final_scores=np.array([run.final_score for run in runs], np.int16),
        probes=_probes(runs, probes),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Run:
    """One game as one side sees it."""

    game: Game
    scores: npt.NDArray[np.int16]
    """[n + 1] score of each position of the game, from its side to move."""
    white: bool
    """Whether the side is white."""
    plies: slice
    """Plies at which the side is to move and moves, two apart."""

    @classmethod
    def of(cls, game: Game, scores: npt.NDArray[np.int16], *, white: bool) -> Self:
        """Return the run of one side of `game`."""
        first = 0 if game.start_white_to_move == white else 1
        return cls(game=game, scores=scores, white=white, plies=slice(first, len(game), 2))

    def __len__(self) -> int:
        return len(range(len(self.game))[self.plies])

    @property
    def start_fullmove(self) -> int:
        """Fullmove number of the first row."""
        return self.game.start_fullmove + (self.plies.start == 1 and not self.game.start_white_to_move)

    @property
    def half_points(self) -> int:
        """Result for the side, as a batch has it."""
        result = self.game.result
        if result is None:
            return NO_RESULT
        return result if self.white else 2 - result

    @property
    def final_score(self) -> int:
        """Score of the final position from the side."""
        # It is to move at the end when an even number of plies lies between its first and that.
        last = int(self.scores[-1])
        return last if (len(self.game) - self.plies.start) % 2 == 0 else -last


def _probes(runs: Sequence[Run], probes: Sequence[Probe]) -> Probes:
    """Return the columns of `probes` of those runs, each at its row."""
    if not probes:
        return no_probes()
    rows = _rows_by_ply(runs)
    placed = sorted(
        ((rows[probe.game, probe.ply], probe) for probe in probes if (probe.game, probe.ply) in rows),
        key=lambda pair: pair[0],
    )
    kept = [probe for _, probe in placed]
    return Probes(
        rows=np.array([row for row, _ in placed], np.uint32),
        actions=np.array([probe.action for probe in kept], np.uint16),
        versions=np.array([probe.version for probe in kept], np.uint64),
        after_scores=np.array([probe.after_score for probe in kept], np.int16),
        replies=np.array([probe.reply for probe in kept], np.uint16),
        scores=np.array([probe.score for probe in kept], np.int16),
        ended=np.array([probe.ended for probe in kept], np.bool_),
        after_positions=concatenate([probe.after_position for probe in kept]),
        next_positions=concatenate([probe.next_position for probe in kept]),
    )


def _rows_by_ply(runs: Sequence[Run]) -> dict[tuple[int, int], int]:
    """Return the row of each decision point by game number and ply."""
    points = [(run.game.number, ply) for run in runs for ply in range(len(run.game))[run.plies]]
    return {point: row for row, point in enumerate(points)}


def _joined(parts: Sequence[npt.NDArray[T]], dtype: type[T]) -> npt.NDArray[T]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)

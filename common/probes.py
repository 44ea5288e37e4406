"""Probes: moves that an agent itself would have made, and what the engine makes of them.

Carried by batches (common.batch), made by actors, trained on by learners (see common.transitions).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.moves import NO_MOVE
from common.positions import Positions, empty
from common.successors import boards_after

NO_REPLY = NO_MOVE
"""Reply to a move that ends the game."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Probes:
    """p moves that the agent itself would have made at decision points of a batch, and what comes of them.

    After the agent's move stands one position, and a second one after the reply that the engine expects.
    Where the move ends the game (checkmate, stalemate or a draw by the rules) there is no reply.
    """

    rows: npt.NDArray[np.uint32]
    """[p] row in the batch of each decision point, rising: at most one probe a row."""
    actions: npt.NDArray[np.uint16]
    """[p] index of the agent's move."""
    versions: npt.NDArray[np.uint64]
    """[p] version of the weights that chose it."""
    after_scores: npt.NDArray[np.int16]
    """[p] score of the position after the move, from the agent's side."""
    replies: npt.NDArray[np.uint16]
    """[p] index of the expected reply, from the opponent's side; NO_REPLY where there is none."""
    scores: npt.NDArray[np.int16]
    """[p] score of the last position, the one after the reply if there is one, from the agent's side."""
    ended: npt.NDArray[np.bool_]
    """[p] whether the game is over in the last position; always so where there is no reply."""
    after_positions: Positions
    """[p] position after the move, seen from the opponent, which is to move."""
    next_positions: Positions
    """[p] position after the reply, seen from the agent, which is to move; an empty board where there is none."""

    def __len__(self) -> int:
        return len(self.actions)


def no_probes() -> Probes:
    """Return no probes."""
    return Probes(
        rows=np.zeros(0, np.uint32),
        actions=np.zeros(0, np.uint16),
        versions=np.zeros(0, np.uint64),
        after_scores=np.zeros(0, np.int16),
        replies=np.zeros(0, np.uint16),
        scores=np.zeros(0, np.int16),
        ended=np.zeros(0, np.bool_),
        after_positions=empty(0),
        next_positions=empty(0),
    )


def probe_boards(
    boards: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.uint32],
    actions: npt.NDArray[np.uint16],
    replies: npt.NDArray[np.uint16],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the boards [p, 64] after the probes' moves and after the replies, empty where there is none."""
    after = boards_after(boards[rows], actions)
    replied = replies != NO_REPLY
    after_reply = np.zeros_like(after)
    after_reply[replied] = boards_after(after[replied], replies[replied])
    return after, after_reply

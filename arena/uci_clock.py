"""Clock: how long an engine may think about a move.

Called by the engine for each `go`. Spends an even share of what is left and most of the increment, and never more
than half of what is left; a reserve stays untouched as long as there is an increment to live on.
"""

from arena.uci_go import Go

MOVES_TO_GO = 30
"""Moves that a game is taken to last from any point on where the clock doesn't say."""

INCREMENT_SHARE = 0.75
MOST = 0.5
"""Share of the time left that one move may take where more moves follow before the next time control."""

RESERVE = 10
"""Overheads that are kept back on the clock, for a machine that is busy with something else for a while."""


def think_s(go: Go, white: bool, overhead_s: float) -> float | None:
    """Return the seconds that the side to move may think; None where no time was given.

    `overhead_s` is what passes unseen between engine and clock. 0 where there is no time left at all.
    """
    if go.move_time_ms is not None:
        return max(0.0, go.move_time_ms / 1000 - overhead_s)
    left_ms, increment_ms = (go.white_ms, go.white_increment_ms) if white else (go.black_ms, go.black_increment_ms)
    if left_ms is None:
        return None
    left_s = max(0.0, left_ms / 1000 - overhead_s)
    moves = MOVES_TO_GO if go.moves_to_go is None else max(1, min(MOVES_TO_GO, go.moves_to_go))
    spare_s = max(0.0, left_s - RESERVE * overhead_s)
    share_s = spare_s / moves + INCREMENT_SHARE * max(0, increment_ms) / 1000
    return min(share_s, left_s * (MOST if moves > 1 else 0.9))

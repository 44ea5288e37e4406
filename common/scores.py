"""Scores: one int16 for every evaluation that an engine or a comment can give, and what it is worth.

A score is always seen from a stated side, and its negation is the same evaluation from the other side:

    -20000 … 20000     centipawns
    32000 - n          the side mates in n ≥ 1 moves
    -(32000 - n)       the side is mated in n ≥ 1 moves
    32000, -32000      the other side, or the side itself, is checkmated on the board

Called by actors, which make scores, and by learners, which read them. Never decides whose side is meant.
"""

import math
import re
from functools import cache

import numpy as np
import numpy.typing as npt

CENTIPAWNS_MAX = 20_000
"""Largest score in centipawns; evaluations beyond it are clipped."""

MATE = 32_000
"""Score of a position in which the opponent is checkmated; a mate in n moves is n below it."""

MATE_MOVES_MAX = MATE - CENTIPAWNS_MAX - 1
"""Longest mate, in moves, that a score can tell from others; longer ones are clipped."""

CHECKMATED = -MATE
"""Score of a checkmate on the board, from the side to move's view."""

DRAWN = 0
"""Score of a stalemate on the board, from either side's view."""

WIN_RATE = 0.00368208
"""Steepness of the expected score per centipawn: lichess's win percentage, https://lichess.org/page/accuracy."""

CENTIPAWNS_WORTH = 2_000
"""Centipawns beyond which the expected score stops growing, so that mates stand clear of them."""

MATE_MOVES_HALF = 10
"""Moves to mate at which half of the way from CENTIPAWNS_WORTH's expected score to 1 is left."""

# The comment after a move, as lichess writes it: pawns or `#` moves to mate from white's view, and a depth.
_EVAL = re.compile(
    r"\[%eval\s+(?:#\s*(?P<mate>[+-]?[0-9]{1,6})|(?P<pawns>[+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})))"
    r"\s*(?:,\s*[0-9]+\s*)?\]"
)


def from_centipawns(centipawns: int) -> int:
    """Return the score of an evaluation in centipawns, from the same side."""
    return max(-CENTIPAWNS_MAX, min(CENTIPAWNS_MAX, centipawns))


def from_mate(moves: int) -> int:
    """Return the score of a mate in `moves` moves (negative: the side is mated; 0: it is checkmated)."""
    if moves > 0:
        return MATE - min(moves, MATE_MOVES_MAX)
    return -(MATE - min(-moves, MATE_MOVES_MAX))


def from_uci(kind: str, value: int) -> int:
    """Return the score of UCI's `score cp VALUE` or `score mate VALUE`, from the same side.

    Raises ValueError for another `kind`.
    """
    if kind == "cp":
        return from_centipawns(value)
    if kind == "mate":
        return from_mate(value)
    raise ValueError(f"UCI knows no score {kind!r}")


def from_comment(comment: str) -> int | None:
    """Return the score, from white's side, of the first `[%eval …]` in a PGN comment; None if there is none.

    Evaluations count in pawns (`[%eval 0.25]`, `[%eval -1.2,20]` with a depth) or in moves to mate
    (`[%eval #3]`, `[%eval #-3]`). A mate in 0 doesn't say whose it is, so it counts as no evaluation.
    """
    match = _EVAL.search(comment)
    if match is None:
        return None
    if match["pawns"] is not None:
        return from_centipawns(round(float(match["pawns"]) * 100))
    moves = int(match["mate"])
    return from_mate(moves) if moves else None


def expected_score(scores: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Return the expected score in [0, 1] of each score, from the same side; the same shape, float32.

    w(cp) = 1 / (1 + exp(-0.00368208 · cp)), cp clipped to ±2000. A mate in n moves is worth
    1 - (1 - w(2000)) · n / (n + 10): more than every centipawn score, and the less the longer it takes
    (in float32 each step shows for mates of up to 250 moves). Being mated mirrors it, so that
    w(-score) = 1 - w(score). A checkmate on the board is worth 1 or 0.
    """
    values: npt.NDArray[np.float32] = _tables()[1][scores.view(np.uint16)]
    return values


def expected_score_exact(scores: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Return `expected_score` before its rounding to float32, for sums and differences."""
    values: npt.NDArray[np.float64] = _tables()[0][scores.view(np.uint16)]
    return values


@cache
def _tables() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Return the expected score of each of the 65,536 int16, indexed by its bits: as float64, as float32.

    Built with math.exp, whose results, unlike those of numpy's vector code, don't differ from CPU to CPU.
    """
    worth = [1.0 / (1.0 + math.exp(-WIN_RATE * centipawns)) for centipawns in range(CENTIPAWNS_WORTH + 1)]
    positive = np.full(32_768, 1.0)
    positive[: CENTIPAWNS_WORTH + 1] = worth
    positive[CENTIPAWNS_WORTH + 1 : CENTIPAWNS_MAX + 1] = worth[-1]
    moves = MATE - np.arange(CENTIPAWNS_MAX + 1, MATE + 1, dtype=np.float64)
    positive[CENTIPAWNS_MAX + 1 : MATE + 1] = 1.0 - (1.0 - worth[-1]) * moves / (moves + MATE_MOVES_HALF)
    exact = np.zeros(65_536)
    exact[:32_768] = positive
    exact[32_769:] = 1.0 - positive[:0:-1]
    return exact, exact.astype(np.float32)

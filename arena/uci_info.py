"""Info: what an engine says of a search, in UCI's words.

Called by the engine. Every figure is seen from the side to move, as UCI wants it.
"""

import math
from collections.abc import Iterator

from agent.search import Line, SearchResult
from common.scores import CENTIPAWNS_WORTH, WIN_RATE


def centipawns(expected_score: float) -> int:
    """Return the centipawns that are worth an expected score, from the same side: the inverse of common.scores.

    cp = ln(w / (1 - w)) / 0.00368208, clipped to ±2000.
    """
    if not 0.0 < expected_score < 1.0:
        return CENTIPAWNS_WORTH if expected_score >= 1.0 else -CENTIPAWNS_WORTH
    worth = math.log(expected_score / (1.0 - expected_score)) / WIN_RATE
    return round(max(-CENTIPAWNS_WORTH, min(CENTIPAWNS_WORTH, worth)))


def win_draw_loss(expected_score: float) -> tuple[int, int, int]:
    """Return the chances of a win, a draw and a loss in thousandths, from the same side.

    The model: a game is two halves, each won with probability w, the expected score; both won is a win, one a draw.
    So the chances are w², 2w(1 - w) and (1 - w)², and they add up to the expected score w.
    """
    win, loss = round(1000 * expected_score**2), round(1000 * (1.0 - expected_score) ** 2)
    return win, 1000 - win - loss, loss


def score(line: Line) -> str:
    """Return the score of a line, such as `cp 35` or `mate -2`."""
    return f"cp {centipawns(line.value)}" if line.mate is None else f"mate {line.mate}"


def info_lines(
    result: SearchResult, *, elapsed_s: float, variations: int, full_permille: int, show_wdl: bool
) -> Iterator[str]:
    """Yield one `info` line for each of the best `variations` moves."""
    elapsed_ms = int(elapsed_s * 1000)
    speed = int(result.nodes / max(elapsed_s, 0.001))
    for rank, line in enumerate(result.lines[:variations], 1):
        shown = " wdl {} {} {}".format(*win_draw_loss(line.value)) if show_wdl else ""
        yield (
            f"info depth {len(line.pv)} seldepth {max(result.selective_depth, len(line.pv))} multipv {rank}"
            f" score {score(line)}{shown} nodes {result.nodes} nps {speed} hashfull {full_permille}"
            f" time {elapsed_ms} pv {' '.join(move.uci() for move in line.pv)}"
        )

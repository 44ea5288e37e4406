"""One small run: its games, its settings, and what it must come to, however it comes to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.messages import Interval, Status, StoreTotals
from tests.deploy.runs import Run, stopped

FLAWED = """[Event "an illegal move"]
[White "A"]
[Black "B"]
[Result "1-0"]

1. e4 e5 2. Ke3 1-0

[Event "no result, black never moves"]
[White "A"]
[Black "B"]
[Result "*"]

1. d4 *

[Event "no moves"]
[White "A"]
[Black "B"]
[Result "0-1"]

0-1
"""

WHITE_AND_BLACK = """
[[agents]]
name = "white"
side = "white"

[[agents]]
name = "black"
side = "black"
"""
"""Lines of settings: the agents that there are by default."""

BOTH = """
[[agents]]
name = "both"
side = "both"
"""

LIMIT_GAMES = 38
GAMES_PER_UNIT = 4
UNITS = 10
"""The last one is short."""

FLAGS = (
    "--nodes", "100", "--limit-games", str(LIMIT_GAMES), "--games-per-unit", str(GAMES_PER_UNIT),
    "--samples-per-transition", "1", "--batch-size", "64", "--publish-every", "15",
    "--checkpoint-every", "9",
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """What every run of the same games with FLAGS must come to."""

    games: tuple[Path, ...]
    totals: dict[str, StoreTotals]
    """By agent, counted by python-chess."""
    weights: dict[str, str]
    """Digest by agent, of a sequential run."""
    directory: Path


SMALL_WINDOW = ("--max-units-ahead", "2")
"""So that the training is not over in no time."""

EVERY_UNIT = [Interval(0, UNITS - 1)]


def under_way(status: Status) -> bool:
    """Whether every agent is trained on some units and not on all; checkpoints have been begun then."""
    return all(2 <= agent.units_trained < UNITS for agent in status.agents)


@contextmanager
def half_way(run: Run) -> Iterator[None]:
    """Keep a run with SMALL_WINDOW from getting on meanwhile: a learner stands still, and so the window fills."""
    run.wait_for(under_way, "some units trained")
    with stopped(run.service("learner", "black")):
        run.wait_for(under_way, "still not all units trained")
        yield

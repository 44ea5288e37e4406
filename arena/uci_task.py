"""Task: one `go`, as the thread that reads commands hands it to the thread that thinks.

The one thing that both threads touch: the one sets its events, the other looks at them. No torch in here, so that
`uci` is answered while the network is still being loaded.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import chess

from arena.uci_go import Go
from arena.uci_options import Options

_NO_END = 1 << 60


@dataclass(slots=True, eq=False)
class Task:
    """One `go`: what to think about, and the events that end it."""

    go: Go
    options: Options
    start: str
    moves: Sequence[chess.Move]
    board: chess.Board
    begun_s: float
    fresh: bool = False
    """Whether what was thought before is to be forgotten."""
    stopped: threading.Event = field(default_factory=threading.Event)
    hit: threading.Event = field(default_factory=threading.Event)
    """The move that was pondered on was made: the clock runs."""
    changed: threading.Event = field(default_factory=threading.Event)
    """One of the two above was set."""
    hit_s: float | None = None

    def stop(self) -> None:
        """Ask for the best move now."""
        self.stopped.set()
        self.changed.set()

    def ponder_hit(self, now_s: float) -> None:
        """Say that the clock runs from now on."""
        self.hit_s = now_s
        self.hit.set()
        self.changed.set()

    @property
    def waiting(self) -> bool:
        """Whether nothing but an event may end the task."""
        return self.go.infinite or (self.go.ponder and not self.hit.is_set())

    @property
    def node_limit(self) -> int:
        """Most nodes of the search: its own limit, or on the clock the option's."""
        go = self.go
        if go.nodes is not None:
            return max(1, go.nodes)
        if self.options.nodes and not go.infinite and go.depth is None and go.mate is None:
            return self.options.nodes
        return _NO_END

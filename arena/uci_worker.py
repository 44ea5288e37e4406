"""Worker: the thread of a UCI engine that loads the network and thinks.

Called by the engine, from the thread that reads commands. Loading may take seconds (torch alone is most of it), so
it happens here: `uci` is answered meanwhile.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import chess

from arena.uci_task import Task
from common.errors import RookeryError

if TYPE_CHECKING:
    from agent.player import Player
    from arena.uci_thinking import Thinker

log = logging.getLogger(__name__)


class Worker:
    """Loads a player, then does one task after another; `write` gets each line that it says.

    `failed` is called, from the worker's thread, when loading fails; `failure` then says why.
    """

    def __init__(
        self,
        load: "Callable[[], Player]",
        write: Callable[[str], None],
        clock: Callable[[], float],
        failed: Callable[[], None],
    ) -> None:
        self._load, self._write, self._clock, self._failed = load, write, clock, failed
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._idle, self._loaded = threading.Event(), threading.Event()
        self._idle.set()
        self.failure: RookeryError | None = None
        self._thread = threading.Thread(target=self._run, name="thinker", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, once the task underway is done."""
        self._tasks.put(None)
        self._thread.join()

    def wait_until_loaded(self) -> None:
        """Return when the network can think; raise what went wrong if it can't."""
        self._loaded.wait()
        if self.failure is not None:
            raise self.failure

    def give(self, task: Task) -> None:
        """Have `task` done, when the one underway is."""
        self._idle.wait()
        if self.failure is not None:
            raise self.failure
        self._idle.clear()
        self._tasks.put(task)

    def _run(self) -> None:
        try:
            thinker = self._thinker()
        except RookeryError as error:
            self.failure = error
            self._loaded.set()
            self._failed()
            return
        self._loaded.set()
        while (task := self._tasks.get()) is not None:
            try:
                thinker.think(task)
            except Exception:
                log.exception("the search failed")
                self._excuse(task.board)
            self._idle.set()

    def _thinker(self) -> "Thinker":
        player = self._load()
        from arena.uci_thinking import Thinker  # brings torch

        return Thinker(player, self._write, self._clock)

    def _excuse(self, board: chess.Board) -> None:
        """Say some legal move: a search that fails must not lose the game on time."""
        with contextlib.suppress(OSError):
            self._write("info string internal error in the search; see standard error")
            move = next(board.generate_legal_moves(), None)
            self._write(f"bestmove {'(none)' if move is None else move.uci()}")

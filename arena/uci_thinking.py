"""Thinking: one `go`, from the position to `bestmove`.

A `Thinker` lives in one thread of the engine and keeps the tree from move to move; other threads reach it only
through its `Task`. Everything said goes through the writer that it was made with.
"""

from collections.abc import Callable
from dataclasses import dataclass

import chess
import numpy as np
import torch

from agent.player import Player
from agent.search import BATCH, Line, Search, SearchResult, choose
from arena.uci_clock import think_s
from arena.uci_info import info_lines
from arena.uci_options import Options
from arena.uci_position import legal_move
from arena.uci_task import Task

INFO_INTERVAL_S = 0.5
"""Seconds between two times that a search in progress is told of."""

STEP_MARGIN = 1.5
"""Times the longest step so far that must be left on the clock for another."""

HURRY_S = 0.01
"""A move with less time than this is the network's own."""

SPEED_LEAST = 2_000
"""Nodes per second that a search is taken to find at least when it is asked whether more could change the move."""

_MEGABYTE = 1 << 20


class Thinker:
    """Thinks about one task after another."""

    def __init__(self, player: Player, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._player, self._write, self._clock = player, write, clock
        self._search: Search | None = None
        self._start, self._moves, self._hash_mb = "", [chess.Move.null()], 0
        self._random = np.random.default_rng()
        self._seed = 0
        self._threads = 1
        torch.set_num_threads(1)
        player.judge([chess.Board()])  # so that the first move of a game takes no longer than others

    def think(self, task: Task) -> None:
        """Search and say the best move."""
        if task.options.threads != self._threads:
            self._threads = task.options.threads
            torch.set_num_threads(self._threads)
        if not any(task.board.generate_legal_moves()):
            self._finish(task, "bestmove (none)")
            return
        search = self._search_for(task)
        run = _Run(task, search, self._clock, self._tell)
        result = run.run()
        move = self._chosen(task.options, result)
        self._finish(task, f"bestmove {move.uci()}{_ponder(task.options, result.lines[0], move)}")
        if task.go.timed and not task.go.ponder:
            self._make(move)  # while the opponent's clock runs: what can't come any more is forgotten

    def _finish(self, task: Task, line: str) -> None:
        while task.waiting and not task.stopped.is_set():
            task.changed.wait()
            task.changed.clear()
        self._write(line)

    def _search_for(self, task: Task) -> Search:
        """Return a search of the task's position: the last one's, gone on in, where that is possible."""
        options = task.options
        moves = [move for word in task.go.search_moves if (move := legal_move(task.board, word)) is not None]
        search = None if moves or self._alone(task) else self._continued(task)
        if search is None:
            self._search = None  # gives its memory back before the next takes some
            memory_bytes = options.hash_mb * _MEGABYTE
            search = Search(self._player, task.board, moves=moves or None, memory_bytes=memory_bytes)
        search.restart()
        self._search, self._hash_mb = search, options.hash_mb
        self._start, self._moves = task.start, list(task.moves)
        return search

    def _alone(self, task: Task) -> bool:
        return task.node_limit == 1

    def _continued(self, task: Task) -> Search | None:
        known = len(self._moves)
        same = task.start == self._start and list(task.moves[:known]) == self._moves
        if task.fresh or self._search is None or not same or task.options.hash_mb != self._hash_mb:
            return None
        return self._search if self._search.follow(task.moves[known:]) else None

    def _make(self, move: chess.Move) -> None:
        assert self._search is not None
        if self._search.follow([move]):
            self._moves.append(move)
        else:
            self._search = None

    def _chosen(self, options: Options, result: SearchResult) -> chess.Move:
        if options.seed != self._seed:
            self._seed = options.seed
            self._random = np.random.default_rng(options.seed or None)
        return choose(result, options.temperature, self._random)

    def _tell(self, task: Task, search: Search, elapsed_s: float) -> None:
        options = task.options
        for line in info_lines(
            search.result(options.multi_pv),
            elapsed_s=elapsed_s,
            variations=options.multi_pv,
            full_permille=search.full_permille,
            show_wdl=options.show_wdl,
        ):
            self._write(line)


@dataclass(slots=True, eq=False)
class _Run:
    """The loop of one search: steps until a limit is reached."""

    task: Task
    search: Search
    clock: Callable[[], float]
    tell: Callable[[Task, Search, float], None]
    longest_s: float = 0.0

    def run(self) -> SearchResult:
        told_s = self.task.begun_s
        while not self._ended():
            before_s = self.clock()
            self.search.step(self.task.node_limit - self.search.nodes)
            now_s = self.clock()
            self.longest_s = max(self.longest_s * 0.9, now_s - before_s)
            if now_s - told_s >= INFO_INTERVAL_S:
                told_s = now_s
                self.tell(self.task, self.search, now_s - self.task.begun_s)
        self.tell(self.task, self.search, self.clock() - self.task.begun_s)
        return self.search.result()

    def _ended(self) -> bool:
        search, task = self.search, self.task
        if not search.judged:
            return False
        if task.stopped.is_set() or search.done or search.nodes >= task.node_limit:
            return True
        if self._deep_enough() or self._mate_found():
            return True
        left_s = self._left_s()
        if left_s is None:
            return False
        return left_s <= STEP_MARGIN * self.longest_s or left_s < 0 or self._clear(left_s)

    def _left_s(self) -> float | None:
        """Return the seconds left for this move; None where the clock doesn't run, or isn't there."""
        task = self.task
        if task.waiting:
            return None
        budget_s = think_s(task.go, task.board.turn, task.options.overhead_ms / 1000)
        if budget_s is None:
            return None
        begun_s = task.begun_s if task.hit_s is None else task.hit_s
        left_s = begun_s + budget_s - self.clock()
        return left_s if budget_s > HURRY_S else -1.0

    def _clear(self, left_s: float) -> bool:
        """Tell whether the time left can't change the move: only on a clock, not when told to take the time."""
        if self.task.go.move_time_ms is not None:
            return False
        speed = max(SPEED_LEAST, self.search.nodes / max(1e-3, self.clock() - self.task.begun_s))
        expected = 2 * int(left_s * speed) + BATCH
        return self.search.settled_by(min(expected, self.task.node_limit - self.search.nodes))

    def _deep_enough(self) -> bool:
        depth = self.task.go.depth
        return depth is not None and self.search.result().depth >= depth

    def _mate_found(self) -> bool:
        if self.task.go.mate is None:
            return False
        mate = self.search.result().lines[0].mate
        return mate is not None and 0 < mate <= self.task.go.mate


def _ponder(options: Options, line: Line, move: chess.Move) -> str:
    if not options.ponder or move != line.move or len(line.pv) < 2:
        return ""
    return f" ponder {line.pv[1].uci()}"

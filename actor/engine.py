"""Engine: one Stockfish, kept busy by writing games ahead of its answers.

Called by the actor's worker, through `actor.labels`; owned by one thread, which alone drives it, in
`poll`. Only `wake` may be called from another.

Invariants:

- A game's scores depend on the game, the engine and the node limit alone, and so do those of a set of lines:
  the hash is cleared before each, and what is written ahead doesn't disturb the search that runs (see
  `actor.engine_commands`).
- At most `window` positions are written and not answered, whatever is submitted; both pipes are
  non-blocking, so that neither side waits for the other.
- Every submitted game comes back once, in no promised order, with all its scores or with a failure.
- `poll` never waits for longer than asked, except for a restarted engine to say hello.
"""

import logging
import os
import random
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from actor.engine_answers import Answers
from actor.engine_commands import BARRIER, EngineGame, Line, game_commands, line_commands
from actor.engine_handshake import EngineIdentity, shake_hands
from actor.engine_process import EngineProcess, find_engine
from common.errors import EngineDied, EngineNotUsable

log = logging.getLogger(__name__)

WINDOW = 256
"""Positions written ahead: 60 ms of work at 100 nodes, and some 100 kB in each pipe."""

DEATHS_MAX = 3
"""Deaths of the engine in one game after which the game is given back as failed."""

FAILED_STARTS_MAX = 5
"""Restarts that fail in a row before the engine counts as not usable."""

SCORING = 1
"""Revision of how games are put to the engine; raised when their scores change."""

_BACK_OFF_S, _BACK_OFF_MAX_S = 0.1, 30.0
_PAUSE_MIN_S, _PAUSE_S, _PAUSE_MAX_S = 0.0005, 0.01, 0.05
_ANSWERS_A_PAUSE = 32
_SILENCE_STEP_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """A game that the engine is done with."""

    ticket: int
    """What `submit` or `submit_lines` returned."""
    scores: npt.NDArray[np.int16] | None
    """[n + 1]: score of each position from its side to move, the terminal one included; None on failure."""
    best_moves: tuple[str, ...] = ()
    """[n + 1] best move in each position, in UCI's notation; of lines only."""
    failure: str | None = None
    """Why there are no scores: the last of the deaths of the engine in this game."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStats:
    """Snapshot of an engine's figures since it was entered."""

    positions: int
    """Positions answered, those of games begun again included."""
    nodes: int
    """Nodes of those answers, as far as the engine says them."""
    games: int
    """Games given back with scores; sets of lines are none."""
    failed: int
    """Games given back without."""
    outstanding: int
    """Positions submitted and not yet answered."""
    ahead: int
    """Those of them that are written to the engine."""
    busy_s: float
    """Seconds in which the engine had work, as far as `poll` could see."""
    idle_s: float
    """Seconds in which it had none."""
    dry: int
    """Times that the engine was found with nothing left to do while games were waiting here."""
    restarts: int
    """Times that it was started anew."""


@dataclass(slots=True)
class _Job:
    """One submitted game, or set of lines, and how far it is."""

    ticket: int
    terminal: int | None
    commands: list[bytes]
    wants_moves: bool
    written: int = 0
    scores: list[int] = field(default_factory=list)
    best_moves: list[str] = field(default_factory=list)
    deaths: int = 0


class Engine:
    """A UCI engine that scores whole games; a context manager: entered it runs, left it is killed.

    `name` is a path or a command, `nodes` the limit of each search. `patience_s` is how long the engine
    may take over one position before it counts as hung (by default 30 s, and more for many nodes);
    `back_off_s` the first pause before a restart, doubled up to 30 s and jittered by `jitter`.
    """

    def __init__(
        self,
        name: str,
        *,
        nodes: int,
        window: int = WINDOW,
        handshake_s: float = 10.0,
        patience_s: float | None = None,
        back_off_s: float = _BACK_OFF_S,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = find_engine(name)
        self._nodes = nodes
        self._window_asked = window
        self._handshake_s = handshake_s
        self._patience_s = max(30.0, nodes / 20_000) if patience_s is None else patience_s
        self._back_off_s = back_off_s
        self._jitter = jitter
        self._clock = clock
        self._process: EngineProcess | None = None
        self._identity = EngineIdentity("", "", ())
        self._answers = Answers()
        self._barrier = BARRIER
        self._window = window
        self._wake_fd = -1
        self._next_ticket = 0
        self._jobs: dict[int, _Job] = {}
        """All unfinished games, by ticket, in the order submitted."""
        self._unwritten: deque[_Job] = deque()
        """Games of which positions are still to be written; only the first may be written in part."""
        self._asked: deque[_Job] = deque()
        """The game of each position that is written and not answered, in order."""
        self._suspects: set[int] = set()
        """Games that were under way when the engine died: until they are done, they go one at a time."""
        self._outstanding = 0
        self._finished: list[Evaluated] = []
        self._up_at = 0.0
        self._quick_deaths = 0
        self._failed_starts = 0
        self._pumped_at = 0.0
        self._silent_s = 0.0
        self._positions = self._earlier_nodes = self._games = self._failed = self._dry = self._restarts = 0
        self._busy_s = self._idle_s = 0.0

    def __enter__(self) -> Self:
        """Start the engine; raise EngineNotUsable, with what to do, if it is none."""
        self._start()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._pumped_at = self._clock()
        return self

    def __exit__(self, *exception: object) -> None:
        """Kill the engine at once, whatever it is at."""
        self._kill()
        if self._wake_fd >= 0:
            os.close(self._wake_fd)
            self._wake_fd = -1

    @property
    def fingerprint(self) -> str:
        """All that the scores depend on besides the game: name, network, options, limit."""
        identity = self._identity
        return "; ".join(
            (identity.name, identity.network, *identity.options, f"nodes={self._nodes}", f"scoring={SCORING}")
        )

    @property
    def label(self) -> str:
        """The engine's name and the limit of a search, for a person: in printable characters."""
        return "".join(filter(str.isprintable, f"{self._identity.name}, {self._nodes} nodes"))

    @property
    def pid(self) -> int | None:
        """Process id of the engine; None while it is down."""
        return self._process.pid if self._process else None

    @property
    def outstanding(self) -> int:
        """Positions submitted and not yet answered."""
        return self._outstanding

    @property
    def hungry(self) -> bool:
        """True when it is time to submit more games, so that the engine never idles."""
        return self._outstanding < 4 * self._window

    def submit(self, game: EngineGame) -> int:
        """Take a game to score and return its ticket; never waits. What to take is the caller's bound."""
        commands = game_commands(game, self._nodes, self._barrier)
        return self._submit(commands, game.terminal_score, wants_moves=False)

    def submit_lines(self, lines: Sequence[Line]) -> int:
        """Take positions to score and to find the best moves in, and return one ticket for all of them.

        They are searched in this order, the hash cleared before the first. None may be terminal.
        """
        return self._submit(line_commands(lines, self._nodes, self._barrier), None, wants_moves=True)

    def poll(self, timeout_s: float) -> list[Evaluated]:
        """Drive the engine until a game is done, `timeout_s` is over, or `wake` is called; return the games.

        Returns at once when nothing was submitted. An engine that dies is restarted after a back-off, and
        its unfinished games begin again. Raises EngineNotUsable if it can't be restarted.
        """
        end = self._clock() + timeout_s
        while True:
            self._pump()
            if self._finished or not self._jobs:
                break
            left = end - self._clock()
            if left <= 0.0 or self._wait(min(left, self._pause())):
                break
        finished, self._finished = self._finished, []
        return finished

    def wake(self) -> None:
        """Make the running, or else the next, `poll` return early; may be called from any thread."""
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def reset(self) -> None:
        """Forget all submitted games and start the engine anew."""
        self._kill()
        self._jobs.clear()
        self._unwritten.clear()
        self._asked.clear()
        self._suspects.clear()
        self._finished.clear()
        self._outstanding = 0
        self._restarts += 1
        self._start()

    def stats(self) -> EngineStats:
        """Return the figures so far."""
        return EngineStats(
            positions=self._positions,
            nodes=self._earlier_nodes + self._answers.nodes,
            games=self._games,
            failed=self._failed,
            outstanding=self._outstanding,
            ahead=len(self._asked),
            busy_s=self._busy_s,
            idle_s=self._idle_s,
            dry=self._dry,
            restarts=self._restarts,
        )

    def _submit(self, commands: list[bytes], terminal: int | None, *, wants_moves: bool) -> int:
        ticket = self._next_ticket
        self._next_ticket += 1
        job = _Job(ticket, terminal, commands, wants_moves)
        self._jobs[ticket] = job
        self._outstanding += len(job.commands)
        if job.commands:
            self._unwritten.append(job)
        else:
            self._finish(job)
        return ticket

    # The loop's verbs: read answers, notice a death, write ahead ---------------------------------------

    def _pump(self) -> None:
        now = self._clock()
        passed, self._pumped_at = now - self._pumped_at, now
        if self._asked:
            self._busy_s += passed
        else:
            self._idle_s += passed
        if self._process is None and not self._come_back(now):
            return
        try:
            self._read(passed)
        except EngineDied as error:
            self._bury(str(error), now)
            return
        self._write()

    def _read(self, passed_s: float) -> None:
        """Take the answers that there are; raise EngineDied if the engine ended, hung or lied."""
        assert self._process is not None
        asked_before = len(self._asked)
        answers = self._answers.feed(self._process.read())
        if len(answers) > asked_before:
            raise EngineDied("the engine gave an answer to no question")
        for answer in answers:
            job = self._asked.popleft()
            job.scores.append(answer.score)
            if job.wants_moves:
                job.best_moves.append(answer.best_move)
            if len(job.scores) == len(job.commands):
                self._finish(job)
        self._positions += len(answers)
        self._outstanding -= len(answers)
        # A caller that was away must not make the engine look silent: at most a step counts each time.
        self._silent_s = 0.0 if answers or not asked_before else self._silent_s + min(passed_s, _SILENCE_STEP_S)
        if asked_before and not self._asked and self._unwritten:
            self._dry += self._window > 1 and not self._suspects
        if self._process.ended:
            raise EngineDied("the engine ended")
        if self._silent_s > self._patience_s:
            raise EngineDied(f"the engine hung: no answer in {self._patience_s:.0f} s")

    def _write(self) -> None:
        """Write positions ahead, as many as the window allows; after a death one suspect at a time."""
        assert self._process is not None
        texts: list[bytes] = []
        room = self._window - len(self._asked)
        while room > 0 and self._unwritten:
            job = self._unwritten[0]
            if self._suspects and self._asked and self._asked[-1] is not job:
                break
            part = job.commands[job.written : job.written + room]
            texts += part
            self._asked.extend([job] * len(part))
            room -= len(part)
            job.written += len(part)
            if job.written == len(job.commands):
                self._unwritten.popleft()
        self._process.write(b"".join(texts))

    def _finish(self, job: _Job) -> None:
        end = [] if job.terminal is None else [job.terminal]
        scores = np.array(job.scores + end, np.int16)
        self._give_back(job, Evaluated(ticket=job.ticket, scores=scores, best_moves=tuple(job.best_moves)))
        self._games += not job.wants_moves
        self._quick_deaths = 0

    def _give_back(self, job: _Job, evaluated: Evaluated) -> None:
        self._finished.append(evaluated)
        del self._jobs[job.ticket]
        self._suspects.discard(job.ticket)

    # Deaths and restarts --------------------------------------------------------------------------------

    def _bury(self, reason: str, now: float) -> None:
        """Kill what is left of the engine, blame the game that it was at, and begin the others again."""
        culprit = self._asked[0] if self._asked else None
        self._kill()
        for job in self._jobs.values():
            if job.written:
                self._suspects.add(job.ticket)
                self._outstanding += len(job.scores)
                job.written = 0
                job.scores.clear()
                job.best_moves.clear()
        if culprit is not None:
            culprit.deaths += 1
            if culprit.deaths >= DEATHS_MAX:
                self._failed += not culprit.wants_moves
                self._outstanding -= len(culprit.commands)
                self._give_back(culprit, Evaluated(ticket=culprit.ticket, scores=None, failure=reason))
        self._asked.clear()
        self._unwritten = deque(self._jobs.values())
        self._back_off(now)
        log.warning(
            "engine died",
            extra={
                "reason": reason, "game_deaths": culprit.deaths if culprit else 0, "unfinished": len(self._jobs),
                "restart_in_s": round(self._up_at - now, 2),
            },
        )  # fmt: skip

    def _back_off(self, now: float) -> None:
        pause = min(_BACK_OFF_MAX_S, self._back_off_s * 2.0**self._quick_deaths)
        self._quick_deaths = min(self._quick_deaths + 1, 30)
        self._up_at = now + pause * (0.5 + 0.5 * self._jitter())

    def _come_back(self, now: float) -> bool:
        """Start the engine again once its back-off is over; return whether it runs."""
        if now < self._up_at:
            return False
        self._restarts += 1
        try:
            self._start()
        except (EngineDied, EngineNotUsable):
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS_MAX:
                raise
            self._back_off(self._clock())
            return False
        self._failed_starts = 0
        return True

    def _start(self) -> None:
        process = EngineProcess(self._path)
        try:
            identity = shake_hands(process, self._path, self._handshake_s, self._clock)
        except BaseException:
            process.kill()
            raise
        if self._identity.name and identity != self._identity:
            process.kill()
            raise EngineNotUsable(
                f"{self._path}: another engine than before stands there now; start the actor again"
            )
        self._process, self._identity, self._answers = process, identity, Answers()
        self._silent_s = 0.0
        # Only Stockfish is known to take commands ahead; others are asked one position at a time.
        ahead = "Stockfish" in identity.name
        self._barrier = BARRIER if ahead else b""
        self._window = self._window_asked if ahead else 1

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None
            self._earlier_nodes += self._answers.nodes
            self._answers = Answers()

    # Waiting --------------------------------------------------------------------------------------------

    def _pause(self) -> float:
        """Return for how long to leave the engine alone: less than half of the work that it has.

        Output is left to gather meanwhile: waking up for each line would cost as much as a small search.
        """
        if self._process is None:
            return max(_PAUSE_MIN_S, self._up_at - self._clock())
        each_s = self._busy_s / max(1, self._positions)
        pause = min(max(_PAUSE_S, _ANSWERS_A_PAUSE * each_s), _PAUSE_MAX_S, 0.4 * each_s * len(self._asked))
        return max(_PAUSE_MIN_S, pause)

    def _wait(self, timeout_s: float) -> bool:
        """Wait; return True, early, if woken. Output ends it only where one position is asked at a time."""
        watched = [self._wake_fd]
        if self._window == 1 and self._process is not None:
            watched.append(self._process.stdout)
        ready = select.select(watched, [], [], timeout_s)[0]
        if self._wake_fd in ready:
            os.eventfd_read(self._wake_fd)
            return True
        return False

"""Engine: a player behind the UCI protocol (http://wbec-ridderkerk.nl/html/UCIProtocol.html).

    engine = UciEngine(lambda: load_player(path), write=print)
    with engine:
        for line in stdin:
            if not engine.handle(line):
                break

`handle` returns at once whatever is underway: a thread of its own thinks. What makes no sense is ignored, with an
`info string` where that helps; nothing that is sent ends the engine but `quit`. `write` is called from both
threads, one line at a time.
"""

import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Self

from agent.boards import with_history
from arena.uci_go import parse_go
from arena.uci_options import Options
from arena.uci_position import Position, PositionError
from arena.uci_task import Task
from arena.uci_worker import Worker
from common.errors import RookeryError

if TYPE_CHECKING:
    from agent.player import Player


class UciEngine:
    """Answers UCI commands; a context manager that starts and ends the thread that loads and thinks.

    `load` returns the player; `failed` is called, from that thread, if it raises a RookeryError, which the next
    command that needs the player raises again.
    """

    def __init__(
        self,
        load: "Callable[[], Player]",
        write: Callable[[str], None],
        options: Options | None = None,
        *,
        name: str = "player",
        clock: Callable[[], float] = time.monotonic,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._name, self._clock = name, clock
        self._options = Options() if options is None else options
        self._writing = threading.Lock()
        self._write_line = write
        self._position = Position()
        self._fresh = False
        self._debug = False
        self._task: Task | None = None
        self._worker = Worker(load, self.write, clock, failed)
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "uci": self._uci,
            "isready": self._isready,
            "ucinewgame": self._ucinewgame,
            "position": self._set_position,
            "go": self._go,
            "stop": self._stop,
            "ponderhit": self._ponderhit,
            "setoption": self._setoption,
            "debug": self._set_debug,
        }

    def __enter__(self) -> Self:
        self._worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop thinking, say the best move, and end the thread."""
        self._stop([])
        self._worker.close()

    @property
    def failure(self) -> RookeryError | None:
        """Why there is no player, if loading it failed."""
        return self._worker.failure

    def handle(self, line: str) -> bool:
        """Do what a line says; return False if it is `quit`."""
        words = line.split()
        known = (at for at, word in enumerate(words) if word in self._commands or word in ("quit", "register"))
        at = next(known, len(words))  # as UCI has it: what comes after unknown words may be a command
        if at > 0 and self._debug:
            self.write(f"info string ignored {' '.join(words[:at])[:80]!r}")
        if at == len(words):
            return True
        if words[at] == "quit":
            return False
        if words[at] == "register":
            return True
        try:
            self._commands[words[at]](words[at + 1 :])
        except (PositionError, ValueError) as error:
            self.write(f"info string {error}")
        return True

    def write(self, line: str) -> None:
        """Write one line."""
        with self._writing:
            self._write_line(line)

    def _uci(self, words: list[str]) -> None:
        del words
        self.write(f"id name Rookery {version('rookery')} ({self._name})")
        self.write("id author the authors of Rookery")
        for line in self._options.lines():
            self.write(line)
        self.write("option name Clear Hash type button")
        self.write("uciok")

    def _isready(self, words: list[str]) -> None:
        del words
        self._worker.wait_until_loaded()
        self.write("readyok")

    def _ucinewgame(self, words: list[str]) -> None:
        del words
        self._stop([])
        self._fresh = True
        self._position = Position()

    def _set_position(self, words: list[str]) -> None:
        self._position.set(words)

    def _go(self, words: list[str]) -> None:
        begun_s = self._clock()
        self._stop([])
        position = self._position
        self._task = Task(
            go=parse_go(words),
            options=self._options,
            start=position.start,
            moves=tuple(position.moves),
            board=with_history(position.board),
            begun_s=begun_s,
            fresh=self._fresh,
        )
        self._fresh = False
        self._worker.give(self._task)

    def _stop(self, words: list[str]) -> None:
        del words
        if self._task is not None:
            self._task.stop()

    def _ponderhit(self, words: list[str]) -> None:
        del words
        if self._task is not None:
            self._task.ponder_hit(self._clock())

    def _setoption(self, words: list[str]) -> None:
        if words[:1] != ["name"]:
            raise ValueError("setoption takes: name NAME [value VALUE]")
        end = words.index("value") if "value" in words else len(words)
        name = " ".join(words[1:end])
        if name.lower() == "clear hash":
            self._fresh = True
            return
        self._options = self._options.with_value(name, " ".join(words[end + 1 :]))

    def _set_debug(self, words: list[str]) -> None:
        self._debug = words[:1] != ["off"]

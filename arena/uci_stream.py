"""Stream: a UCI engine on standard input and output, as a GUI starts it.

Called by `rookery uci`. Standard output carries the protocol alone.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from arena.uci_engine import UciEngine
from arena.uci_options import Options

if TYPE_CHECKING:
    from agent.player import Player

LINE_BYTES_MAX = 1 << 20
"""Longest line that is read; a longer one is skipped whole."""

SWITCH_INTERVAL_S = 0.001
"""How long the thread that thinks may keep the interpreter when a command has come."""


def serve(load: "Callable[[], Player]", options: Options, name: str) -> None:
    """Answer the commands on standard input until `quit` or its end; raise what `load` raises."""
    # Trees have no cycles, and collecting a large one's garbage could take the time of a move.
    gc.disable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    engine = UciEngine(load, _write, options, name=name, failed=_wake)
    with engine:
        try:
            _converse(engine)
        except KeyboardInterrupt:
            if engine.failure is not None:
                raise engine.failure from None
            raise


def _converse(engine: UciEngine) -> None:
    for line in lines(sys.stdin.buffer):
        if not engine.handle(line):
            break


def _wake() -> None:
    """End the wait of the main thread for a command."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of a stream until it ends, whatever bytes they are; too long ones are left out."""
    whole = True
    while raw := stream.readline(LINE_BYTES_MAX):
        ends = raw.endswith(b"\n")
        if whole and (ends or len(raw) < LINE_BYTES_MAX):
            yield raw.decode("utf-8", "replace")
        whole = ends


def _write(line: str) -> None:
    """Write a line at once; where nobody reads any more, the next command's end is the engine's."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The GUI is gone, and its other pipe ends with it.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123

"""Stream: a UCI engine on standard input and output, as a GUI starts it.

Called by `rookery uci`. Standard output carries the protocol alone.
"""

import gc
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from arena.uci_engine import UciEngine
from arena.uci_options import Options

if TYPE_CHECKING:
    from typing_extensions import Buffer

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
    commands = WakeableInput(sys.stdin.fileno())
    engine = UciEngine(load, _write, options, name=name, failed=commands.wake)
    with engine:
        for line in lines(io.BufferedReader(commands)):
            if not engine.handle(line):
                break
        if engine.failure is not None:
            raise engine.failure


class WakeableInput(io.RawIOBase):
    """What comes on a file descriptor, until its end or until another thread ends the wait for more.

    A signal would not do: one that comes just before the wait does not end it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._woken, self._waking = os.pipe()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "Buffer") -> int:
        """Read what there is, waiting for something; 0 at the end, or once woken."""
        ready, _, _ = select.select([self._descriptor, self._woken], [], [])
        if self._woken in ready:
            return 0
        view = memoryview(buffer).cast("B")
        read = os.read(self._descriptor, len(view))
        view[: len(read)] = read
        return len(read)

    def wake(self) -> None:
        """End the wait, now or the next."""
        os.write(self._waking, b"\0")


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

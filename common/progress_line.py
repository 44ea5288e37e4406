"""A line that says how far a command is: rewritten in place on a terminal, printed now and then elsewhere.

For commands that do one thing; `rookery up` has its own table. Goes to standard error, so that what the command
prints can be piped.
"""

import shutil
import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

TERMINAL_INTERVAL_S = 0.2
PLAIN_INTERVAL_S = 5.0


class ProgressLine:
    """Shows the latest line, never more often than its interval; a context manager that wipes it at the end.

    `plain` says whether lines are printed where there is no terminal.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        plain: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._plain = plain
        self._clock = clock
        self._shown = False
        self._next_s = clock() + (TERMINAL_INTERVAL_S if self._terminal else PLAIN_INTERVAL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._shown and self._terminal:
            self._write("\r\x1b[K")

    def show(self, line: str) -> None:
        """Show `line` if it is time to; else it is dropped."""
        now_s = self._clock()
        if now_s < self._next_s or not (self._terminal or self._plain):
            return
        self._shown = True
        if self._terminal:
            self._next_s = now_s + TERMINAL_INTERVAL_S
            width = shutil.get_terminal_size().columns
            self._write(f"\r{line[: width - 1]}\x1b[K")
        else:
            self._next_s = now_s + PLAIN_INTERVAL_S
            self._write(line + "\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

"""Work that takes a while: cut into chunks, with a line that says how far it is, and an orderly end on Ctrl-C."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from common.progress_line import ProgressLine
from common.quantities import duration

T = TypeVar("T")

CHUNK = 32
"""Items between two looks at the stop flag: enough for a network to read many boards at once, and soon done."""


class Work:
    """Hands out chunks until there are none, or somebody asked to stop."""

    def __init__(
        self, line: ProgressLine, stop: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._line, self._stop, self._clock = line, stop, clock
        self.interrupted = False

    def stopping(self) -> bool:
        """Tell whether somebody asked to stop, and note it."""
        self.interrupted = self.interrupted or self._stop()
        return self.interrupted

    def show(self, line: str) -> None:
        """Show how far it is."""
        self._line.show(line)

    def chunks(self, what: str, items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
        """Yield `items` in order, `size` at a time, until all are done or it is time to stop."""
        begun_s = self._clock()
        for start in range(0, len(items), size):
            if self.stopping():
                return
            self.show(self._progress(what, start, len(items), self._clock() - begun_s))
            yield items[start : start + size]

    @staticmethod
    def _progress(what: str, done: int, total: int, elapsed_s: float) -> str:
        left = f", {duration(elapsed_s / done * (total - done))} left" if done else ""
        return f"{what}: {done:,} of {total:,} ({done / max(1, total):.0%}){left}"

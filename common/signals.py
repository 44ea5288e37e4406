"""Turning signals into flags that loops look at: one asks to drain, a second aborts, SIGHUP asks to reload."""

import os
import signal
import time
from types import FrameType

ONE_REQUEST_S = 0.5
"""Signals this soon after the first say the same thing twice: the kernel tells of the death of a parent once for
each of its threads, and a process group's signal may be passed on by who is told of it."""


class StopSignal:
    """Set by SIGTERM or SIGINT; a second one ends the process at once with exit code 130."""

    def __init__(self) -> None:
        self._set = False
        self._first_s: float | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def __bool__(self) -> bool:
        return self._set

    def set(self) -> None:
        """Ask to drain, as a first signal would."""
        self._set = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
        elif now_s - self._first_s > ONE_REQUEST_S:
            os._exit(130)
        self._set = True


class ReloadSignal:
    """Set by SIGHUP, which asks a service to read its settings again."""

    def __init__(self) -> None:
        self._set = False
        signal.signal(signal.SIGHUP, self._on_signal)

    def __bool__(self) -> bool:
        return self._set

    def clear(self) -> None:
        """Take the request: one that comes from now on is another."""
        self._set = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._set = True

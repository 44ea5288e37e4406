"""Waiting for what comes in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 10.0

T = TypeVar("T")


def until(found: Callable[[], T], turn: Callable[[], object] = lambda: time.sleep(0.002)) -> T:
    """Return what `found` returns once it is something, taking turns in between."""
    end_s = time.monotonic() + PATIENCE_S
    while not (value := found()):
        assert time.monotonic() < end_s, "it never came"
        turn()
    return value

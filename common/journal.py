"""systemd's journal: whether a stream leads there, and the priority that stands before a line (sd-daemon(3))."""

import logging
import os
from collections.abc import Mapping
from typing import TextIO

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""The journal's priorities, highest first: syslog(3)'s."""
_DEBUG = 7


def is_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to `stream` goes to the journal, as systemd says."""
    try:
        file = os.fstat(stream.fileno())
    except (OSError, ValueError):  # not a file
        return False
    return environment.get("JOURNAL_STREAM") == f"{file.st_dev}:{file.st_ino}"


def with_priority(text: str, level: int) -> str:
    """Return `text`, each line with the priority of a level of `logging` before it."""
    priority = next((number for least, number in _PRIORITIES if level >= least), _DEBUG)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines())

"""The lock on an agent's directory: one learner trains there, or none.

Taken by the experience store for as long as it is open; the kernel frees it when the process dies.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from common.errors import RunDirectoryError

LOCK_FILE = "learner.lock"


class DirectoryLock:
    """Exclusive lock on a directory, held from construction to `close`; it holds against threads, too."""

    def __init__(self, directory: Path) -> None:
        """Make `directory` where it is missing, and lock it.

        Raises RunDirectoryError when another learner holds it or the directory can't be written.
        """
        self._path = directory / LOCK_FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunDirectoryError(f"{directory}: can't be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            who = f" (process {holder})" if holder else ""
            raise RunDirectoryError(
                f"{directory}: another learner{who} is at work here; stop it first, or use another directory"
            ) from error
        # For the other learner's error message only; a full disk must not keep us from working here.
        with suppress(OSError):
            os.truncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def close(self) -> None:
        """Free the directory; more than once does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

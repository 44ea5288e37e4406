"""The lock on an agent's directory: one learner trains there, or none, and of two the newer.

Taken by the experience store for as long as it is open. A learner that finds the lock held claims the directory
and waits; the one at work looks for a claim about once a second (`claimant`), saves, and lets go. Lock and claim
are the kernel's and go when their process dies, so neither is ever stale; both files stay and name who held them
last.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from common.errors import RunDirectoryError

LOCK_FILE = "learner.lock"
CLAIM_FILE = "learner.claim"
TAKEOVER_S = 30.0
"""How long a learner waits for the one before it to save and let go."""
POLL_S = 0.05


class DirectoryLock:
    """Exclusive lock on a directory, held from construction to `close`; it holds against threads, too."""

    def __init__(self, directory: Path) -> None:
        """Make `directory` where it is missing, and lock it; whoever holds it is asked to let go.

        Raises RunDirectoryError when the holder does not let go within TAKEOVER_S, when a still newer learner
        claims the directory meanwhile, and when it can't be written.
        """
        self._file = -1
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = _open(directory / LOCK_FILE)
            if not _try_to_lock(self._file):
                self._take_over(directory)
        except OSError as error:
            self.close()
            raise RunDirectoryError(f"{directory}: can't be written: {error.strerror}") from error
        except BaseException:
            self.close()
            raise
        _sign(self._file)

    def close(self) -> None:
        """Free the directory; more than once does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take_over(self, directory: Path) -> None:
        end_s = time.monotonic() + TAKEOVER_S
        claim = _open(directory / CLAIM_FILE)
        try:
            _sign(claim)
            while not (_try_to_lock(claim) and _try_to_lock(self._file)):
                newest = _signature(claim)
                if newest not in ("", str(os.getpid())):
                    raise overtaken(directory, newest)
                if time.monotonic() >= end_s:
                    holder = _signature(self._file) or "unknown"
                    raise RunDirectoryError(
                        f"{directory}: another learner (process {holder}) is at work here and has not let go "
                        f"within {TAKEOVER_S:g} s; end it (kill {holder}, or kill -9 {holder} where it hangs), "
                        "then start this one again"
                    )
                time.sleep(POLL_S)
        finally:
            os.close(claim)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def claimant(directory: Path) -> str | None:
    """Return the process id of a newer learner that waits for `directory`; None where none does."""
    try:
        claim = os.open(directory / CLAIM_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _try_to_lock(claim, fcntl.LOCK_SH) else _signature(claim) or "unknown"
    finally:
        os.close(claim)


def overtaken(directory: Path, newer: str) -> RunDirectoryError:
    """Return the error that ends a learner in favour of the process `newer`."""
    return RunDirectoryError(
        f"{directory}: another learner (process {newer}) was started for this agent; it goes on"
    )


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _try_to_lock(file: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(file: int) -> None:
    """Write down who we are. For others to read: a full disk must not keep us from working here."""
    with suppress(OSError):
        os.truncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode("ascii"), 0)


def _signature(file: int) -> str:
    """Return the process id of who signed a file last; nothing where nobody could."""
    return os.pread(file, 32, 0).decode("ascii", "replace").strip()

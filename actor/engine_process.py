"""Engine process: one UCI engine as a child process, with pipes that never block.

Called by the engine alone. Knows nothing of chess; never waits, except where a deadline says how long.
"""

import fcntl
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from common.errors import EngineNotUsable

PIPE_BYTES = 1 << 20
"""Size asked for each pipe, so that neither side waits for the other; the kernel may grant less."""

_READS_MAX = 4
_ELSEWHERE = "/usr/games:/usr/local/games:/usr/local/bin:/opt/homebrew/bin"


def find_engine(name: str) -> str:
    """Return the path of the engine `name`: a path, or a command on PATH or in /usr/games.

    Raises EngineNotUsable if there is none or it can't be executed.
    """
    path = shutil.which(name) or (shutil.which(name, path=_ELSEWHERE) if "/" not in name else None)
    if path is not None:
        return path
    if "/" in name and Path(name).is_dir():
        raise EngineNotUsable(f"{name}: is a directory; --engine takes the engine's program file")
    if "/" in name and Path(name).exists():
        raise EngineNotUsable(f"{name}: is not executable; try chmod +x, or give another with --engine")
    raise EngineNotUsable(f"no engine {name!r} here; install Stockfish or give its path with --engine")


class EngineProcess:
    """A running engine in a session of its own, so that Ctrl-C and its kind miss it.

    It ends on its own if this process is killed: its next line of output meets a closed pipe.
    """

    def __init__(self, path: str) -> None:
        try:
            self._child = subprocess.Popen(
                [path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise EngineNotUsable(f"{path}: can't be run: {error.strerror}; give another with --engine") from error
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._stdin, self._stdout = self._child.stdin.fileno(), self._child.stdout.fileno()
        self._unwritten = memoryview(b"")
        self._buffer = memoryview(bytearray(PIPE_BYTES))
        self.ended = False
        """True once the engine has closed a pipe: it can't be talked to any more."""
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe, False)
            try:
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            except OSError:
                pass  # the user's share of big pipes is used up: the usual size does too

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process id, which is the process group's too."""
        return self._child.pid

    @property
    def stdout(self) -> int:
        """File descriptor to wait on for output."""
        return self._stdout

    def write(self, data: bytes = b"") -> None:
        """Pass on `data` after what was not taken before, as far as the pipe takes it now."""
        if data:
            self._unwritten = memoryview(bytes(self._unwritten) + data)
        try:
            while self._unwritten and not self.ended:
                self._unwritten = self._unwritten[os.write(self._stdin, self._unwritten) :]
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True

    def read(self) -> bytes:
        """Return the output that there is now, at most 4 MiB, without waiting."""
        parts: list[bytes] = []
        size = PIPE_BYTES
        try:
            while size == PIPE_BYTES and len(parts) < _READS_MAX:
                size = os.readv(self._stdout, [self._buffer])
                self.ended = self.ended or not size
                parts.append(bytes(self._buffer[:size]))
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True
        return b"".join(parts)

    def wait_for_output(self, timeout_s: float) -> None:
        """Return when there is output, the engine has ended, or the time is over."""
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN)
        poller.poll(max(0, int(timeout_s * 1000)))

    def ending_signal(self) -> signal.Signals | None:
        """Return the signal that ended the engine, None if it ended otherwise; waits a moment for its end."""
        try:
            code = self._child.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return None
        return signal.Signals(-code) if code < 0 else None

    def kill(self) -> None:
        """Kill the engine and its process group, and wait until it is gone."""
        self.ended = True
        if self._child.returncode is not None:
            return
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # gone already
        self._child.wait()
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()

"""A slow disk for one process: each write below a directory, and each sync, takes as long as a file says.

    python slow_disk.py DIRECTORY PROGRAM [ARGUMENT]...

The process becomes PROGRAM; DIRECTORY/delay_ms has the milliseconds, and can be changed at any time (missing: 0).
For programs that make their system calls themselves, as those written in Go do, so that no preloaded library can
stand between; and for kernels without dm-delay. The kernel stops the program at each such call and asks a second
process, which lets it go on when its turn has come (seccomp_unotify(2)): one call after the other, as a disk with
a queue of one. Nothing of the call itself is changed. Writes to sockets go on at once. Reads are as fast as ever.
"""

import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

DELAY_FILE = "delay_ms"
_CALLS = {
    "x86_64": (1, 18, 74, 75),
    "aarch64": (64, 68, 82, 83),
}
"""By machine: the numbers of write, pwrite64, fsync and fdatasync."""
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 3, 1 << 5
_PR_SET_NO_NEW_PRIVS = 38
_LOAD, _EQUALS, _RETURN = 0x20, 0x15, 0x06
"""Instructions of a filter: load a word of the call, jump if it equals, end with a verdict."""
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_NOTICE = struct.Struct("QIIiIQ6Q")
_ANSWER = struct.Struct("QqiI")


def can_be_slowed() -> bool:
    """Whether this machine has what a slow disk takes."""
    return sys.platform == "linux" and platform.machine() in _CALLS


def install() -> int:
    """Have the kernel ask about this process's writes from now on; return where it asks."""
    machine = platform.machine()
    calls = _CALLS[machine]
    program = [struct.pack("HBBI", _LOAD, 0, 0, 0)]
    program += [struct.pack("HBBI", _EQUALS, len(calls) - at, 0, number) for at, number in enumerate(calls)]
    program += [struct.pack("HBBI", _RETURN, 0, 0, verdict) for verdict in (_ALLOW, _ASK)]
    code = ctypes.create_string_buffer(b"".join(program))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, head)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "no system calls can be looked at here")
    return int(listener)


class Disk:
    """The process that is asked: a queue of calls, each of which takes its time."""

    def __init__(self, listener: int, directory: Path) -> None:
        self._listener, self._root, self._delay_file = listener, f"{directory.resolve()}/", directory / DELAY_FILE
        self._queue: deque[tuple[int, float]] = deque()
        """Calls that wait, each with the time at which it is over."""

    def serve(self) -> None:
        """Answer until the program has ended."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            wait_s = self._queue[0][1] - time.monotonic() if self._queue else None
            for _, what in poll.poll(None if wait_s is None else max(0.0, 1000 * wait_s)):
                if not what & select.POLLIN:
                    return
                self._take()
            while self._queue and self._queue[0][1] <= time.monotonic():
                self._go_on(self._queue.popleft()[0])

    def _take(self) -> None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notice)
        except FileNotFoundError:  # it was killed meanwhile
            return
        call, pid, _, _, _, _, file, *_ = _NOTICE.unpack(notice)
        delay_s = self._delay_s() if self._is_on_disk(pid, file) else 0.0
        if not delay_s:
            self._go_on(call)
            return
        begin_s = self._queue[-1][1] if self._queue else time.monotonic()
        self._queue.append((call, begin_s + delay_s))

    def _is_on_disk(self, pid: int, file: int) -> bool:
        try:
            return str(Path(f"/proc/{pid}/fd/{file}").readlink()).startswith(self._root)
        except OSError:
            return False

    def _delay_s(self) -> float:
        try:
            return float(self._delay_file.read_text() or 0) / 1000
        except FileNotFoundError:
            return 0.0

    def _go_on(self, call: int) -> None:
        try:
            fcntl.ioctl(self._listener, _SEND, _ANSWER.pack(call, 0, 0, _CONTINUE))
        except FileNotFoundError:
            pass


def main() -> None:
    """Split in two, and become the program."""
    directory, *command = sys.argv[1:]
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        theirs.close()
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        Disk(descriptors[0], Path(directory)).serve()
        os._exit(0)
    ours.close()
    listener = install()
    socket.send_fds(theirs, [b"."], [listener])
    os.close(listener)
    theirs.close()
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

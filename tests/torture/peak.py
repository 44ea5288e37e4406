"""The most memory that this process has had at once."""

import re
from pathlib import Path


def peak_bytes() -> int:
    """Return the peak of this process's resident memory.

    Not getrusage's: that of a process that was just started is its parent's, which the kernel hands on at exec.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024

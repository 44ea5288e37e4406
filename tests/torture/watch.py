"""Asks a broker how things stand, again and again, and prints a JSON line each time, until standard input ends.

A process of its own, so that it can run on the broker's host: what it sees does not go over the cable.
"""

import sys
import time
from pathlib import Path

import msgspec

from common.errors import BrokerUnreachable
from common.messages import Status
from common.security import reach_as_operator
from common.settings import resolve

INTERVAL_S = 0.2


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker said, and when."""

    time_s: float
    """time.monotonic(), which all processes of a machine share."""
    status: Status | None
    """None where no broker answered."""


def watch(settings_file: Path) -> None:
    """Print a line about every INTERVAL_S."""
    settings = resolve(settings_file, {})
    link = reach_as_operator(settings).operator()
    while True:
        try:
            status = link.status(1.0)
        except BrokerUnreachable:
            status = None
        seen = Seen(time_s=time.monotonic(), status=status)
        sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")
        sys.stdout.buffer.flush()
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    try:
        watch(Path(sys.argv[1]))
    except (BrokenPipeError, KeyboardInterrupt):
        pass

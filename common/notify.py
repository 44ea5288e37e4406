"""Telling systemd how a service fares: ready, reloading, stopping, a line of status, and that its loop turns.

The protocol is one datagram a message (sd_notify(3)). Without systemd every call does nothing.
"""

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

PINGS_PER_TIMEOUT = 4
"""Pings of the watchdog in the time after which it would kill us."""
STATUS_INTERVAL_S = 5.0
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Sends a service's state to `address`; a leading `@` stands for an abstract socket, None for nobody.

    Never waits and never fails: a message that systemd can't take now is dropped, and the next says the same.
    """

    def __init__(
        self, address: str | None, watchdog_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._ping_every_s = watchdog_s / PINGS_PER_TIMEOUT if watchdog_s else None
        self._pinged_s = self._told_s = -float("inf")
        self._stopping = False
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> "Notifier":
        """Return the notifier that systemd's variables ask for; remove them: an engine must not speak for us."""
        address, timeout_us, pid = (environment.pop(name, None) for name in _VARIABLES)
        ours = timeout_us is not None and timeout_us.isdecimal() and pid in (None, str(os.getpid()))
        return cls(address, int(timeout_us or 0) / 1e6 if ours else None)

    @property
    def watched(self) -> bool:
        """Whether a loop that hangs will be killed."""
        return self._socket is not None and self._ping_every_s is not None

    def ready(self) -> None:
        """Say that the service works, or works again after `reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the settings are being read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the service drains; more than once does nothing."""
        if not self._stopping:
            self._stopping = True
            self._send("STOPPING=1")

    def turn(self, status: Callable[[], str]) -> None:
        """Say that the main loop has made a turn; call it in each one, it sends only as often as needed.

        `status` returns the line that `systemctl status` shows, and is called when a new one is due.
        """
        if self._socket is None:
            return
        now_s = self._clock()
        if self._ping_every_s is not None and now_s - self._pinged_s >= self._ping_every_s:
            self._pinged_s = now_s
            self._send("WATCHDOG=1")
        if now_s - self._told_s >= STATUS_INTERVAL_S:
            self._told_s = now_s
            self._send(f"STATUS={' '.join(status().split())}")

    def close(self) -> None:
        """Close the socket; what is said afterwards goes nowhere."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is not None and self._address is not None:
            with suppress(OSError):
                self._socket.sendto(message.encode(), self._address)

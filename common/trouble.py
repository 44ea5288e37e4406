"""Trouble that comes again and again, such as a full disk: told in few lines."""

from logging import Logger


def is_told(count: int) -> bool:
    """Whether the `count`th time of the same trouble is told: the 1st, 2nd, 4th, 8th, …"""
    return count > 0 and count & (count - 1) == 0


class Trouble:
    """Tells of a failure at once, then when its count doubles, and when it is over."""

    def __init__(self, log: Logger, event: str, over: str) -> None:
        self._log, self._event, self._over, self._count = log, event, over, 0

    def again(self, reason: str) -> None:
        """Count a failure, and tell of the 1st, 2nd, 4th, 8th, …"""
        self._count += 1
        if is_told(self._count):
            self._log.error(self._event, extra={"reason": reason, "count": self._count})

    def over(self) -> None:
        """Say that it went well, if it failed before."""
        if self._count:
            self._log.warning(self._over, extra={"failures": self._count})
        self._count = 0

"""Which log lines are asked for: by time, level, service, game, unit, agent and text.

Pure. Times are UTC; one without a zone is taken for UTC, as the lines themselves show it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from common.log_lines import SEVERITY_NUMBERS, LogLine

LEVELS = tuple(level.lower() for level in SEVERITY_NUMBERS)
"""The least severe first."""
_AGO = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, now: datetime) -> datetime:
    """Return the moment that `text` says: ISO 8601, or how long before `now` (30s, 10m, 2h, 7d, 2w).

    Raises ValueError, with what it can be, for anything else.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: 10m, 2h or 3d ago, or ISO 8601 such as 2026-11-22T02:56:19Z"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


@dataclass(frozen=True, kw_only=True, slots=True)
class LogQuery:
    """What a line has to be; None asks for nothing."""

    since: datetime | None = None
    """Not before this …"""
    until: datetime | None = None
    """… nor at this or after it."""
    least: int | None = None
    """Least severity: a number of SEVERITY_NUMBERS."""
    services: tuple[str, ...] = ()
    """Names of services, with * and ? as in a shell; any of them."""
    game: int | None = None
    unit: int | None = None
    agent: str | None = None
    """Of the field `agent`, or of the learner that said it."""
    text: str | None = None
    """Somewhere in the event, a field or the stack trace; upper and lower case are the same."""

    def glance(self) -> Callable[[bytes], object] | None:
        """Return what is not true of bytes that no line asked for is made of: cheaper than decoding them."""
        asked = (("game", self.game), ("unit", self.unit))
        patterns = [
            re.compile(rb'"%s":\s*%d\b' % (name.encode(), number)) for name, number in asked if number is not None
        ]
        if len(patterns) == 1:
            return patterns[0].search
        return (lambda text: all(pattern.search(text) for pattern in patterns)) if patterns else None

    def matches(self, line: LogLine) -> bool:
        """Return whether a line is asked for."""
        return (
            (self.least is None or line.severity_number >= self.least)
            and (self.since is None or line.time >= self.since)
            and (self.until is None or line.time < self.until)
            and (not self.services or any(fnmatchcase(line.service, name) for name in self.services))
            and (self.game is None or line.attributes.get("game") == self.game)
            and (self.unit is None or line.attributes.get("unit") == self.unit)
            and (self.agent is None or self._of_agent(line))
            and (self.text is None or self._says(line, self.text.casefold()))
        )

    def _of_agent(self, line: LogLine) -> bool:
        return line.attributes.get("agent") == self.agent or line.service == f"learner-{self.agent}"

    @staticmethod
    def _says(line: LogLine, text: str) -> bool:
        if text in line.body.casefold() or text in line.event.casefold():
            return True
        said = (f"{key}={value}" for key, value in line.attributes.items())
        return any(text in field.casefold() for field in said)

"""Reading the settings again while a service runs: what can change at once changes, the rest is named."""

import logging
from collections.abc import Callable

import msgspec

from common.errors import RookeryError
from common.logs import set_level
from common.settings import Settings
from common.signals import ReloadSignal

log = logging.getLogger(__name__)

AT_ONCE = frozenset({"log_level"})
"""Settings that a reload applies; the others take a new start."""


class Reload:
    """Applies the settings anew when asked to; owned by the service's main loop, which calls `apply` each turn.

    Settings that can't be used are one error line; the service goes on with those it has.
    """

    def __init__(self, settings: Settings, reread: Callable[[], Settings], signal: ReloadSignal) -> None:
        self._settings, self._reread, self._signal = settings, reread, signal
        self._callbacks: list[Callable[[Settings], None]] = []

    def call(self, callback: Callable[[Settings], None]) -> None:
        """Have `callback` called with the settings at each reload; a RookeryError from it is one error line."""
        self._callbacks.append(callback)

    @property
    def asked(self) -> bool:
        """Whether a reload is asked for and not yet done."""
        return bool(self._signal)

    def apply(self) -> None:
        """Read the settings again and apply them."""
        self._signal.clear()
        try:
            settings = self._reread()
            for callback in self._callbacks:
                callback(settings)
        except RookeryError as error:
            log.error("settings not read again: going on as before", extra={"reason": str(error)})
            return
        set_level(settings.log_level)
        changed = {
            field.name
            for field in msgspec.structs.fields(Settings)
            if getattr(settings, field.name) != getattr(self._settings, field.name)
        }
        # Told whatever the level is: the operator has just asked.
        log.log(
            max(logging.INFO, logging.getLevelName(settings.log_level.upper())),
            "settings read again",
            extra={
                "log_level": settings.log_level,
                "takes_a_new_start": ", ".join(sorted(changed - AT_ONCE)) or "nothing",
            },
        )

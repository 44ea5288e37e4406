"""How much a command says on its console: `--quiet` and `--verbose`, for `rookery up` and the services."""

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Any

import click


class Verbosity(StrEnum):
    """What goes to the console; what goes to the log collectors is the setting `log_level`'s matter."""

    QUIET = "quiet"
    """Warnings and results."""
    NORMAL = "normal"
    """What the setting `log_level` says."""
    VERBOSE = "verbose"
    """Everything, from level debug on."""

    def level(self, normal: str) -> str:
        """Return the least severe level shown, where `normal` is the one of the settings."""
        if self is Verbosity.VERBOSE:
            return "debug"
        return "warning" if self is Verbosity.QUIET and normal.lower() in ("debug", "info") else normal


def verbosity_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--quiet` and `--verbose`; it gets them as the keyword argument `verbosity`."""

    @wraps(function)
    def command(*arguments: Any, quiet: bool, verbose: bool, **others: Any) -> None:
        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose exclude each other: give one of them")
        verbosity = Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL
        function(*arguments, verbosity=verbosity, **others)

    command = click.option("-v", "--verbose", is_flag=True, help="Show everything, from level debug on.")(command)
    return click.option("-q", "--quiet", is_flag=True, help="Show only warnings and results.")(command)

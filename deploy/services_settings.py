"""`--settings` of the commands that look back at a run: for runs whose directory keeps no settings of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from common.run_files import SETTINGS_FILE

F = TypeVar("F", bound=Callable[..., Any])


def services_settings_option(function: F) -> F:
    """Give a command `--settings FILE`; it gets it as `settings_file`."""
    return click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"The services' settings file, for a run that `rookery up` did not start: there DIR holds no "
        f"{SETTINGS_FILE}.",
    )(function)

"""Click options made from the settings, and the one place where errors become a line and an exit code."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import click
import msgspec

from common.errors import RookeryError
from common.settings import Settings, help_of, resolve

F = TypeVar("F", bound=Callable[..., Any])

_NOT_OPTIONS = ("games", "agents")
"""Settings that are an argument or a table."""


def settings_options(function: F) -> F:
    """Give a command `--settings FILE` and one flag for each setting; it gets them as keyword arguments."""
    for field in reversed(msgspec.structs.fields(Settings)):
        if field.name in _NOT_OPTIONS:
            continue
        flag = "--" + field.name.replace("_", "-")
        shown = (
            f"{help_of(field.name)} [default: {field.default}]"
            if field.default is not None
            else help_of(field.name)
        )
        if isinstance(field.default, bool):
            function = click.option(f"{flag}/--no-{flag[2:]}", default=None, help=shown)(function)
        else:
            function = click.option(flag, metavar=_metavar(field.name), help=shown)(function)
    return click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML file with any of these settings (names with _ for -) and the [[agents]].",
    )(function)


def settings_from(flags: dict[str, Any], **others: Any) -> Settings:
    """Return the settings that a command made with `settings_options` was started with."""
    given = dict(flags)
    return resolve(given.pop("settings_file"), {**given, **others})


def run(command: click.Command, program: str) -> None:
    """Run a command; an error that Rookery knows becomes one line on standard error and its exit code."""
    try:
        command.main(prog_name=program, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"{program}: {' '.join(error.format_message().split())}", err=True)
        sys.exit(error.exit_code)
    except RookeryError as error:
        click.echo(f"{program}: {error}", err=True)
        sys.exit(error.exit_code)
    except click.Abort:  # Ctrl-C
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        place = _place(error)
        click.echo(
            f"{program}: internal error: {type(error).__name__}: {error} (at {place}); please report it",
            err=True,
        )
        sys.exit(70)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _metavar(name: str) -> str:
    hint = get_type_hints(Settings)[name]
    kinds = [kind for kind in (*get_args(hint), hint) if isinstance(kind, type) and kind is not type(None)]
    if issubclass(kinds[0], StrEnum):
        return "|".join(kinds[0])
    return {int: "N", float: "X"}.get(kinds[0], "TEXT")

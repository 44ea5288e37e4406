"""Click options made from the settings, and the one place where errors become a line and an exit code."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import click
import msgspec
from click.shell_completion import CompletionItem

from common.errors import INTERNAL, INTERRUPTED, RookeryError
from common.journal import is_journal, with_priority
from common.run_files import SETTINGS_FILE, is_run
from common.settings import Settings, choices_of, help_of, resolve

F = TypeVar("F", bound=Callable[..., Any])

_NOT_OPTIONS = ("games", "agents")
"""Settings that are an argument or a table."""
_METAVARS = {
    "run": "DIR", "keys": "DIR", "evaluations": "FILE", "engine": "PROGRAM", "broker": "HOST", "bind": "ADDRESS",
    "operator": "NAME", "network": "mlp|resnet|transformer|table",
}  # fmt: skip
"""What the settings that are text stand for, where that is not one of a few values."""
_PLACES = {"DIR": "dir", "FILE": "file", "PROGRAM": "file"}
"""Metavars that a shell completes with files or directories."""


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
            metavar = metavar_of(field.name)
            function = click.option(flag, metavar=metavar, shell_complete=_completer(metavar), help=shown)(function)
    return click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TOML file with any of these settings (names with _ for -) and the [[agents]].",
    )(function)


def to_option(formats: str) -> Callable[[F], F]:
    """Give a command `--to FILE`, the table or the like that it makes; `formats` names the suffixes it may have."""
    return click.option(
        "--to",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        help=f"Where to: {formats}. An old file stays until the new one is whole.",
    )


def settings_from(flags: dict[str, Any], **others: Any) -> Settings:
    """Return the settings that a command made with `settings_options` was started with."""
    given = dict(flags)
    return resolve(given.pop("settings_file"), {**given, **others})


def settings_of_flags(flags: dict[str, Any]) -> Settings:
    """Return the settings for one who looks at a run: as `settings_from`, but the run's own where it keeps any.

    Its own are those that `rookery up` keeps in --run; another file that is given goes before them.
    """
    settings = settings_from(flags)
    if flags["settings_file"] is None and is_run(settings.directory):
        own = settings.directory / SETTINGS_FILE
        return settings_from({**flags, "settings_file": own, "run": str(settings.directory)})
    return settings


def run(command: click.Command, program: str) -> None:
    """Run a command; an error that Rookery knows becomes one line on standard error and its exit code."""
    try:
        command.main(prog_name=program, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _tell(f"{program}: {' '.join(error.format_message().split())}{_advice(error)}")
        sys.exit(error.exit_code)
    except RookeryError as error:
        _tell(f"{program}: {error}")
        sys.exit(error.exit_code)
    except click.Abort:  # Ctrl-C
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        place = _place(error)
        _tell(f"{program}: internal error: {type(error).__name__}: {error} (at {place}); please report it")
        sys.exit(INTERNAL)


def _tell(line: str) -> None:
    """Write the line of an error, to the journal as one."""
    click.echo(with_priority(line, logging.ERROR) if is_journal(sys.stderr) else line, err=True)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _advice(error: click.ClickException) -> str:
    """Return where to read how the command is used that was used wrongly."""
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    end = "" if error.format_message().endswith((".", "?", ")")) else "."
    return f"{end} See `{error.ctx.command_path} --help`."


def metavar_of(name: str) -> str:
    """Return what stands for the value of the setting called `name` in helps."""
    choices = choices_of(name)
    if choices:
        return "|".join(choices)
    hint = get_type_hints(Settings)[name]
    kinds = [kind for kind in (*get_args(hint), hint) if isinstance(kind, type) and kind is not type(None)]
    return {int: "N", float: "X"}.get(kinds[0]) or _METAVARS.get(name, "TEXT")


def _completer(metavar: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return what completes a value for the TAB key: places and choices; of all else nobody knows."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        del context, parameter
        if metavar in _PLACES:
            return [CompletionItem(begun, type=_PLACES[metavar])]
        values = metavar.split("|") if "|" in metavar else []
        return [CompletionItem(value) for value in values if value.startswith(begun) and ":" not in value]

    return complete

"""The operator's `rookery`: one group whose subcommands the installed packages bring.

Its help and its completion are made from common.command_groups, so that no subcommand is imported for them.
"""

import difflib
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points, requires, version

import click
from click.shell_completion import CompletionItem

from common.command_groups import ABOUT, GROUPS, MORE, OTHER_NAMES, SERVICES, START, CommandGroup
from common.errors import EXIT_CODES, OperatorError
from common.options import run

GROUP = "rookery.commands"

_EXTRAS = {"actor": "actor", "arena": "arena", "broker": "broker", "learner": "learner", "watch": "dashboard"}
"""The extra that a package's commands need, by the package; those of deploy need all."""
_NEED_NOTHING = ("watch.logs_command",)
"""Modules that do without what their package's other commands need."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+).*extra == ['\"]([a-z-]+)['\"]")
_NAME_WIDTH = 16
_START_WIDTH = 40


class Subcommands(click.Group):
    """Commands by entry point, imported only when called; a missing extra is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all subcommands, alphabetically."""
        del ctx
        return sorted(_points())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a subcommand; None if there is none of that name."""
        point = _points().get(name)
        return super().get_command(ctx, name) if point is None else _load(point)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that `args` begin with; raise UsageError that names the nearest known one."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"no command is called {args[0]!r}{_nearest(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the subcommands and options that begin with `incomplete`, without importing any."""
        summaries = {name: text for group in GROUPS for name, text in group.commands.items()}
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=summaries.get(name)) for name in names]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the page for a newcomer."""
        formatter.write_usage("rookery", "COMMAND [ARGUMENTS] [OPTIONS]")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(ABOUT)
        points = _points()
        _write(formatter, "Begin with", [row for row in START if row[0].split()[1] in points], _START_WIDTH)
        for group in _groups(ctx, self):
            _write(formatter, group.title, list(group.commands.items()))
        _write(formatter, "Services, for runs on several hosts", list(SERVICES.items()))
        click.Command.format_options(self, ctx, formatter)
        _write(formatter, "Exit codes", [(str(code), text) for code, text in EXIT_CODES.items()], 3)
        formatter.write_paragraph()
        formatter.write_text(
            "`rookery COMMAND --help` explains a command, with an example. docs/operations.md tells how to run "
            "Rookery, docs/commands.md has every command and setting."
        )


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _write(
    formatter: click.HelpFormatter, title: str, rows: list[tuple[str, str]], width: int = _NAME_WIDTH
) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl([(name.ljust(width), text) for name, text in rows], col_max=_START_WIDTH)


def _groups(ctx: click.Context, group: Subcommands) -> Iterator[CommandGroup]:
    """Yield the groups with the subcommands that are there; only those that are in no group are imported."""
    points, missing = _points(), _missing_extras()
    for known in GROUPS:
        commands = {
            name: text + _need(points[name], missing) for name, text in known.commands.items() if name in points
        }
        yield CommandGroup(title=known.title, commands=commands)
    others = [name for name in sorted(points) if not any(name in known.commands for known in GROUPS)]
    loaded = {name: command for name in others if (command := group.get_command(ctx, name)) is not None}
    yield CommandGroup(
        title=MORE, commands={name: command.get_short_help_str() for name, command in loaded.items()}
    )


def _need(point: EntryPoint, missing: set[str]) -> str:
    extra = "" if point.module in _NEED_NOTHING else _EXTRAS.get(point.module.split(".")[0], "")
    return f" (needs rookery[{extra}])" if extra in missing else ""


def _missing_extras() -> set[str]:
    """Return the extras of which a distribution is not installed, as the metadata tell."""
    found = [match.groups() for text in requires("rookery") or [] if (match := _REQUIREMENT.match(text))]
    return {extra for name, extra in found if extra in _EXTRAS.values() and not _installed(name)}


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _nearest(name: str, known: list[str]) -> str:
    near = [OTHER_NAMES[name]] if name in OTHER_NAMES else difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near and near[0] in known else ""


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except ModuleNotFoundError as error:
        return _unavailable(point, error)
    assert isinstance(command, click.Command)
    return command


def _unavailable(point: EntryPoint, error: ModuleNotFoundError) -> click.Command:
    """Return a command that only says what is missing, so that the others can still be listed and run."""
    extra = _EXTRAS.get(point.module.split(".")[0], "all")
    what = f"needs {error.name}: pip install 'rookery[{extra}]'"

    @click.command(
        point.name, short_help=what, add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )  # fmt: skip
    def unavailable() -> None:
        raise OperatorError(f"`rookery {point.name}` {what}")

    return unavailable


@click.group(cls=Subcommands, help=ABOUT, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("rookery"), prog_name="rookery")
def rookery() -> None:
    """Do nothing by itself."""


def main() -> None:
    """Run `rookery`."""
    run(rookery, "rookery")

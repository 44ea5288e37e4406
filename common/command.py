"""The operator's `rookery`: one group whose subcommands the installed packages bring."""

from importlib.metadata import EntryPoint, entry_points, version

import click

from common.errors import OperatorError
from common.options import run

GROUP = "rookery.commands"


class Subcommands(click.Group):
    """Commands by entry point, imported only when called; a missing extra is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all subcommands, alphabetically."""
        del ctx
        return sorted(entry_points(group=GROUP).names)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a subcommand; None if there is none of that name."""
        found = [point for point in entry_points(group=GROUP) if point.name == name]
        if not found:
            return super().get_command(ctx, name)
        return _load(found[0])


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except ModuleNotFoundError as error:
        return _unavailable(point, error)
    assert isinstance(command, click.Command)
    return command


def _unavailable(point: EntryPoint, error: ModuleNotFoundError) -> click.Command:
    """Return a command that only says what is missing, so that the others can still be listed and run."""
    package = point.module.split(".")[0]
    extra = package if package in ("actor", "arena", "broker", "learner") else "all"
    what = f"needs {error.name}: pip install 'rookery[{extra}]'"

    @click.command(
        point.name, short_help=what, add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )  # fmt: skip
    def unavailable() -> None:
        raise OperatorError(f"`rookery {point.name}` {what}")

    return unavailable


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("rookery"), prog_name="rookery")
def rookery() -> None:
    """Rookery breeds chess agents: it learns from every game of your PGN files exactly once.

    Start here:  rookery up games.pgn --run runs/first
    """


def main() -> None:
    """Run `rookery`."""
    run(rookery, "rookery")

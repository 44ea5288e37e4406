"""The operator's subcommands that ask or order the broker: status, pause, resume, drain, reset."""

import sys
from typing import Any

import click
import msgspec
from rich.console import Console

from broker.status_view import render
from common.errors import OperatorError
from common.links import OperatorLink
from common.messages import Action
from common.options import settings_of_flags, settings_options
from common.security import reach_as_operator

HELP = {"help_option_names": ["-h", "--help"]}

_timeout = click.option(
    "--timeout", "timeout_s", metavar="SECONDS", default=5.0, help="How long to wait for the broker. [default: 5]"
)


def _link(flags: dict[str, Any]) -> OperatorLink:
    return reach_as_operator(settings_of_flags(flags)).operator()


@click.command(context_settings=HELP)
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Print everything the broker knows as JSON.")
@_timeout
def status(as_json: bool, timeout_s: float, **flags: Any) -> None:
    """Show services, progress, units, the accounting and the bottleneck.

    Of the run that --run names, if that is on this host, else of the broker that the other options name.

    Example:  rookery status --run runs/first
    """
    link = _link(flags)
    try:
        found = link.status(timeout_s)
    finally:
        link.close()
    if as_json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        Console(soft_wrap=False).print(render(found))


def _order(action: Action, names: tuple[str, ...], flags: dict[str, Any]) -> None:
    timeout_s = flags.pop("timeout_s")
    link = _link(flags)
    try:
        ordered, unknown = link.command(action.value, names, timeout_s)
    finally:
        link.close()
    if ordered or not unknown:
        click.echo(f"{action.value}: {', '.join(ordered) or 'no actors are connected'}")
    if unknown:
        raise OperatorError(f"no actor is called {', '.join(unknown)}; see `rookery status`")


def _command(action: Action, text: str) -> click.Command:
    @click.command(action.value, context_settings=HELP, help=text)
    @click.argument("names", metavar="[NAME]...", nargs=-1)
    @settings_options
    @_timeout
    def command(names: tuple[str, ...], **flags: Any) -> None:
        _order(action, names, flags)

    return command


pause = _command(
    Action.PAUSE,
    "Let actors NAME... (default: all) finish what they have and wait.\n\nExample:  rookery pause actor-0",
)
resume = _command(
    Action.RESUME,
    "Let paused actors NAME... (default: all) go on.\n\nExample:  rookery resume actor-0",
)
drain = _command(
    Action.DRAIN,
    "Let actors NAME... (default: all) finish what they have and exit.\n\nExample:  rookery drain actor-0 actor-1",
)
reset = _command(
    Action.RESET,
    "Let actors NAME... (default: all) give their units back and restart their engine.\n\n"
    "Example:  rookery reset actor-0",
)

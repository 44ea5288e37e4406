"""Every command of Rookery as click knows it: `rookery`, its subcommands and theirs, and the services.

Imports them all, with torch: for the command reference, the man page and the tests, not for a command at work.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import cleandoc

import click

from common.command import rookery
from common.command_groups import GROUPS, MORE, SERVICES
from common.settings import Settings

_SERVICES = {
    "rookery-broker": ("broker.__main__", "broker"),
    "rookery-learner": ("learner.__main__", "learner"),
    "rookery-actor": ("actor.__main__", "actor"),
    "rookery-logs": ("broker.logs", "logs"),
}
"""Module and name of each service's command."""
_EXAMPLE = "Example:"
_VERBATIM = "\b"
"""What begins a paragraph that click doesn't wrap."""
_FLAGS = {name for name in Settings.__struct_fields__ if name not in ("games", "agents")}
SERVICE_GROUP = "Services"


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """An option as a help shows it."""

    spelling: str
    """Names and value, such as `--agent NAME`."""
    help: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """A paragraph of a command's help."""

    text: str
    is_verbatim: bool
    """Whether its lines stand as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A command and what its help says."""

    name: str
    """As it is typed, such as `rookery keys add`."""
    group: str
    """By what one does with it: a title of common.command_groups."""
    command: click.Command
    context: click.Context

    @property
    def usage(self) -> str:
        """The command line in short."""
        return " ".join([self.name, *self.command.collect_usage_pieces(self.context)])

    @property
    def options(self) -> list[Option]:
        """Its options but for the settings, where it takes all of them, and the help."""
        records = [
            parameter.get_help_record(self.context)
            for parameter in self.command.params
            if isinstance(parameter, click.Option)
            and not (self.takes_settings and (parameter.name in _FLAGS or parameter.name == "settings_file"))
        ]
        return [Option(spelling=record[0], help=record[1]) for record in records if record is not None]

    @property
    def takes_settings(self) -> bool:
        """Whether every setting is an option of it."""
        return {parameter.name for parameter in self.command.params} >= _FLAGS

    @property
    def paragraphs(self) -> list[Paragraph]:
        """What its help says, without the examples."""
        return [
            Paragraph(text=text.removeprefix(f"{_VERBATIM}\n"), is_verbatim=text.startswith(_VERBATIM))
            for text in _paragraphs(self.command)
            if _EXAMPLE not in text
        ]

    @property
    def examples(self) -> list[str]:
        """The command lines that its help gives as examples."""
        texts = [text.removeprefix(f"{_VERBATIM}\n") for text in _paragraphs(self.command) if _EXAMPLE in text]
        lines = [line.replace(_EXAMPLE, "").strip() for text in texts for line in text.splitlines()]
        return [line for line in lines if line.startswith("rookery")]


@cache
def entries() -> tuple[Entry, ...]:
    """Return all commands, in the order in which a help lists them; the first is `rookery` itself."""
    return tuple(_entries())


def _entries() -> Iterator[Entry]:
    context = click.Context(rookery, info_name="rookery")
    yield Entry(name="rookery", group="", command=rookery, context=context)
    names = rookery.list_commands(context)
    grouped = {name: group.title for group in GROUPS for name in group.commands}
    order = [*(name for name in grouped if name in names), *(name for name in names if name not in grouped)]
    for name in order:
        command = rookery.get_command(context, name)
        assert command is not None
        yield from _with_subcommands(command, f"rookery {name}", grouped.get(name, MORE))
    for name in SERVICES:
        module, attribute = _SERVICES[name]
        yield from _with_subcommands(getattr(import_module(module), attribute), name, SERVICE_GROUP)


def command_named(words: list[str]) -> tuple[Entry, list[str]] | None:
    """Return the command that a command line names, and its arguments; None if it is none of ours.

    A word that is no subcommand is an argument of the group.
    """
    known = {entry.name: entry for entry in entries()}
    for count in range(len(words), 0, -1):
        entry = known.get(" ".join(words[:count]))
        if entry is not None:
            return entry, words[count:]
    return None


def parse(entry: Entry, line: str) -> None:
    """Parse a command line of `entry` without running it; raises click.UsageError where it is used wrongly."""
    words = shlex.split(line, comments=True)[len(entry.name.split()) :]
    if isinstance(entry.command, click.Group) and words:
        raise click.UsageError(f"{entry.name} has no command {words[0]}", entry.context)
    entry.command.make_context(entry.name, words).close()


def _with_subcommands(command: click.Command, name: str, group: str) -> Iterator[Entry]:
    context = click.Context(command, info_name=name)
    yield Entry(name=name, group=group, command=command, context=context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from _with_subcommands(found, f"{name} {below}", group)


def _paragraphs(command: click.Command) -> list[str]:
    return [text.strip("\n") for text in cleandoc(command.help or "").split("\n\n")]

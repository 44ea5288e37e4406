"""Every command's help is whole: an example that parses, and a word on each option and argument."""

import re
from importlib.metadata import entry_points

import click
import pytest

from common.command import GROUP
from common.command_groups import GROUPS, OTHER_NAMES, START
from deploy.command_tree import Entry, command_named, entries, parse

COMMANDS = [entry for entry in entries() if entry.name != "rookery"]


def named(entry: Entry) -> str:
    return entry.name


def parts(line: str) -> list[str]:
    """The commands of ours in a command line: those that && or | join, without what > writes to."""
    return [part.partition(" > ")[0].strip() for part in re.split(r" && | \| ", line)]


@pytest.mark.parametrize("entry", COMMANDS, ids=named)
def test_each_help_has_an_example_that_parses(entry: Entry) -> None:
    assert "Example:" in entry.command.get_help(entry.context)
    assert entry.examples
    for line in entry.examples:
        assert line.startswith(entry.name)
        for part in parts(line):
            found = command_named(part.split())
            assert found is not None, part
            parse(found[0], part)


@pytest.mark.parametrize("entry", COMMANDS, ids=named)
def test_each_option_has_a_help(entry: Entry) -> None:
    for parameter in entry.command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.opts


@pytest.mark.parametrize("entry", COMMANDS, ids=named)
def test_each_argument_is_told_of(entry: Entry) -> None:
    told = (entry.command.help or "").lower()
    for parameter in entry.command.params:
        if isinstance(parameter, click.Argument):
            words = re.findall(r"[\w-]+", parameter.make_metavar(entry.context))
            assert all(word.lower().removesuffix("s") in told for word in words), words


def test_every_command_is_in_a_group_with_a_line_that_fits() -> None:
    grouped = {name: text for group in GROUPS for name, text in group.commands.items()}
    assert {point.name for point in entry_points(group=GROUP)} <= set(grouped)
    assert all(len(text) <= 60 for text in grouped.values())
    assert {*OTHER_NAMES.values(), *(line.split()[1] for line, _ in START)} <= set(grouped)


def test_where_to_begin_parses() -> None:
    for line, _ in START:
        found = command_named(line.split())
        if found is not None and found[0].name != "rookery":  # what is not installed is not shown
            parse(found[0], line)

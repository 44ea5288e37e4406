"""The command reference: docs/commands.md and a man page, built from the commands themselves.

`python -m deploy.reference`, or `make reference`, writes both; a test fails where docs/commands.md differs.
"""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from common.command_groups import ABOUT, START
from common.errors import EXIT_CODES
from common.options import metavar_of
from common.settings import Settings, help_of, toml_value
from common.whole_file import whole_file
from deploy.command_tree import Entry, entries
from deploy.config_file import groups, values_of
from deploy.man_page import man_page

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "commands.md"
MAN_PAGE = ROOT / "build" / "man" / "man1" / "rookery.1"
WIDTH = 120

_HEAD = """\
# Commands

<!-- Built by `make reference` from the commands' own helps: change those. -->
"""
_SETTINGS = """\
Every command that takes settings has each of them as an option, and `--settings FILE` for a TOML file of them;
a flag wins over the environment, that over the file, that over the default. In the file and the environment
names have `_` for `-` (`limit_games`, `ROOKERY_LIMIT_GAMES`). `games` is the argument GAMES, and `agents`
stand in the file alone. `rookery config init` writes a file with all of this in it.
"""


def commands_page(found: Sequence[Entry]) -> str:
    """Return the command reference as Markdown."""
    parts = [_HEAD, textwrap.fill(ABOUT, WIDTH) + "\n", *_start(found), *_contents(found)]
    for entry in found[1:]:
        parts += _section(entry)
    parts += ["## Settings\n", _SETTINGS, *_settings(), "## Exit codes\n", _exit_codes()]
    return "\n".join(parts)


def _start(found: Sequence[Entry]) -> Iterator[str]:
    names = {entry.name for entry in found}
    rows = [row for row in START if " ".join(row[0].split()[:2]) in names]
    width = max(len(line) for line, _ in rows)
    yield "```console"
    yield from (f"$ {line:<{width}}  # {why}" for line, why in rows)
    yield "```\n"


def _contents(found: Sequence[Entry]) -> Iterator[str]:
    for group in dict.fromkeys(entry.group for entry in found[1:]):
        links = [f"[`{entry.name}`](#{entry.name.replace(' ', '-')})" for entry in found if entry.group == group]
        yield f"- {group}: {', '.join(links)}"
    yield "- [Settings](#settings), [Exit codes](#exit-codes)\n"


def _section(entry: Entry) -> Iterator[str]:
    yield f"## {entry.name}\n"
    yield f"`{entry.usage}`\n"
    for paragraph in entry.paragraphs:
        text = f"```\n{paragraph.text}\n```" if paragraph.is_verbatim else _wrapped(paragraph.text)
        yield text + "\n"
    yield "\n".join(["```console", *(f"$ {example}" for example in entry.examples), "```\n"])
    if entry.options or entry.takes_settings:
        rows = [f"| `{_cell(option.spelling)}` | {_cell(option.help)} |" for option in entry.options]
        if entry.takes_settings:
            rows.append("| `--settings FILE` and a flag for each setting | see [Settings](#settings) |")
        yield "\n".join(["| option | |", "| --- | --- |", *rows]) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def _settings() -> Iterator[str]:
    for group in groups():
        rows = [
            f"| `{_flag(name)}` | {_default(name)} | {_cell(values_of(name))} | {_cell(help_of(name))} |"
            for name in group.names
        ]
        title = group.title[:1].upper() + group.title[1:]
        yield (
            "\n".join([f"{title}\n", "| setting | default | values | |", "| --- | --- | --- | --- |", *rows]) + "\n"
        )


def _flag(name: str) -> str:
    if name == "games":
        return "GAMES"
    flag = "--" + name.replace("_", "-")
    return flag if isinstance(getattr(Settings(), name), bool) else f"{flag} {metavar_of(name)}".replace("|", "\\|")


def _default(name: str) -> str:
    value = getattr(Settings(), name)
    return "" if value in (None, ()) else f"`{toml_value(msgspec.to_builtins(value))}`"


def _exit_codes() -> str:
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["| code | |", "| --- | --- |", *rows]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the pages."""
    found = entries()
    for path, text in ((PAGE, commands_page(found)), (MAN_PAGE, man_page(found))):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text.encode())
        click.echo(f"{path.relative_to(ROOT)}: written")


if __name__ == "__main__":
    main()

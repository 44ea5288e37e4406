"""The man page rookery(1), of the same entries as docs/commands.md.

Written as roff here rather than by a library: there is one page for all commands, with their settings told once,
where click-man has a page for each command, each with all forty settings again.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

import msgspec

from common.command_groups import ABOUT, START
from common.errors import EXIT_CODES
from common.settings import Settings, help_of, toml_value
from deploy.command_tree import Entry
from deploy.config_file import groups, values_of


def man_page(found: Sequence[Entry]) -> str:
    """Return rookery(1) as roff; `man -l FILE` shows it."""
    lines = [f'.TH ROOKERY 1 "" "Rookery {version("rookery")}" "Rookery"', ".SH NAME"]
    lines += [
        r"rookery \- breed chess agents from games",
        ".SH SYNOPSIS",
        ".B rookery",
        r".I COMMAND \fR[\fIARGUMENTS\fR] [\fIOPTIONS\fR]",
    ]
    lines += [".SH DESCRIPTION", _text(ABOUT), ".SH EXAMPLES"]
    for line, why in START:
        lines += [".TP", rf".B {_text(line)}", _text(why)]
    group = ""
    for entry in found[1:]:
        if entry.group != group:
            group = entry.group
            lines.append(f".SH {_text(group.upper())}")
        lines += _command(entry)
    lines += [
        ".SH SETTINGS",
        "Each is an option of the commands that take settings, a key of their file (with _ for \\-)",
    ]
    lines += ["and a variable of the environment (ROOKERY_NODES=200).", *_settings(), ".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _text(meaning)]
    return "\n".join(lines) + "\n"


def _command(entry: Entry) -> Iterator[str]:
    yield f".SS {_text(entry.usage)}"
    for paragraph in entry.paragraphs:
        yield from (".PP", ".nf", _text(paragraph.text), ".fi") if paragraph.is_verbatim else (
            ".PP", _text(" ".join(paragraph.text.split()))
        )  # fmt: skip
    for example in entry.examples:
        yield from (".PP", ".nf", f".RS\n{_text(example)}\n.RE", ".fi")
    for option in entry.options:
        yield from (".TP", rf".B {_text(option.spelling)}", _text(" ".join(option.help.split())))
    if entry.takes_settings:
        yield from (".PP", "It takes all of the settings below, and \\-\\-settings FILE.")


def _settings() -> Iterator[str]:
    for group in groups():
        yield f".SS {_text(group.title)}"
        for name in group.names:
            default = getattr(Settings(), name)
            shown = "not set" if default in (None, ()) else toml_value(msgspec.to_builtins(default))
            more = "; ".join(filter(None, [values_of(name), f"default {shown}"]))
            yield from (".TP", f".B {_text('--' + name.replace('_', '-'))}", _text(f"{help_of(name)} ({more})"))


def _text(text: str) -> str:
    """Return text that roff takes for nothing but text."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines())

"""The walk-through of docs/operations.md as steps: on which host, which command, and what it is to print."""

import re
from dataclasses import dataclass

from tests.deploy.runs import ROOT

TITLE = "## Two hosts, from empty machines to trained agents"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^(\w+)\$ (.*)$")


@dataclass(frozen=True, slots=True)
class Step:
    """A command as it is typed."""

    host: str
    command: str
    expected: tuple[str, ...]
    """Lines that it prints, in this order, others between them."""


def section() -> str:
    """Return the text of the walk-through."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    return text.split(TITLE + "\n")[1].split("\n## ")[0]


def settings_text() -> str:
    """Return the settings file of the walk-through."""
    (text,) = [match[2] for match in BLOCK.finditer(section()) if match[1] == "toml"]
    return text


def steps() -> list[Step]:
    """Return all steps, in order."""
    found: list[Step] = []
    for match in BLOCK.finditer(section()):
        for line in match[2].splitlines() if match[1] == "console" else ():
            if prompt := PROMPT.match(line):
                found.append(Step(prompt[1], prompt[2], ()))
            else:
                last = found.pop()
                found.append(Step(last.host, last.command, (*last.expected, line)))
    return found


def first_missing(expected: tuple[str, ...], output: str) -> str | None:
    """Return the first expected line that `output` has not, after those before it; None where it has all of them.

    Spaces may be wider, figures other ones; `…` stands for anything.
    """
    lines = iter(output.splitlines())
    for line in expected:
        pattern = pattern_of(line)
        if not any(pattern.fullmatch(one.strip()) for one in lines):
            return line
    return None


def pattern_of(line: str) -> re.Pattern[str]:
    """Return what a line that is to be printed may look like."""
    words = [re.escape(word) if word != "…" else ".*" for word in line.split()]
    return re.compile(r"\s+".join(words).replace(r"\s+.*", r"\s+.*"))

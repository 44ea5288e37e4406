"""The command reference is what the commands say, and the documentation shows only commands that there are."""

import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import click
import pytest

from common.errors import EXIT_CODES, INTERRUPTED
from common.settings import Settings
from deploy.command_tree import command_named, entries
from deploy.man_page import man_page
from deploy.reference import PAGE, ROOT, commands_page

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`(rookery(?:[ -][^`]*)?)`(?!`)")
TYPED = re.compile(r"^(?:\S*\$\s+|\s+)?(rookery(?:-\w+)?\s[^#\n]*)", re.MULTILINE)
PLACEHOLDERS = ("COMMAND",)


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == commands_page(entries()), "type: make reference"


def test_the_page_has_every_command_option_and_setting() -> None:
    page = commands_page(entries())
    for entry in entries()[1:]:
        assert f"\n## {entry.name}\n" in page
        assert all(f"`{option.spelling}`".replace("|", "\\|") in page for option in entry.options)
    for name in Settings.__struct_fields__:
        assert name in ("games", "agents") or f"| `--{name.replace('_', '-')}" in page


def shown() -> list[tuple[str, str]]:
    """The command lines of ours in the documentation, with where they stand; `a|b` stands for two of them."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [match for block in FENCED.findall(text) for match in TYPED.findall(block)]
        lines += INLINE.findall(FENCED.sub("", text).replace("\n", " "))
        found += [(str(page.relative_to(ROOT)), line.strip()) for line in lines]
    assert len(found) > 50
    return [(page, line) for page, joined in found for line in alternatives(joined)]


def alternatives(line: str) -> list[str]:
    words = line.split()
    if len(words) > 1 and "|" in words[1] and not words[1].startswith(("[", "-")):
        return [" ".join([words[0], one, *words[2:]]) for one in words[1].split("|")]
    return [line]


def test_each_command_line_in_the_documentation_names_a_command_and_options_that_there_are() -> None:
    for page, line in shown():
        words = [word for word in line.partition(" | ")[0].split() if word not in PLACEHOLDERS]
        found = command_named(words)
        assert found is not None, f"{page}: `{line}`: there is no such command"
        entry, arguments = found
        if isinstance(entry.command, click.Group):
            assert not [word for word in arguments if re.match(r"[a-z]", word)], (
                f"{page}: `{line}`: no such command"
            )
        known = {
            name for parameter in entry.command.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        given = {re.split(r"[=|\]]", word)[0].strip("[") for word in arguments if word.lstrip("[").startswith("--")}
        assert given <= known | {"--help", "--version"}, f"{page}: `{line}`: {given - known}"


def test_the_exit_codes_in_the_handbook_are_those_of_the_errors() -> None:
    handbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = handbook.partition("## Exit codes")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(EXIT_CODES)


@pytest.mark.parametrize(
    "module", ["arena.evaluate_command", "arena.match_command", "deploy.annotate", "deploy.up"]
)
def test_each_command_that_ctrl_c_ends_has_the_documented_code(module: str) -> None:
    assert import_module(module).INTERRUPTED == INTERRUPTED


def test_the_man_page_has_no_mistakes(tmp_path: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    file = tmp_path / "rookery.1"
    file.write_text(man_page(entries()), encoding="utf-8")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-k", str(file)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    text = re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout)  # bold letters are struck twice
    assert "rookery up [OPTIONS] [GAMES]..." in text
    assert "rookery export runs/first --agent white --to white.parquet" in text

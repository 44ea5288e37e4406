"""The documentation holds: its commands parse, its settings resolve, its links lead somewhere, its examples run."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import click
import msgspec
import pytest

from common.settings import Settings, read_file

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)\)")
PROMPT = re.compile(r"^\S*\$\s+(.*)$")
SHELL = re.compile(r"\s+(?:2?>|&|\|)|;")
"""What ends a command and is the shell's: redirections, pipes, the background."""


def blocks(kind: str) -> list[tuple[str, str]]:
    found = [
        (f"{page.relative_to(ROOT)}:{number}", match[2])
        for page in PAGES
        for number, match in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")))
        if match[1] == kind
    ]
    assert found, f"no {kind} block in the documentation"
    return found


def commands() -> list[tuple[str, list[str]]]:
    lines = [(place, line) for place, text in blocks("console") for line in text.splitlines()]
    typed = [(place, match[1]) for place, line in lines if (match := PROMPT.match(line))]
    return [(place, shlex.split(SHELL.split(line)[0], comments=True)) for place, line in typed]


def ours() -> list[tuple[str, list[str]]]:
    return [(place, words) for place, words in commands() if words[0].startswith("rookery")]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the click command that a line names, and its arguments."""
    group, name = ("console_scripts", words[0]) if words[0] != "rookery" else ("rookery.commands", words[1])
    (point,) = [point for point in entry_points(group=group) if point.name == name]
    if group == "rookery.commands":
        return point.load(), words[2:]
    module = sys.modules[point.module] if point.module in sys.modules else __import__(point.module, fromlist=["_"])
    (command,) = [
        value for value in vars(module).values() if isinstance(value, click.Command) and value.name == words[0][8:]
    ]
    return command, words[1:]


@pytest.mark.parametrize(("place", "words"), ours(), ids=lambda value: value if isinstance(value, str) else None)
def test_each_command_in_the_documentation_parses(place: str, words: list[str]) -> None:
    command, arguments = command_of(words)
    if isinstance(command, click.Group):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    with command.make_context(words[0], list(arguments)) as context:
        assert context.params


def test_make_targets_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        word
        for page in PAGES
        for run in re.findall(r"`make ([a-z ]+)", page.read_text(encoding="utf-8"))
        for word in run.split()
    }
    assert named
    assert named <= targets


@pytest.mark.parametrize(("place", "text"), blocks("toml"))
def test_each_settings_example_resolves(place: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "rookery.toml"
    file.write_text(text, encoding="utf-8")
    settings = read_file(file)
    assert set(tomllib.loads(text)) <= {field.name for field in msgspec.structs.fields(type(settings))}


def test_the_defaults_in_the_readme_are_the_defaults() -> None:
    rows = re.findall(
        r"^\| `--([a-z-]+)` \| (\S+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 5
    for flag, shown in rows:
        default = getattr(Settings(), flag.replace("-", "_"))
        assert shown == (f"{default:g}" if isinstance(default, float) else str(default)), flag


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


@pytest.mark.slow
def test_the_first_commands_of_the_readme_run(tmp_path: Path, stockfish: str, base_port: int) -> None:
    def rookery(*words: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("rookery")), *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    games = str(ROOT / "samples" / "games.pgn.zst")
    run = ("--run", "runs/games", "--engine", stockfish, "--base-port", str(base_port))
    out = rookery("up", games, *run, "--limit-games", "16", "--nodes", "20", "--samples-per-transition", "1")
    assert "16 games in 1 unit: every game learned from exactly once" in out
    promised = re.findall(r"^\| `([^`]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    promised = [name for name in promised if "." in name or name.endswith("/")]
    for name in [name for name in promised if not name.startswith(("common/", "broker/", "actor/", "learner/"))]:
        if name not in ("broker/", "actor/", "learner/", "deploy/"):
            assert (tmp_path / "runs/games" / name.replace("NAME", "white")).exists(), name
    rookery("export", "runs/games", "--agent", "white", "--to", "white.csv")
    assert (tmp_path / "white.csv").read_text().startswith("game,ply,fen,move,reward")

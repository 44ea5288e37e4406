"""`python -m tests.torture [PART...] [--seed N] [--short]`: torture a real fleet, and print what it came to.

Each part is a module of this package with `run(setting) -> list[Outcome]`. What can't run here is skipped with
its reason (a part raises unittest.SkipTest, or calls pytest.skip). The table goes to build/torture.json and, as
the table of docs/operations.md, to build/torture.md. The exit code is 1 if any part failed.
"""

import argparse
import importlib
import json
import logging
import os
import platform
import secrets
import shutil
import sys
import time
import traceback
import unittest
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from common.quantities import duration
from tests.conftest import free_base_port
from tests.torture.outcome import Outcome, Setting
from tests.torture.table import COLUMNS, as_json, as_markdown, cells

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("kills", "zombies", "disks", "networks", "nats", "slow", "fleet", "frames", "strangers", "model")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line asks for."""

    parts: tuple[str, ...]
    seed: int
    short: bool
    to: Path

    @property
    def command(self) -> str:
        """The command that does the same again."""
        words = ["python -m tests.torture", *(self.parts if self.parts != PARTS else ()), f"--seed {self.seed}"]
        return " ".join([*words, *(["--short"] if self.short else [])])


def main() -> None:
    """Run the parts; print the table and write it."""
    choice = _parse()
    logging.getLogger().addHandler(logging.NullHandler())  # services log; this command talks
    console = Console(width=max(150, Console().width), highlight=False)
    console.print(f"{choice.command}: {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    outcomes: list[Outcome] = []
    skipped: dict[str, str] = {}
    begun_s = time.monotonic()
    for part in choice.parts:
        try:
            outcomes += run_part(part, choice, console)
        except (unittest.SkipTest, pytest.skip.Exception) as error:
            skipped[part] = str(error)
            console.print(f"{part}: skipped: {error}", soft_wrap=True)
        _write(choice, outcomes, skipped)
    console.print(_shown(outcomes, skipped))
    for outcome in outcomes:
        for failure in outcome.failures:
            console.print(f"{outcome.part}: {failure}", style="red", soft_wrap=True)
    failed = [outcome.part for outcome in outcomes if not outcome.passed]
    console.print(
        f"{duration(time.monotonic() - begun_s)}; {choice.to}/torture.json and torture.md; "
        + (f"FAILED: {'; '.join(failed)}" if failed else "everything that ran has held"),
        soft_wrap=True,
    )
    sys.exit(1 if failed else 0)


def run_part(part: str, choice: Choice, console: Console) -> list[Outcome]:
    """Run one part in an empty folder of its own, which stays where something failed."""
    module = f"{__package__}.{part}"
    if find_spec(module) is None:
        raise unittest.SkipTest("there is no such module yet")
    folder = choice.to / "torture" / part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begun_s = time.monotonic()

    def say(line: str) -> None:
        console.print(f"{part} {duration(time.monotonic() - begun_s)}: {line}", soft_wrap=True, markup=False)

    setting = Setting(
        seed=choice.seed, short=choice.short, folder=folder, base_port=free_base_port(), say=say
    )  # fmt: skip
    try:
        outcomes: list[Outcome] = importlib.import_module(module).run(setting)
    except unittest.SkipTest:
        raise
    except Exception as error:
        console.print(traceback.format_exc(), markup=False)
        why = f"broke off: {type(error).__name__}: {error}"
        outcomes = [Outcome(part=part, tries=0, unit="", faults=0, failures=[why])]
    for outcome in outcomes:
        say(f"{outcome.part}: {'passed' if outcome.passed else 'FAILED'}")
    if all(outcome.passed for outcome in outcomes):
        shutil.rmtree(folder, ignore_errors=True)
    return outcomes


def _parse() -> Choice:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to run: {', '.join(PARTS)} [all]")
    parser.add_argument("--seed", type=int, help="seed of every random choice [drawn, and printed]")
    parser.add_argument("--short", action="store_true", help="small sizes, as in `make test`")
    parser.add_argument("--to", type=Path, default=ROOT / "build", help="where tables and work go")
    given = parser.parse_args()
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parts = tuple(part for part in PARTS if part in given.parts) or PARTS
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    return Choice(parts, seed, given.short, given.to)


def _write(choice: Choice, outcomes: list[Outcome], skipped: dict[str, str]) -> None:
    choice.to.mkdir(parents=True, exist_ok=True)
    content = {
        "command": choice.command,
        "seed": choice.seed,
        "short": choice.short,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "outcomes": [as_json(outcome) for outcome in outcomes],
        "skipped": skipped,
    }
    (choice.to / "torture.json").write_text(json.dumps(content, indent=1) + "\n")
    (choice.to / "torture.md").write_text(as_markdown(outcomes, skipped))


def _shown(outcomes: list[Outcome], skipped: dict[str, str]) -> Table:
    table = Table(*COLUMNS)
    for column in table.columns[1:-2]:
        column.justify = "right"
    for outcome in outcomes:
        *row, verdict = cells(outcome)
        table.add_row(*row, verdict if outcome.passed else f"[red]{verdict}[/red]")
    for part, reason in skipped.items():
        table.add_row(part, *["-"] * (len(COLUMNS) - 3), reason, "[yellow]skipped[/yellow]")
    return table


if __name__ == "__main__":
    main()

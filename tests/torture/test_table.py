"""The table, and the command that prints it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.deploy.runs import ROOT
from tests.torture.outcome import Outcome
from tests.torture.table import COLUMNS, as_json, as_markdown, cells

PASSED = Outcome(
    part="kills", tries=3000, unit="games", faults=100, expected=20, stored=20, lost=0, doubled=0,
    weights_identical=True, memory_max_bytes=412_000_000, recovery_s=[1.0, 2.0, 9.0], figures={"killed": 7},
)  # fmt: skip


def test_a_row_has_every_figure_and_a_dash_where_there_is_none() -> None:
    assert cells(PASSED) == [
        "kills", "3,000 games", "100", "20", "20", "0", "0", "identical", "412 MB", "2.0 s", "9.0 s", "killed 7",
        "passed",
    ]  # fmt: skip
    assert cells(Outcome(part="frames", tries=0, unit="", faults=0)) == [
        "frames", "0", "0", "-", "-", "-", "-", "-", "-", "-", "-", "-", "passed",
    ]  # fmt: skip


def test_what_is_lost_doubled_different_or_said_to_fail_has_failed() -> None:
    for flaw in ({"lost": 1}, {"doubled": 1}, {"weights_identical": False}, {"failures": ["oh"]}):
        outcome = Outcome(part="kills", tries=1, unit="run", faults=1, **flaw)
        assert cells(outcome)[-1] == "FAILED"
        assert as_json(outcome)["passed"] is False


def test_markdown_has_a_line_for_each_part_and_for_each_that_was_skipped() -> None:
    lines = as_markdown([PASSED], {"networks": "only root can | may"}).splitlines()
    assert [line.count(" | ") for line in lines[:3]] == [len(COLUMNS) - 1] * 3
    assert lines[2].startswith("| kills | 3,000 games | 100 |")
    assert lines[3].endswith("| only root can \\| may | skipped |")


def test_an_unknown_part_is_refused_by_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.torture", "kilss", "--to", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "no part is called kilss; there are kills, zombies" in ended.stderr


def test_a_part_that_breaks_off_or_cannot_run_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    code = f"""
import sys, types, unittest
import tests.torture.__main__ as command
from tests.torture.outcome import Outcome
good, bad, away = (types.ModuleType(name) for name in ("good", "bad", "away"))
good.run = lambda setting: [Outcome(part="good", tries=setting.seed, unit="run", faults=0)]
def breaks(setting): raise RuntimeError("oh")
def skips(setting): raise unittest.SkipTest("no root")
bad.run, away.run = breaks, skips
modules = {{f"tests.torture.{{module.__name__}}": module for module in (good, bad, away)}}
sys.modules.update(modules)
command.find_spec = modules.get
command.PARTS = ("bad", "away", "missing", "good")
sys.argv = ["torture", "--seed", "5", "--to", {str(tmp_path)!r}]
command.main()
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    written = json.loads((tmp_path / "torture.json").read_text())
    assert [(row["part"], row["passed"], row["tries"]) for row in written["outcomes"]] == [
        ("bad", False, 0), ("good", True, 5),
    ]  # fmt: skip
    assert written["skipped"] == {"away": "no root", "missing": "there is no such module yet"}
    assert written["outcomes"][0]["failures"] == ["broke off: RuntimeError: oh"]
    assert written["command"] == "python -m tests.torture --seed 5"

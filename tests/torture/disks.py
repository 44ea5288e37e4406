"""Disks: files cut off or flipped, disks that are full or read-only, power cuts that drop what is not synced."""

from dataclasses import replace
from unittest import SkipTest

from tests.torture import disks_damage, disks_full, disks_power, disks_runs
from tests.torture.outcome import Outcome, Setting


def run(setting: Setting) -> list[Outcome]:
    """Run all of it; what can't run here (no root, no C compiler) is said and left out."""
    outcomes: list[Outcome] = []
    for part in (disks_damage, disks_power, disks_runs, disks_full):
        folder = setting.folder / part.__name__.rpartition(".")[2]
        folder.mkdir()
        try:
            outcomes += part.run(replace(setting, folder=folder))
        except SkipTest as error:
            setting.say(f"left out: {error}")
    return outcomes

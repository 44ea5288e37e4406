"""NATS: a cluster of three servers that are killed, hang, have slow disks, and are cut off from each other."""

from dataclasses import replace
from unittest import SkipTest

from tests.torture import nats_partition, nats_strikes
from tests.torture.outcome import Outcome, Setting


def run(setting: Setting) -> list[Outcome]:
    """Run all of it; what can't run here (no nats-server, no root) is said and left out."""
    outcomes: list[Outcome] = []
    for part in (nats_strikes, nats_partition):
        folder = setting.folder / part.__name__.rpartition("_")[2]
        folder.mkdir()
        try:
            outcomes += part.run(replace(setting, folder=folder))
        except SkipTest as error:
            setting.say(f"left out: {error}")
    return outcomes

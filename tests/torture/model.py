"""Thousands of whole runs in an unkind world, each in memory and with a clock of its own; see tests/model."""

import unittest
from collections import Counter

from tests.model.processes import AGENTS
from tests.model.unkind import FAULTS, LongRun, long_run
from tests.torture.outcome import Outcome, Setting

RUNS = 300
STEPS = 300
TOLD_EVERY = 30


def run(setting: Setting) -> list[Outcome]:
    """Make the runs; those that break a promise are named by their seeds."""
    if setting.short:
        raise unittest.SkipTest("a short version of the model check is a test itself: tests/model")
    happened: Counter[str] = Counter()
    stored = sent = 0
    failures: list[str] = []
    for number in range(RUNS):
        seed = setting.seed * 1_000_000 + number
        try:
            ended = long_run(seed, STEPS)
        except Exception as error:
            failures.append(f"long_run({seed}, {STEPS}): {type(error).__name__}: {error}"[:300])
            continue
        happened += ended.happened
        stored += ended.stored
        sent += ended.sent
        if (number + 1) % TOLD_EVERY == 0:
            setting.say(f"{number + 1} of {RUNS} runs, {happened.total()} steps, {len(failures)} failed")
    expected = (RUNS - len(failures)) * LongRun.units * len(AGENTS)
    return [
        Outcome(
            part="model", tries=RUNS, unit="runs", faults=sum(happened[fault] for fault in FAULTS),
            expected=expected, stored=stored, lost=expected - stored, failures=failures,
            figures={"steps": happened.total(), "messages": sent},
        )
    ]  # fmt: skip

"""Wall time of `rookery up` from a PGN file to two trained agents, against the plain script (benchmarks/plain.py).

Two actors, 100 nodes, the same games, network, batch size and number of gradient steps. Both clocked as a
person would, from typing the command to its end, starting Python included. How much of `up` is starting and
stopping its services is measured with one game in place of all.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.figure import Figure, interleaved
from benchmarks.real_games import NODES, SAMPLE, games_file
from benchmarks.scale import ROOT, Scale
from benchmarks.services import free_base_port
from deploy.report import read_report

ACTORS = 2
GAMES = 1000
SAMPLE_GAMES = 300
FASTER = 3.0
STEPS_APART = 0.02
"""Share by which the two may differ in gradient steps, from games that only one of them takes."""


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure the pipeline and the plain script in turns."""
    count = min(scale.of(GAMES, 20), SAMPLE_GAMES if games_file() == SAMPLE else GAMES)
    steps: dict[str, int] = {}

    def up() -> float:
        seconds, steps["up"] = timed_up(scale, count)
        return seconds

    def plain() -> float:
        seconds, steps["plain"] = timed_plain(scale, count)
        return seconds

    rounds = scale.of(3, 1)
    taken = interleaved(rounds, {"up": up, "plain": plain})
    if abs(steps["up"] - steps["plain"]) > STEPS_APART * steps["plain"]:
        raise RuntimeError(f"the gradient steps differ: {steps}")
    fixed = median(timed_up(scale, 1)[0] for _ in range(rounds))
    mine, theirs = median(taken["up"]), median(taken["plain"])
    yield Figure(
        name=f"wall time from PGN to trained agents, {count} games",
        value=mine,
        unit="s",
        reference=theirs,
        against="the plain script",
        ratio=theirs / mine,
        at_least=FASTER,
        note=f"{ACTORS} actors, {NODES} nodes, {steps['up']} gradient steps (plain {steps['plain']}); "
        f"rounds {', '.join(f'{other / own:.2f}' for own, other in zip(*taken.values(), strict=True))}",
    )
    yield Figure(
        name="of that, start and stop of the services",
        value=fixed,
        unit="s",
        reference=mine,
        against="all of it",
        ratio=fixed / mine,
        note="the same command on one game",
    )


def timed_up(scale: Scale, games: int, *flags: str) -> tuple[float, int]:
    """Return the seconds of `rookery up` on so many games, and the gradient steps of all agents."""
    with TemporaryDirectory(dir=scale.work) as directory:
        run = Path(directory, "run")
        seconds, _ = timed(
            [
                str(Path(sys.executable).with_name("rookery")), "up", str(games_file()), "--run", str(run),
                "--limit-games", str(games), "--nodes", str(NODES), "--actors", str(ACTORS),
                "--engine", scale.engine, "--device", "cpu", "--base-port", str(free_base_port()),
                *flags,
            ]
        )  # fmt: skip
        report = read_report(run / "report.json")
        if report is None or not report.finished:
            raise RuntimeError("the run did not finish")
        return seconds, sum(agent.step for agent in report.agents)


def timed_plain(scale: Scale, games: int) -> tuple[float, int]:
    """Return the seconds of the plain script on so many games, and its gradient steps."""
    seconds, output = timed(
        [
            sys.executable, "-m", "benchmarks.plain", str(games_file()), "--limit-games", str(games),
            "--nodes", str(NODES), "--engine", scale.engine,
        ]
    )  # fmt: skip
    found = re.search(r"(\d+) steps", output)
    if found is None:
        raise RuntimeError(f"the plain script said {output!r}")
    return seconds, int(found[1])


def timed(command: list[str]) -> tuple[float, str]:
    """Run a command; return its wall time and its output."""
    begun_s = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    seconds = time.perf_counter() - begun_s
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return seconds, done.stdout

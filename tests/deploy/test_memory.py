"""A learner that stands still holds the others up, and costs no memory: the window is what bounds it."""

from pathlib import Path

import psutil
import pytest

from common.messages import Status
from tests.deploy.reference import FLAGS, UNITS, Reference
from tests.deploy.runs import Run, report_of, stopped, weights_of

pytestmark = pytest.mark.slow

AHEAD = 3
"""The window: units that may be leased ahead of the slowest learner."""

STANDSTILL_S = 3.0

GROWTH_MAX_BYTES = 8 * 2**20
"""What a process may grow by during the standstill; measured: under 1 MiB."""

SIZE_MAX_BYTES = {"learner": 768 * 2**20, "stockfish": 256 * 2**20, "": 128 * 2**20}
"""What a process may come to at all, by a word on its command line; measured: 362, 132, and 63 MiB for the rest."""


def sizes_of(run: Run) -> dict[psutil.Process, int]:
    return {process: process.memory_info().rss for process in run.processes()}


def kind_of(process: psutil.Process) -> str:
    words = [word.rpartition("/")[2] for word in process.cmdline()]
    return next((kind for kind in SIZE_MAX_BYTES if kind in words), "")


def trained(status: Status, agent: str) -> int:
    return next(found.units_trained for found in status.agents if found.name == agent)


def test_a_stopped_learner_holds_the_window_and_the_run_completes_when_it_goes_on(
    tmp_path: Path, reference: Reference, base_port: int
) -> None:
    # No checkpoint in the standstill: writing one takes memory, too.
    flags = (*FLAGS, "--max-units-ahead", str(AHEAD), "--actors", "2", "--checkpoint-every", "1000")
    with Run(tmp_path, *flags, games=reference.games, base_port=base_port) as run:
        run.wait_for(lambda status: 0 < trained(status, "white") < UNITS - AHEAD, "some units trained")
        with stopped(run.service("learner", "white")):
            still = run.wait_for(
                lambda status: (
                    status.bottleneck.startswith("learner-bound: white")
                    and trained(status, "black") == trained(status, "white") + AHEAD
                    and not any(agent.leased for agent in status.agents)
                ),
                "all of the window stored, and trained by the other learner",
            )
            before = sizes_of(run)
            end = run.wait_for(lambda status: status.uptime_s > still.uptime_s + STANDSTILL_S, "standstill")
            after = sizes_of(run)
            window_end = trained(end, "white") + AHEAD
            assert window_end < UNITS
            for agent in end.agents:
                assert agent.leased == 0
                assert agent.units_stored <= window_end
                assert agent.closed
            assert trained(end, "black") == window_end
            for process, size in after.items():
                assert size - before[process] < GROWTH_MAX_BYTES, process
                assert size < SIZE_MAX_BYTES[kind_of(process)], process
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    report = report_of(tmp_path)
    assert report.finished
    assert report.closed
    assert report.restarts == 0
    assert weights_of(tmp_path) == reference.weights

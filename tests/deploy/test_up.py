"""How `rookery up` ends, and what it tells while it runs."""

import signal
from pathlib import Path

import psutil
import pytest

from common.messages import Status
from learner.checkpoints import CheckpointDirectory
from learner.directory import AgentDirectory
from tests.deploy.reference import FLAGS, SMALL_WINDOW, UNITS, Reference, half_way
from tests.deploy.runs import Run, Started, is_gone, report_of, wait_until, weights_of

pytestmark = pytest.mark.slow

SLOW = ("--nodes", "200000", "--games-per-unit", "4", "--limit-games", "40")
"""Units that take minutes, so that draining does, too."""


def at_work(run: Run) -> list[psutil.Process]:
    """Wait until every service is there and the engines are working; return all processes."""
    services = {"broker", "logs", "learner-white", "learner-black", "actor-0", "actor-1"}

    def all_there(status: Status) -> bool:
        names = {service.name for service in status.services} | {"broker"}
        return names == services and all(agent.leased for agent in status.agents)

    run.wait_for(all_there, "every service has said hello, and the actors have work")
    processes = run.processes()
    assert len(processes) == 1 + len(services) + 2  # `up`, the services, two engines
    return processes


def test_a_second_interrupt_aborts_at_once_and_leaves_no_process(
    tmp_path: Path, base_port: int, stockfish: str
) -> None:
    with Run(tmp_path, *SLOW, base_port=base_port) as run:
        processes = at_work(run)
        run.process.send_signal(signal.SIGINT)
        run.wait_for_line("stopping: finishing what is begun and saving; once more to abort")
        assert not any(is_gone(process) for process in processes)
        run.process.send_signal(signal.SIGINT)
        ended = run.end(timeout_s=20.0)
        wait_until(lambda: all(is_gone(process) for process in processes), "no process is left", timeout_s=5.0)
    assert (ended.code, ended.err) == (130, "")
    assert "aborted; the same command goes on from the last checkpoints" in ended.out


def test_sigterm_drains_saves_and_exits_0(tmp_path: Path, reference: Reference, base_port: int) -> None:
    with Run(tmp_path, *FLAGS, *SMALL_WINDOW, games=reference.games, base_port=base_port) as run:
        with half_way(run):
            run.process.terminate()
        ended = run.end()
        assert run.processes() == []
    assert (ended.code, ended.err) == (0, "")
    report = report_of(tmp_path)
    assert not report.finished
    assert report.closed
    assert all(0 < agent.units_trained < UNITS for agent in report.agents)


def test_services_drain_and_save_when_up_is_killed(tmp_path: Path, reference: Reference, base_port: int) -> None:
    flags = (*FLAGS, *SMALL_WINDOW, "--checkpoint-every", "1000")
    with Run(tmp_path, *flags, games=reference.games, base_port=base_port) as run:
        with half_way(run):
            processes = run.processes()
            run.process.kill()
        wait_until(lambda: all(is_gone(process) for process in processes), "no process is left", timeout_s=30.0)
    for name in ("white", "black"):
        # Nothing but the end asks for a checkpoint here.
        assert CheckpointDirectory(AgentDirectory.of(tmp_path, name).checkpoints, keep=3).load_newest() is not None


def test_a_run_whose_actors_are_all_drained_ends_and_a_learner_that_ends_is_started_again(
    tmp_path: Path, reference: Reference, base_port: int
) -> None:
    with Run(tmp_path, *FLAGS, *SMALL_WINDOW, games=reference.games, base_port=base_port) as run:
        with half_way(run):
            run.service("learner", "white").terminate()
            run.wait_for_line("learner-white was started again after exit code 0")
            with Started(["rookery", "drain", "--base-port", str(base_port)]) as command:
                assert command.end().code == 0
            run.wait_for_line("every actor was drained, so nothing more comes: stopping")
        ended = run.end()
    assert (ended.code, ended.err) == (130, "")
    assert report_of(tmp_path).closed


def test_a_run_with_keys_off_loopback_makes_those_of_its_own_processes_and_learns_the_same(
    tmp_path: Path, reference: Reference, base_port: int
) -> None:
    keys = tmp_path / "keys"
    with Started(("rookery", "keys", "init", "--keys", str(keys))) as command:
        assert command.end().code == 0
    flags = (*FLAGS, "--keys", str(keys), "--bind", "0.0.0.0")
    with Run(tmp_path / "run", *flags, games=reference.games, base_port=base_port) as run:
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    assert "keys made in" in ended.out
    assert weights_of(tmp_path / "run") == reference.weights
    assert (keys / "allow" / "actors" / "actor-1.key").exists()

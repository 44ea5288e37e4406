"""Starts are written down, with what they cost, also those that are killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.messages import ActorReport, LearnerReport, Role, ServiceStatus, Status, StoreTotals
from deploy.machine import commit, this_machine
from deploy.starts import Cost, Reported, cost_of, read_starts, recorded
from deploy.supervisor import Child


def test_a_start_that_is_killed_is_known_by_its_missing_end(tmp_path: Path) -> None:
    path = tmp_path / "starts.jsonl"
    with recorded(path) as recorder:
        (begun,) = read_starts(path)
        assert (begun.ended, begun.cost) == (None, None)
        recorder.outcome = "stopped"
        recorder.spent(7, {"actor": 2.0})
    with pytest.raises(RuntimeError), recorded(path):
        raise RuntimeError
    path.write_bytes(path.read_bytes() + b'{"started": "20')
    first, second = read_starts(path)
    assert (first.outcome, second.outcome) == ("stopped", "failed")
    assert first.ended is not None
    assert cost_of([first, second]) == Cost(engine_nodes=7, cpu_s={"actor": 2.0})
    assert cost_of([begun]) is None


def test_a_child_knows_what_it_and_its_own_children_took() -> None:
    burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    children = [Child([sys.executable, "-c", code]) for code in (nested, "pass")]
    assert [child.wait(60) for child in children] == [0, 0]
    assert children[0].cpu_s > 0.2
    assert children[0].cpu_s > children[1].cpu_s > 0
    took = children[0].cpu_s
    assert children[0].poll() == 0
    assert children[0].cpu_s == took


def status(*services: ServiceStatus) -> Status:
    return Status(
        broker="b", software="0", uptime_s=1.0, units_total=None, games_total=None, games_cut=0, fraction_read=0.0,
        services=list(services), agents=[], bottleneck="", dropped={}, broker_share=0.0, memory_bytes=0,
        finished=False,
    )  # fmt: skip


def actor(name: str, pid: int, nodes: int, cpu_s: float) -> ServiceStatus:
    report = ActorReport(engine_nodes=nodes, cpu_s=cpu_s)
    return ServiceStatus(
        name=name, role=Role.ACTOR, host="north", pid=pid, state="working", seen_s=0.0, progress_s=0.0, actor=report
    )


def learner(name: str, cpu_s: float) -> ServiceStatus:
    report = LearnerReport(
        agent="white",
        session="s",
        totals=StoreTotals(),
        trained_units=0,
        transitions_trained=0,
        step=0,
        version=0,
        cpu_s=cpu_s,
    )
    return ServiceStatus(
        name=name,
        role=Role.LEARNER,
        host="south",
        pid=1,
        state="working",
        seen_s=0.0,
        progress_s=0.0,
        learner=report,
    )


def test_services_that_have_gone_are_still_counted_and_ours_only_by_the_system() -> None:
    reported = Reported()
    reported.note(status(actor("actor-0", 1, 100, 5.0), actor("far", 7, 10, 2.0), learner("learner-white", 3.0)))
    reported.note(status(actor("actor-0", 2, 50, 1.0), actor("far", 7, 30, 4.0), learner("learner-white", 5.5)))
    reported.note(status())
    assert reported.engine_nodes(ours={"actor-0"}) == 100 + 50 + (30 - 10)
    assert reported.cpu_s(ours={"actor-0"}) == {"actor": 2.0, "learner": 2.5}


def test_an_actor_elsewhere_that_outlives_a_start_is_counted_once() -> None:
    first, second = Reported(), Reported()
    for reported, nodes in ((first, (0, 40, 90)), (second, (90, 100))):
        for count in nodes:
            reported.note(status(actor("far", 7, count, count / 10)))
    assert first.engine_nodes(ours=()) + second.engine_nodes(ours=()) == 100
    assert first.cpu_s(ours=())["actor"] + second.cpu_s(ours=())["actor"] == pytest.approx(10.0)


def test_the_commit_of_a_checkout_is_told_and_whether_it_was_changed(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("1")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True, env=environment, capture_output=True)
    found = commit(tmp_path)
    assert found is not None
    assert len(found) == 40
    (tmp_path / "file").write_text("2")
    assert commit(tmp_path) == f"{found}-dirty"


def test_the_machine_has_a_name_cores_and_memory() -> None:
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.memory_bytes > 2**20

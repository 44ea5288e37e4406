"""A small run under a few faults, and the plan of faults."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from common.security import OWN_SERVER, ZMQ
from tests.deploy.runs import ROOT
from tests.torture.failing import POINTS, token
from tests.torture.faults import LAST_AT, Kind, plan
from tests.torture.kills import SHORT, run
from tests.torture.outcome import Setting

AGENTS = ("white", "black")
OTHERS = ("actor-0", "actor-1", "broker", "broker", "logs", "nats", "nats")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transport", "part"),
    [(ZMQ, "kills"), pytest.param(OWN_SERVER, "kills: on NATS", marks=pytest.mark.long)],
)
def test_a_run_under_kills_and_freezes_ends_as_if_undisturbed(
    tmp_path: Path, base_port: int, stockfish: str, transport: str, part: str
) -> None:
    setting = Setting(seed=5, short=True, folder=tmp_path, base_port=base_port, say=print)
    (outcome,) = run(setting, [transport])
    assert outcome.part == part
    assert outcome.failures == []
    assert outcome.passed
    assert (outcome.faults, outcome.stored, outcome.weights_identical) == (SHORT.faults, outcome.expected, True)
    assert len(outcome.recovery_s) >= SHORT.faults - 1  # nothing may be left after the last one
    assert ("recovery of nats, s" in outcome.figures) == (transport == OWN_SERVER)


def test_a_learner_dies_before_it_publishes_where_that_point_is_armed(tmp_path: Path) -> None:
    armed = token(tmp_path, "white", "weights written, not published")
    armed.touch()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from common import process\n"
        "from common.keys import KeyHolder\n"
        "from common.roles import Role\n"
        "from common.settings import Settings\n"
        "from tests.torture.failing import Failing\n"
        "Failing(Path(sys.argv[1]), 'white').install()\n"
        "way = process.reach(Settings(), KeyHolder(Role.LEARNER, 'white'))\n"
        "link = way.learner('white', '5e55', lambda: None)\n"
        "link.credit(1)\n"
        "print('there', flush=True)\n"
        "link.publish(None, b'')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"there\n"), ended.stderr
    assert not armed.exists()


def test_a_plan_follows_from_its_seed() -> None:
    assert plan(3, 100, AGENTS, OTHERS, 3.0) == plan(3, 100, AGENTS, OTHERS, 3.0)
    assert plan(3, 100, AGENTS, OTHERS, 3.0) != plan(4, 100, AGENTS, OTHERS, 3.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_of_a_hundred_has_everything_in_it(seed: int) -> None:
    faults = plan(seed, 100, AGENTS, OTHERS, 3.0)
    assert len(faults) == 100
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert 0 <= faults[0].at < faults[-1].at < LAST_AT
    at_points = Counter((fault.service, fault.point) for fault in faults if fault.kind is Kind.POINT)
    assert set(at_points) == {(f"learner-{agent}", point) for agent in AGENTS for point in POINTS}
    assert min(at_points.values()) >= 2
    struck = {(fault.kind, fault.service.partition("-")[0]) for fault in faults if fault.kind is not Kind.POINT}
    roles = ("actor", "broker", "learner", "logs", "nats")
    assert struck == {(kind, role) for kind in (Kind.KILL, Kind.FREEZE) for role in roles}
    frozen_s = [fault.frozen_s for fault in faults if fault.kind is Kind.FREEZE]
    assert any(length_s < 3.0 for length_s in frozen_s)
    assert any(length_s > 3.0 for length_s in frozen_s)

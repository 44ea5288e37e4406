"""The supervisor, with tiny real processes and a clock that stands still until it is told."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from common.errors import OperatorError, TrainingError
from deploy.supervisor import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    QUICK_DEATH_S,
    QUICK_DEATHS_MAX,
    ServiceGaveUp,
    Supervised,
    Supervisor,
)
from tests.deploy.runs import ROOT, is_gone, wait_until

STAYS = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('up', flush=True)\n"
STAYS += "while True: signal.pause()"
DIES = "import sys; print('oh', file=sys.stderr); print('rookery-thing: what went wrong', file=sys.stderr); "

Program = Callable[[str], str]


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supervisor(clock: Clock) -> Iterator[Supervisor]:
    supervisor = Supervisor(clock, jitter=lambda: 1.0)
    yield supervisor
    supervisor.kill()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Return the name of a module with the given code that services can be started from."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(code: str) -> str:
        name = f"program_{len(list(tmp_path.glob('program_*.py')))}"
        (tmp_path / f"{name}.py").write_text(code)
        return name

    return write


def service(tmp_path: Path, module: str, name: str = "thing", **fields: bool) -> Supervised:
    return Supervised(name=name, module=module, arguments=(), stderr=tmp_path / f"{name}.stderr", **fields)


def wait_for_end(service: Supervised) -> None:
    assert service.process is not None
    service.process.wait(timeout=30)


def wait_for_word(service: Supervised) -> None:
    wait_until(lambda: service.stderr.exists() and "up" in service.stderr.read_text(), "first word")


def test_pauses_double_with_each_quick_death_up_to_a_longest(
    tmp_path: Path, clock: Clock, program: Program
) -> None:
    supervisor = Supervisor(clock, jitter=lambda: 1.0, quick_deaths_max=9)
    thing = service(tmp_path, program(DIES + "sys.exit(1)"))
    supervisor.add(thing)
    pauses_s = []
    for restarts in range(8):
        wait_for_end(thing)
        assert supervisor.check() == []
        pauses_s.append(thing.start_at_s - clock.now_s)
        clock.now_s = thing.start_at_s - 0.001
        assert supervisor.check() == []
        assert thing.process is None
        clock.now_s = thing.start_at_s
        assert supervisor.check() == [thing]
        assert (thing.restarts, thing.last_death) == (restarts + 1, "exit code 1")
    doubled = [FIRST_PAUSE_S * 2.0**death for death in range(8)]
    assert pauses_s == pytest.approx([min(LONGEST_PAUSE_S, pause_s) for pause_s in doubled])
    assert supervisor.restarts == 8


def test_jitter_shortens_a_pause_by_up_to_half(tmp_path: Path, clock: Clock, program: Program) -> None:
    supervisor = Supervisor(clock, jitter=lambda: 0.0)
    thing = service(tmp_path, program("raise SystemExit(1)"))
    supervisor.add(thing)
    wait_for_end(thing)
    supervisor.check()
    assert thing.start_at_s - clock.now_s == pytest.approx(FIRST_PAUSE_S / 2)


def test_a_service_that_dies_quickly_again_and_again_is_given_up_with_its_last_line(
    tmp_path: Path, supervisor: Supervisor, clock: Clock, program: Program
) -> None:
    thing = service(tmp_path, program(DIES + "sys.exit(1)"))
    supervisor.add(thing)
    for _ in range(QUICK_DEATHS_MAX - 1):
        wait_for_end(thing)
        supervisor.check()
        clock.now_s = thing.start_at_s
        supervisor.check()
    wait_for_end(thing)
    with pytest.raises(ServiceGaveUp, match=r"thing died 5 times in a row.*exit code 1: what went wrong \(see "):
        supervisor.check()


def test_deaths_far_apart_are_never_too_many(
    tmp_path: Path, supervisor: Supervisor, clock: Clock, program: Program
) -> None:
    thing = service(tmp_path, program("raise SystemExit(1)"))
    supervisor.add(thing)
    for _ in range(QUICK_DEATHS_MAX + 1):
        wait_for_end(thing)
        clock.now_s += QUICK_DEATH_S
        supervisor.check()
        assert thing.start_at_s - clock.now_s == pytest.approx(FIRST_PAUSE_S)
        clock.now_s = thing.start_at_s
        assert supervisor.check() == [thing]


@pytest.mark.parametrize("error", [OperatorError, TrainingError])
def test_what_a_new_start_would_only_repeat_is_given_up_at_once(
    tmp_path: Path, supervisor: Supervisor, program: Program, error: type[OperatorError | TrainingError]
) -> None:
    thing = service(tmp_path, program(DIES + f"sys.exit({error.exit_code})"))
    supervisor.add(thing)
    wait_for_end(thing)
    with pytest.raises(error, match=r"^thing: what went wrong$"):
        supervisor.check()


@pytest.mark.parametrize("code", [2, 70])
def test_without_an_optional_service_the_others_go_on(
    tmp_path: Path, clock: Clock, supervisor: Supervisor, program: Program, code: int
) -> None:
    page = service(tmp_path, program(f"raise SystemExit({code})"), optional=True)
    supervisor.add(page)
    for _ in range(2 * QUICK_DEATHS_MAX):
        if page.process is not None:
            wait_for_end(page)
        supervisor.check()
        clock.now_s += LONGEST_PAUSE_S
    assert page.done
    assert page.restarts == (0 if code == 2 else QUICK_DEATHS_MAX - 1)


def test_the_last_line_is_not_one_of_an_earlier_start(
    tmp_path: Path, supervisor: Supervisor, program: Program
) -> None:
    thing = service(tmp_path, program("raise SystemExit(2)"))
    thing.stderr.write_text("rookery-thing: what went wrong yesterday\n")
    supervisor.add(thing)
    wait_for_end(thing)
    with pytest.raises(OperatorError, match=r"^thing: exit code 2$"):
        supervisor.check()


def test_an_actor_that_was_drained_stays_down_and_a_learner_that_ended_does_not(
    tmp_path: Path, supervisor: Supervisor, clock: Clock, program: Program
) -> None:
    ends = program("")
    actor = service(tmp_path, ends, "actor", may_end=True)
    learner = service(tmp_path, ends, "learner")
    supervisor.add(actor)
    supervisor.add(learner)
    wait_for_end(actor)
    wait_for_end(learner)
    supervisor.check()
    assert (actor.done, learner.done) == (True, False)
    clock.now_s = learner.start_at_s
    assert supervisor.check() == [learner]


def test_a_killed_service_is_named_by_its_signal(tmp_path: Path, supervisor: Supervisor, program: Program) -> None:
    thing = service(tmp_path, program(STAYS))
    supervisor.add(thing)
    assert thing.process is not None
    thing.process.kill()
    wait_for_end(thing)
    supervisor.check()
    assert thing.last_death == "signal SIGKILL"


def test_only_the_chosen_services_are_stopped_and_they_drain(
    tmp_path: Path, supervisor: Supervisor, program: Program
) -> None:
    stays = program(STAYS)
    actor, learner = service(tmp_path, stays, "actor"), service(tmp_path, stays, "learner")
    for thing in (actor, learner):
        supervisor.add(thing)
        wait_for_word(thing)
    supervisor.stop(lambda name: name == "actor", timeout_s=60.0, give_up=lambda: False)
    assert actor.process is not None
    assert learner.process is not None
    assert actor.process.returncode == 0
    assert learner.process.poll() is None
    assert supervisor.check() == []


def test_a_service_that_waits_for_its_restart_is_not_started_once_it_was_stopped(
    tmp_path: Path, supervisor: Supervisor, clock: Clock, program: Program
) -> None:
    thing = service(tmp_path, program("raise SystemExit(1)"))
    supervisor.add(thing)
    wait_for_end(thing)
    supervisor.check()
    supervisor.stop(lambda _: True, timeout_s=60.0, give_up=lambda: False)
    clock.now_s += 100.0
    assert supervisor.check() == []
    assert thing.process is None


DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
DEAF += "while True: signal.pause()"


def test_who_does_not_drain_in_time_is_killed(
    tmp_path: Path, supervisor: Supervisor, clock: Clock, program: Program
) -> None:
    thing = service(tmp_path, program(DEAF))
    supervisor.add(thing)
    wait_for_word(thing)

    def time_passes() -> bool:
        clock.now_s += 1.0
        return False

    supervisor.stop(lambda _: True, timeout_s=2.0, give_up=time_passes)
    assert thing.process is not None
    assert thing.process.returncode == -signal.SIGKILL


def test_giving_up_kills_at_once_with_what_a_service_has_started(
    tmp_path: Path, supervisor: Supervisor, program: Program
) -> None:
    child = f"{sys.executable} -c 'import signal; signal.pause()'"
    starts = f"import shlex, subprocess\nsubprocess.Popen(shlex.split({child!r}), start_new_session=True)\n"
    thing = service(tmp_path, program(starts + DEAF))
    supervisor.add(thing)
    wait_for_word(thing)
    assert thing.process is not None
    family = psutil.Process(thing.process.pid).children(recursive=True)
    assert family
    supervisor.stop(lambda _: True, timeout_s=60.0, give_up=lambda: True)
    assert thing.process.returncode == -signal.SIGKILL
    wait_until(lambda: all(is_gone(member) for member in family), "end of the family")


def test_services_see_none_of_our_variables(
    tmp_path: Path, supervisor: Supervisor, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOKERY_NODES", "12")
    thing = service(
        tmp_path, program("import os; print(*(n for n in os.environ if n.startswith('ROOKERY')), 'end')")
    )
    supervisor.add(thing)
    wait_for_end(thing)
    assert thing.stderr.read_text() == "end\n"


def test_a_service_drains_when_its_supervisor_is_killed(tmp_path: Path, program: Program) -> None:
    path, module = tmp_path / "thing.stderr", program(STAYS)
    code = (
        "import signal\nfrom pathlib import Path\nfrom deploy.supervisor import Supervised, Supervisor\n"
        "supervisor = Supervisor()\n"
        f"supervisor.add(Supervised(name='thing', module={module!r}, arguments=(), stderr=Path({str(path)!r})))\n"
        "print(supervisor.services[0].process.pid, flush=True)\nsignal.pause()"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        thing = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: path.exists() and "up" in path.read_text(), "first word")
        parent.kill()
    wait_until(lambda: is_gone(thing), "end")


def test_a_service_whose_supervisor_is_gone_already_does_not_begin(tmp_path: Path, program: Program) -> None:
    command = [sys.executable, "-m", "deploy.tether", "1", program(STAYS)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "the supervisor is gone\n")

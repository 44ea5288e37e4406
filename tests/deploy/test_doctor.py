import errno
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import msgpack
import msgspec
import numpy as np
import pytest
import zmq

from actor.engine_profile import EngineProfile
from common.settings import EvaluationSource, Reward, Settings
from common.transitions import probe_transitions
from deploy import doctor_broker, doctor_machine, doctor_packages, doctor_torch
from deploy.doctor import findings
from deploy.doctor_broker import check_broker
from deploy.doctor_engine import check_engine, judge_build
from deploy.doctor_machine import check_machine
from deploy.doctor_packages import Requirement, check_packages, requirements
from deploy.doctor_torch import check_torch
from deploy.finding import Finding, Verdict, ok
from learner.probe_buffer import ProbeBuffer
from tests.actor.test_engine_build import AVX2, BMI2, ICE_LAKE, SSE41, cpuinfo
from tests.deploy.runs import SAMPLE, Ended, Started, ask, broker_at, wait_until
from tests.learner.units import probed_batch

CHECKS = [
    "python", "rookery", "extra actor", "extra probes", "extra learner", "extra arena", "zeromq", "engine",
    "engine build", "engine speed", "cpus", "memory", "disk", "keys", "ports", "torch",
]  # fmt: skip


def doctor(*arguments: str | Path) -> Ended:
    with Started(("rookery", "doctor", *map(str, arguments))) as command:
        return command.end()


def test_a_sound_host_is_told_so_one_line_a_check(tmp_path: Path, base_port: int, stockfish: str) -> None:
    ended = doctor("--run", tmp_path, "--base-port", str(base_port), "--engine", stockfish, "--actors", "1")
    assert ended.code == 0, ended.out + ended.err
    lines = [line for line in ended.out.splitlines() if not line.startswith(" ")]
    assert [line[6:20].strip() for line in lines[:-1]] == CHECKS
    assert all(line.startswith(("ok  ", "warn")) for line in lines[:-1])
    assert lines[-1].endswith(" 0 fail")
    assert f"{base_port} to {base_port + 6} on 127.0.0.1 are free" in ended.out


def test_json_says_what_was_measured_and_a_failure_is_code_1(tmp_path: Path, base_port: int) -> None:
    ended = doctor("--run", tmp_path, "--base-port", str(base_port), "--engine", "/bin/true", "--json")
    assert ended.code == 1
    report = json.loads(ended.out)
    assert report["ok"] is False
    found = {check["check"]: check for check in report["checks"]}
    assert found["engine"]["verdict"] == "fail"
    assert "/bin/true: is not a UCI engine" in found["engine"]["summary"]
    assert "--engine PATH" in found["engine"]["advice"]
    assert found["disk"]["facts"]["free_bytes"] > 0
    assert found["extra learner"]["facts"]["torch"]


def test_a_host_without_the_extras_is_examined_all_the_same(tmp_path: Path, base_port: int, stockfish: str) -> None:
    missing = dict.fromkeys(["numpy", "chess", "pandas", "pyarrow", "torch", "safetensors"])
    arguments = ["rookery", "doctor", "--run", str(tmp_path), "--base-port", str(base_port), "--engine", stockfish]
    code = f"import sys; sys.modules |= {missing}; sys.argv = {arguments}; from common.command import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "for actors and `rookery annotate` on this host: pip install --upgrade 'rookery[actor]'" in ended.stdout
    assert "ok    engine speed" in ended.stdout
    assert "torch  " not in ended.stdout


def test_a_check_that_breaks_down_is_a_failure_and_the_others_go_on() -> None:
    def check_nothing(settings: Settings) -> Iterator[Finding]:
        yield ok("first", "fine", {})
        raise ZeroDivisionError("oh")

    found = list(findings(Settings(), [check_nothing, lambda _: [ok("last", "fine", {})]]))
    assert [finding.check for finding in found] == ["first", "nothing", "last"]
    assert found[1].verdict is Verdict.FAIL
    assert "ZeroDivisionError: oh" in found[1].summary


# Packages ---------------------------------------------------------------------------------------------------


def test_requirements_are_read_with_their_extras() -> None:
    lines = ["click>=8.1", 'chess>=1.11; extra == "actor"', 'rookery[actor,learner]; extra == "all"']
    assert requirements(lines) == [Requirement("click", "8.1", None), Requirement("chess", "1.11", "actor")]


def test_missing_old_and_broken_packages_are_named_with_their_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken_thing-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 1.0\n")
    (tmp_path / "broken_thing.py").write_text("raise RuntimeError('no such\\n instruction')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    lines = ["click>=99", 'no-such-thing>=1; extra == "actor"', 'broken-thing>=1.0; extra == "learner"']
    monkeypatch.setattr(doctor_packages, "requires", lambda _: lines)
    found = {finding.check: finding for finding in check_packages(Settings())}
    assert (found["rookery"].verdict, found["extra actor"].verdict) == (Verdict.FAIL, Verdict.WARN)
    assert "is older than 99" in found["rookery"].summary
    assert found["extra actor"].summary == "no-such-thing is missing"
    assert "rookery[actor]" in found["extra actor"].advice
    assert found["extra learner"].summary == "broken-thing 1.0 doesn't load: no such instruction"
    assert found["extra actor"].facts == {"no-such-thing": None}


# Engine -----------------------------------------------------------------------------------------------------


def build_finding(settings: str, text: str) -> Finding:
    answer = f"Compilation settings : {settings}\n"
    profile = EngineProfile(path="e", name="e", networks=(), compiler_answer=answer, nodes_per_s=1.0)
    return judge_build(profile, text)


def test_a_build_for_an_old_cpu_on_a_new_one_is_warned_of_with_what_would_help() -> None:
    for words in ("64bit SSE2", "64bit SSE41 SSSE3 SSE2 POPCNT"):
        finding = build_finding(words, cpuinfo(ICE_LAKE))
        assert finding.verdict is Verdict.WARN
        assert "x86-64-avx512icl" in finding.advice
        assert "--engine PATH" in finding.advice
    assert build_finding("64bit SSE2", cpuinfo(AVX2)).verdict is Verdict.WARN


def test_a_build_that_suits_the_cpu_is_fine_and_a_small_step_is_only_mentioned() -> None:
    suits = build_finding("64bit BMI2 AVX2 SSE41 SSSE3 SSE2 POPCNT", cpuinfo(BMI2))
    assert (suits.verdict, suits.advice) == (Verdict.OK, "")
    nearly = build_finding("64bit BMI2 AVX2 SSE41 SSSE3 SSE2 POPCNT", cpuinfo(ICE_LAKE))
    assert nearly.verdict is Verdict.OK
    assert nearly.advice.startswith("x86-64-avx512icl may be a little faster")
    old = build_finding("64bit SSE41 SSSE3 SSE2 POPCNT", cpuinfo(SSE41))
    assert (old.verdict, old.advice) == (Verdict.OK, "")


def test_what_cannot_be_judged_is_not_warned_of() -> None:
    assert "unknown CPU" in build_finding("64bit SSE2", "").summary
    assert "doesn't say" in build_finding("", cpuinfo(BMI2)).summary


def test_no_engine_is_a_failure_unless_comments_suffice() -> None:
    [finding] = check_engine(Settings(engine="/no/engine"))
    assert finding.verdict is Verdict.FAIL
    [finding] = check_engine(Settings(engine="/no/engine", evals=EvaluationSource.PGN))
    assert finding.verdict is Verdict.OK


# Machine ----------------------------------------------------------------------------------------------------


def machine(settings: Settings) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_machine(settings)}


def test_more_actors_than_cpus_and_more_memory_than_there_is_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_machine, "_cpu_count", lambda: 2.5)
    monkeypatch.setattr(doctor_machine, "_available_bytes", lambda: 3_000_000_000)
    few = machine(Settings(run=str(tmp_path), actors=2))
    assert (few["cpus"].verdict, few["memory"].verdict) == (Verdict.OK, Verdict.OK)
    many = machine(Settings(run=str(tmp_path), actors=8))
    assert (many["cpus"].verdict, many["memory"].verdict) == (Verdict.WARN, Verdict.WARN)
    assert many["cpus"].advice.startswith("--actors 2 ")


def test_probes_take_memory_in_learners_and_actors(tmp_path: Path) -> None:
    def needed(**changes: float) -> float:
        settings = Settings(run=str(tmp_path), actors=3, buffer_size=1_000_000)
        return machine(msgspec.structs.replace(settings, **changes))["memory"].facts["needed_bytes"] or 0

    assert needed(probe_temperature=0.5) == needed()
    buffers = 2 * 200_000 * doctor_machine.PROBE_BYTES
    assert needed(probe_rate=0.2) == needed() + buffers + 3 * doctor_machine.PROBING_BYTES


def test_what_a_probe_takes_is_what_a_probe_buffer_takes_with_room_for_as_many_again() -> None:
    buffer = ProbeBuffer(10_000)
    batch = probed_batch(0, games=100)
    probes = probe_transitions(batch, Reward.SHAPED)
    for number in range(60):
        buffer.append(probes, np.ones(len(probes), np.bool_), number * len(batch), (number + 1) * len(batch))
    taken = sum(array.nbytes for array in vars(buffer).values() if isinstance(array, np.ndarray))
    assert taken / len(buffer) == pytest.approx(doctor_machine.PROBE_BYTES, rel=0.25)


def test_little_room_is_warned_of_and_no_place_to_write_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "not" / "yet"
    assert machine(Settings(run=str(run)))["disk"].facts["bytes_per_million_games"] == 850_000_000
    monkeypatch.setattr(doctor_machine, "DISK_LOW_BYTES", 10**18)
    assert machine(Settings(run=str(run)))["disk"].verdict is Verdict.WARN
    assert not run.exists()
    (tmp_path / "file").write_text("")
    failed = machine(Settings(run=str(tmp_path / "file" / "run")))["disk"]
    assert failed.verdict is Verdict.FAIL
    assert failed.summary == f"can't write to {tmp_path / 'file'}"


# Ports and broker -------------------------------------------------------------------------------------------


def broker_finding(base_port: int, **changes: str) -> Finding:
    [finding] = check_broker(msgspec.structs.replace(Settings(base_port=base_port), **changes))
    return finding


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this host's addresses for another host's, and wait less."""
    monkeypatch.setattr(doctor_broker, "_are_ours", lambda _: False)
    monkeypatch.setattr(doctor_broker, "ANSWER_S", 0.5)


@pytest.fixture
def broker(base_port: int, tmp_path: Path) -> Iterator[int]:
    """A real broker; its base port."""
    command = ("rookery-broker", str(SAMPLE), "--base-port", str(base_port), "--run", str(tmp_path / "run"))
    with Started(command):
        wait_until(lambda: ask(broker_at(base_port)) is not None, "the broker answers")
        yield base_port


def test_a_taken_port_is_named_with_its_holder_and_with_ports_that_are_free(
    base_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_broker, "ANSWER_S", 0.1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", base_port + 3))
        other.listen()
        finding = broker_finding(base_port)
    assert finding.verdict is Verdict.FAIL
    assert f"taken on 127.0.0.1: {base_port + 3} by " in finding.summary
    free = int(finding.advice.rsplit("--base-port ", 1)[1])
    assert broker_finding(free).verdict is Verdict.OK


def test_a_broker_that_answers_is_fine_wherever_it_is(broker: int, monkeypatch: pytest.MonkeyPatch) -> None:
    here = broker_finding(broker)
    assert (here.check, here.verdict) == ("broker", Verdict.OK), here
    assert f"a broker answers at 127.0.0.1:{broker}: release {version('rookery')}" in here.summary
    monkeypatch.setattr(doctor_broker, "_are_ours", lambda _: False)
    assert broker_finding(broker).verdict is Verdict.OK
    monkeypatch.setattr(doctor_broker, "version", lambda _: "9.9")
    other = broker_finding(broker)
    assert other.verdict is Verdict.WARN
    assert "this host has 9.9, of the same protocol" in other.summary


@pytest.mark.usefixtures("elsewhere")
def test_a_broker_elsewhere_that_cannot_be_reached_is_a_failure_with_what_to_check(base_port: int) -> None:
    finding = broker_finding(base_port)
    assert finding.verdict is Verdict.FAIL
    assert finding.summary == f"127.0.0.1 can't be reached on ports {base_port} to {base_port + 6}"
    assert "rookery-broker --bind 0.0.0.0" in finding.advice
    assert "no host 'no.such.host.invalid'" in broker_finding(base_port, broker="no.such.host.invalid").summary


@pytest.mark.usefixtures("elsewhere")
def test_something_else_that_listens_there_is_told_from_a_broker(base_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", base_port))
        other.listen()
        finding = broker_finding(base_port)
    assert finding.verdict is Verdict.FAIL
    assert finding.summary == f"something listens at 127.0.0.1:{base_port}, but no broker answers"


@pytest.mark.usefixtures("elsewhere")
def test_a_broker_of_another_protocol_is_a_failure(base_port: int) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"tcp://127.0.0.1:{base_port}")

        def refuse() -> None:
            peer, _ = router.recv_multipart()
            router.send_multipart([peer, msgpack.packb({"v": 99, "kind": "refusal", "reason": "no"})])

        other = threading.Thread(target=refuse, daemon=True)
        other.start()
        finding = broker_finding(base_port)
        other.join(timeout=10)
    assert finding.verdict is Verdict.FAIL
    assert "speaks another protocol: protocol version 99 is not ours (3)" in finding.summary
    assert finding.advice == "install the same release of Rookery on all hosts"


def test_an_address_that_is_not_this_host_s_cannot_be_bound(base_port: int) -> None:
    finding = broker_finding(base_port, bind="192.0.2.1")
    assert finding.verdict is Verdict.FAIL
    assert "not an address of this host" in finding.summary
    assert doctor_broker._bind("192.0.2.1", base_port) == errno.EADDRNOTAVAIL


# PyTorch ----------------------------------------------------------------------------------------------------


def test_the_device_that_each_agent_gets_is_said_and_one_that_is_not_there_is_a_failure() -> None:
    [finding] = check_torch(Settings(device="cpu"))
    assert finding.verdict is Verdict.OK
    assert finding.summary.endswith("--device cpu trains white on cpu, black on cpu")
    [finding] = check_torch(Settings(device="cuda:99"))
    assert finding.verdict is Verdict.FAIL


def test_a_driver_that_torch_cannot_use_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version")
    monkeypatch.setattr(doctor_torch, "NVIDIA_DRIVER", driver)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    [finding] = check_torch(Settings())
    assert finding.verdict is Verdict.WARN
    assert "although this host has an NVIDIA driver" in finding.summary

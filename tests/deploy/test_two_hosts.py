"""Two hosts, played by network namespaces: broker, collector and learners on one, actors on the other."""

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from agent.weights import digest, load_weights
from common.log_lines import read_log_lines
from common.messages import Interval, Status
from common.settings import DEFAULT_AGENTS
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from tests.deploy.hosts import Host, NoHosts, hosts, join
from tests.deploy.reference import FLAGS, UNITS, Reference
from tests.deploy.runs import Started, wait_until

pytestmark = pytest.mark.slow

LEARNING_HOST, ACTING_HOST = "10.203.77.1", "10.203.77.2"


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Host, Host]]:
    """Two hosts joined by a cable: the learning one and the acting one."""
    try:
        with hosts(LEARNING_HOST, ACTING_HOST) as (learning, acting):
            join(learning, acting)
            yield learning, acting
    except NoHosts as reason:
        pytest.skip(str(reason))


def settings_file(path: Path, reference: Reference) -> Path:
    """Write the one file that all hosts share."""
    values = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True))
    lines = [f"{flag.removeprefix('--').replace('-', '_')} = {value}" for flag, value in values.items()]
    lines += [f"games = {json.dumps([str(game) for game in reference.games])}"]
    lines += [f'broker = "{LEARNING_HOST}"', f'bind = "{LEARNING_HOST}"']
    path.write_text("\n".join(lines) + "\n")
    return path


def enrol(learning: Path, acting: Path) -> None:
    """Make everybody's keys on the learning host, and carry to the other one those that belong there."""
    for words in (
        ["init"], ["add", "actor", "far-0", "far-1"], ["add", "learner", "white", "black"],
        ["add", "collector", "logs"], ["add", "operator", "operator"],
    ):  # fmt: skip
        with Started(["rookery", "keys", *words, "--keys", str(learning)]) as command:
            ended = command.end()
        assert ended.code == 0, ended.err
    for name in (
        "broker.key",
        "actors/far-0.key_secret",
        "actors/far-1.key_secret",
        "operators/operator.key_secret",
    ):
        (acting / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(learning / name, acting / name)


def test_off_loopback_nothing_listens_or_connects_without_keys(
    tmp_path: Path, both: tuple[Host, Host], reference: Reference
) -> None:
    learning, acting = both
    shared = (
        "--settings",
        str(settings_file(tmp_path / "rookery.toml", reference)),
        "--run",
        str(tmp_path / "run"),
    )
    for command, address in (
        (learning.command("rookery-broker", *shared, "--broker", "127.0.0.1"), "--bind " + LEARNING_HOST),
        (acting.command("rookery-actor", *shared), "--broker " + LEARNING_HOST),
    ):
        with Started(command) as service:
            ended = service.end()
        assert ended.code == 2
        line = ended.err.splitlines()[-1]
        assert address in line
        assert "--insecure" in line


def test_two_hosts_learn_what_one_process_would_have(
    tmp_path: Path, both: tuple[Host, Host], reference: Reference
) -> None:
    learning, acting = both
    enrol(tmp_path / "keys", tmp_path / "keys-of-actors")
    shared = ("--settings", str(settings_file(tmp_path / "rookery.toml", reference)))
    here = (*shared, "--run", str(tmp_path / "learning"), "--keys", str(tmp_path / "keys"))
    keys_there = ("--keys", str(tmp_path / "keys-of-actors"))
    there = (*shared, "--run", str(tmp_path / "acting"), *keys_there)

    def status() -> Status | None:
        with Started(acting.command("rookery", "status", "--json", *shared, *keys_there)) as command:
            ended = command.end()
        return msgspec.json.decode(ended.out, type=Status) if ended.code == 0 else None

    def is_finished() -> bool:
        assert all(service.process.poll() is None for service in services)
        found = status()
        return (
            found is not None
            and found.finished
            and all(service.learner.finished for service in found.services if service.learner is not None)
        )

    with ExitStack() as stack:
        services = [
            stack.enter_context(Started(command))
            for command in (
                acting.command("rookery-actor", "--name", "far-0", *there),
                acting.command("rookery-actor", "--name", "far-1", *there),
                learning.command("rookery-learner", "--agent", "white", *here),
                learning.command("rookery-learner", "--agent", "black", *here),
                learning.command("rookery-logs", *here),
                learning.command("rookery-broker", *here),
            )
        ]
        wait_until(is_finished, "the end of the training")
        for service in services:
            service.process.send_signal(signal.SIGTERM)
            ended = service.end()
            assert ended.code == 0, ended.err
            assert "Traceback" not in ended.err
            assert service.processes() == []

    for agent in DEFAULT_AGENTS:
        files = AgentDirectory.of(tmp_path / "learning", agent.name)
        with ExperienceReader(files.experience, agent) as store:
            assert store.intervals() == [Interval(0, UNITS - 1)]
            assert store.totals() == reference.totals[agent.name]
        assert digest(load_weights(files.weights)[0]) == reference.weights[agent.name]

    assert (tmp_path / "acting" / "evaluations.db").exists()
    assert not (tmp_path / "acting" / "agents").exists()
    assert not (tmp_path / "learning" / "evaluations.db").exists()
    lines = read_log_lines(tmp_path / "learning" / "logs" / "rookery.jsonl")
    said = {(line.service, line.event) for line in lines}
    assert {("far-0", "started"), ("far-0", "stopped"), ("far-1", "stopped"), ("learner-white", "finished")} <= said

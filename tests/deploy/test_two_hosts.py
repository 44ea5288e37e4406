"""Two hosts, played by network namespaces: broker, collector and learners on one, actors on the other."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from common.messages import Interval, Status
from common.settings import DEFAULT_AGENTS
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from learner.weights import digest, load_weights
from tests.deploy.reference import FLAGS, UNITS, Reference
from tests.deploy.runs import COMMANDS, Started, wait_until

pytestmark = pytest.mark.slow

LEARNING_HOST, ACTING_HOST = "10.203.77.1", "10.203.77.2"


@dataclass(frozen=True)
class Hosts:
    """Names of the two namespaces."""

    ip: str
    learning: str
    acting: str

    def command(self, host: str, *words: str) -> list[str]:
        """Return a command of ours as it runs on a host."""
        return [self.ip, "netns", "exec", host, str(COMMANDS / words[0]), *words[1:]]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Two namespaces joined by a cable."""
    ip = shutil.which("ip") or shutil.which("ip", path="/sbin:/usr/sbin")
    if ip is None:
        pytest.skip("no `ip` here to make network namespaces with (Debian: iproute2)")
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    number = os.getpid() % 100_000
    learning, acting = f"nest{number}l", f"nest{number}a"

    def tell(*words: str) -> None:
        subprocess.run([ip, *words], check=True, capture_output=True, text=True)

    with ExitStack() as stack:
        try:
            for name in (learning, acting):
                tell("netns", "add", name)
                stack.callback(subprocess.run, [ip, "netns", "del", name], check=False)
                tell("-n", name, "link", "set", "lo", "up")
            tell("-n", learning, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", acting)
            for name, address in ((learning, LEARNING_HOST), (acting, ACTING_HOST)):
                tell("-n", name, "address", "add", f"{address}/24", "dev", "cable")
                tell("-n", name, "link", "set", "cable", "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces can't be made here: {error.stderr.strip()}")
        yield Hosts(ip, learning, acting)


def settings_file(path: Path, reference: Reference) -> Path:
    """Write the one file that all hosts share."""
    values = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True))
    lines = [f"{flag.removeprefix('--').replace('-', '_')} = {value}" for flag, value in values.items()]
    lines += [f"games = {json.dumps([str(game) for game in reference.games])}"]
    lines += [f'broker = "{LEARNING_HOST}"', f'bind = "{LEARNING_HOST}"']
    path.write_text("\n".join(lines) + "\n")
    return path


def test_two_hosts_learn_what_one_process_would_have(tmp_path: Path, hosts: Hosts, reference: Reference) -> None:
    shared = ("--settings", str(settings_file(tmp_path / "rookery.toml", reference)))
    here = (*shared, "--run", str(tmp_path / "learning"))
    there = (*shared, "--run", str(tmp_path / "acting"))

    def status() -> Status | None:
        with Started(hosts.command(hosts.acting, "rookery", "status", "--json", *shared)) as command:
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
                hosts.command(hosts.acting, "rookery-actor", "--name", "far-0", *there),
                hosts.command(hosts.acting, "rookery-actor", "--name", "far-1", *there),
                hosts.command(hosts.learning, "rookery-learner", "--agent", "white", *here),
                hosts.command(hosts.learning, "rookery-learner", "--agent", "black", *here),
                hosts.command(hosts.learning, "rookery-logs", *here),
                hosts.command(hosts.learning, "rookery-broker", *here),
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
    records = [json.loads(line) for line in (tmp_path / "learning" / "logs" / "rookery.jsonl").open()]
    said = {(record["service"], record["event"]) for record in records}
    assert {("far-0", "started"), ("far-0", "stopped"), ("far-1", "stopped"), ("learner-white", "finished")} <= said

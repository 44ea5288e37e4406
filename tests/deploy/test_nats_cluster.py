"""`rookery nats-cluster` as a person runs it, and what its three servers keep when they are killed one by one."""

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from common.errors import BrokerUnreachable, OperatorError
from common.nats.connection import Kept
from common.nats.names import NatsNames
from common.nats.plan import NatsPlan
from common.nats.streams import prepare
from deploy.nats_cluster import SERVERS, NatsCluster, address_of, seats, wait_for_leader
from tests.common.nats.driven import Driven
from tests.deploy.runs import Started, wait_until

pytestmark = pytest.mark.usefixtures("nats_server_binary")

NAMES = NatsNames("rookery")
PLAN = NatsPlan(names=NAMES, agents=("white",), max_units_ahead=4, lease_timeout_s=60.0, replicas=SERVERS)
PATIENCE_S = 60.0


@pytest.fixture
def cluster(tmp_path: Path, base_port: int) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path / "nats", base_port) as made:
        yield made


def command(directory: Path, base_port: int) -> Started:
    return Started(("rookery", "nats-cluster", str(directory), "--port", str(base_port)))


def servers_of(started: Started) -> list[psutil.Process]:
    """Those at work, not what only looks at a configuration."""
    found = [process for process in started.processes() if process.name() == "nats-server"]
    return [process for process in found if "-t" not in process.cmdline()]


def ready(directory: Path, base_port: int) -> str:
    return f"ready: --transport {address_of(seats(directory, base_port))} --replicas 3"


def store(driven: Driven, data: bytes) -> None:
    """Store a message; an acknowledgement that is lost with its server is no refusal, so it is tried again."""
    subject = NAMES.weights.pieces("x")

    def stored() -> bool:
        with suppress(BrokerUnreachable):
            driven.do(driven.connection.store(subject, data, timeout_s=2.0))
            return True
        return False

    wait_until(stored, "a message stored", PATIENCE_S)


def last(driven: Driven) -> bytes:
    """Return the last message stored."""

    def look() -> Kept | None:
        with suppress(BrokerUnreachable):
            return driven.do(driven.connection.kept(NAMES.weights.stream, last_of=NAMES.weights.pieces("x")))
        return None

    end_s = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        assert time.monotonic() < end_s, "the message is gone"
    return found.data


def test_the_command_says_what_to_give_to_the_services_and_ends_in_order(tmp_path: Path, base_port: int) -> None:
    with command(tmp_path / "nats", base_port) as started:
        started.wait_for_line(ready(tmp_path / "nats", base_port))
        servers = servers_of(started)
        assert len(servers) == SERVERS
        started.process.send_signal(signal.SIGINT)
        ended = started.end()
        assert started.processes() == []
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    for number, (line, server) in enumerate(
        zip(lines, sorted(servers, key=lambda p: p.pid), strict=False), start=1
    ):
        assert line.startswith(f"n{number}: nats://127.0.0.1:{base_port + number - 1}, ")
        assert f"pid {server.pid}, log {tmp_path}/nats/n{number}/nats-server.log" in line
    assert lines[-1] == "stopped; the same command goes on with what is stored"


def test_a_server_that_is_killed_is_started_again_and_sigterm_ends_all(tmp_path: Path, base_port: int) -> None:
    directory = tmp_path / "nats"
    second = seats(directory, base_port)[1]
    with command(directory, base_port) as started:

        def pids() -> set[int]:
            return {process.pid for process in servers_of(started)}

        started.wait_for_line(ready(directory, base_port))
        before = pids()
        killed = started.service("-c", str(second.configuration_file))
        killed.kill()
        wait_until(lambda: len(pids() - before) == 1 and killed.pid not in pids(), "another in its place")
        (pid,) = pids() - before
        where = f"{second.address}, route 127.0.0.1:{base_port + SERVERS + 1}"
        started.wait_for_line(f"started again: n2: {where}, pid {pid}, log {second.log_file}")
        started.process.terminate()
        ended = started.end()
        assert started.processes() == []
    assert (ended.code, ended.err) == (0, "")


def test_what_is_stored_with_three_replicas_outlives_each_server_in_turn(cluster: NatsCluster) -> None:
    with Driven(cluster.address) as driven:
        driven.do(prepare(driven.connection, PLAN), PATIENCE_S)
        for number, server in enumerate(cluster.servers):
            store(driven, b"before %d" % number)
            server.kill()
            assert last(driven) == b"before %d" % number
            store(driven, b"without %d" % number)
            server.start()
            assert last(driven) == b"without %d" % number
            wait_until(lambda: is_whole(driven), "all replicas current again", PATIENCE_S)


def is_whole(driven: Driven) -> bool:
    """Whether every server has all of the weights' stream."""
    with suppress(OperatorError):
        cluster = driven.do(driven.connection.api(f"STREAM.INFO.{NAMES.weights.stream}"))["cluster"]
        return len(cluster["replicas"]) == SERVERS - 1 and all(one["current"] for one in cluster["replicas"])
    return False


def test_a_cluster_that_is_started_again_has_what_it_had(tmp_path: Path, base_port: int) -> None:
    for start in range(2):
        with NatsCluster(tmp_path, base_port) as cluster, Driven(cluster.address) as driven:
            driven.do(prepare(driven.connection, PLAN), PATIENCE_S)
            if start == 0:
                store(driven, b"kept")
            assert last(driven) == b"kept"


def test_a_directory_in_use_and_a_port_that_is_taken_are_told_in_one_line(
    cluster: NatsCluster, tmp_path: Path, base_port: int
) -> None:
    with command(cluster.directory, base_port) as started:
        ended = started.end()
    assert (ended.code, ended.line) == (
        2, f"rookery: {cluster.directory}: another cluster is at work there; choose another directory"
    )  # fmt: skip
    with command(tmp_path / "other", base_port) as started:
        ended = started.end()
    assert ended.code == 2
    assert f"127.0.0.1:{base_port} is taken: " in ended.line


def test_two_servers_of_three_are_needed_for_a_leader(cluster: NatsCluster) -> None:
    cluster.servers[0].kill()
    wait_for_leader(cluster.address)
    cluster.servers[1].kill()
    with pytest.raises(OperatorError, match=r"have found no leader within 2 s"):
        find_leaders(cluster.address)


def find_leaders(address: str) -> None:
    """Find a leader again and again: the third server takes its time to see that it is alone."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        wait_for_leader(address, timeout_s=2.0)

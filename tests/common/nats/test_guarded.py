"""A server that is started with what `rookery keys init --nats` writes, and who comes in there."""

import json
import shutil
import socket
import subprocess
from pathlib import Path
from threading import Event
from typing import Self

import pytest

from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.nats.address import NatsAddress
from common.nats.channel import NatsChannel, State
from common.nats.fleet_config import ROUTES_PORT, STORE, Fleet
from common.nats.keys import NatsKeys
from common.nats.login import NatsLogin
from common.nats.names import NatsNames
from common.nats.plan import NatsPlan
from common.nats.server import find_server
from common.nats.streams import prepare
from common.nats.way import NatsWay
from tests.common.nats.guarded import GuardedServer, understood
from tests.conftest import free_base_port
from tests.until import until

NAMES = NatsNames("run1")
ACTOR, OTHER = KeyHolder(Role.ACTOR, "far-0"), KeyHolder(Role.ACTOR, "far-1")
OPERATOR = KeyHolder(Role.OPERATOR, "operator")


@pytest.fixture
def server(nats_server_binary, tmp_path, monkeypatch):
    monkeypatch.setattr("common.nats.channel.LONGEST_PAUSE_S", 0.2)
    made = GuardedServer(tmp_path, NAMES)
    made.allow(ACTOR)
    with made:
        yield made


@pytest.fixture
def channel(closing):
    def start(way: NatsWay) -> NatsChannel:
        made = way.channel(idle, "test")
        made.start()
        return closing(made)

    return start


async def idle(connection) -> None:
    pass


def reaches(channel: NatsChannel, state: State) -> bool:
    return channel.wait_until(lambda: channel.state is state, 10.0)


def test_who_has_a_key_comes_in_and_a_stranger_does_not(server, channel, tmp_path):
    assert reaches(channel(server.way(ACTOR)), State.CONNECTED)
    ca = server.keys.path / "ca.pem"
    address = NatsAddress.parse(server.fleet.transport)
    without = channel(NatsWay(address, NAMES, ACTOR, NatsLogin(ca_file=ca)))
    assert reaches(without, State.REFUSED)
    other = NatsKeys(tmp_path / "other")
    other.init(server.fleet, NAMES)
    other.add(ACTOR)
    seed = tmp_path / "other" / "nats" / "actors" / "far-0.nk"
    assert reaches(channel(NatsWay(address, NAMES, ACTOR, NatsLogin(seed_file=seed, ca_file=ca))), State.REFUSED)


def test_a_server_of_another_authority_is_not_believed(server, channel, tmp_path):
    other = NatsKeys(tmp_path / "other")
    other.init(server.fleet, NAMES)
    login = NatsLogin(seed_file=server.keys.path / "broker.nk", ca_file=other.path / "ca.pem")
    made = channel(NatsWay(NatsAddress.parse(server.fleet.transport), NAMES, BROKER, login))
    assert reaches(made, State.REFUSED)
    assert "certificate" in made.reason


def test_a_key_that_is_added_comes_in_and_one_that_is_revoked_is_cut_off_and_nobody_else_notices(
    server, channel, tmp_path
):
    far = tmp_path / "far"
    shutil.copytree(server.directory, far)
    address = NatsAddress.parse(server.fleet.transport)
    there = channel(NatsWay(address, NAMES, ACTOR, NatsLogin.of(far, ACTOR)))
    assert reaches(there, State.CONNECTED)
    server.allow(OTHER)
    other = channel(server.way(OTHER))
    assert reaches(other, State.CONNECTED)
    server.keys.revoke(ACTOR)
    server.reload()
    assert reaches(there, State.REFUSED)
    assert "Authorization" in there.reason
    until(lambda: there.stats().refusals >= 2)
    assert (other.state, other.stats().losses) == (State.CONNECTED, 0)


def test_nothing_is_taken_in_the_clear(server):
    with server.connect() as connection:
        connection.settimeout(5.0)
        said = connection.recv(65536)
        about = json.loads(said.removeprefix(b"INFO "))
        assert (about["tls_required"], about["auth_required"]) == (True, True)
        connection.sendall(b'CONNECT {"verbose":true}\r\nPING\r\n')
        answer = b""
        while came := connection.recv(65536):
            answer += came
        assert b"+OK" not in answer
        assert b"PONG" not in answer


# A cluster


HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


class Cluster:
    """Servers with the same files, each on an address of its own of this machine; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self._routes_port = folder, free_base_port(), free_base_port()
        self.directory = folder / "keys"
        self.fleet = Fleet.parse(HOSTS, port=self.port)
        self.keys = NatsKeys(self.directory)
        self.keys.init(self.fleet, NAMES)
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for host in HOSTS:
            self.start(host, self.keys)
        return self

    def start(self, host: str, keys: NatsKeys) -> None:
        """Start a server with what is in `keys`, on one address of this machine, and with a store of its own."""
        text = understood(keys.configuration_file.read_text())
        for there, here in (
            ("0.0.0.0", host), (str(ROUTES_PORT), str(self._routes_port)), (str(STORE), str(self.folder / host)),
        ):  # fmt: skip
            assert there in text
            text = text.replace(there, here)
        configuration = keys.path / f"{host}.conf"
        configuration.write_text(text)
        with self._log_file(host).open("wb") as log:
            command = [find_server(), "-c", str(configuration), "--name", f"nats-{host}"]
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def log(self, host: str) -> str:
        return self._log_file(host).read_text()

    def _log_file(self, host: str) -> Path:
        return self.folder / f"{host}.log"

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(nats_server_binary, tmp_path):
    for host in HOSTS:
        try:
            socket.create_server((host, 0)).close()
        except OSError:
            pytest.skip(f"{host} is no address of this machine")
    with Cluster(tmp_path) as made:
        yield made


def test_a_cluster_forms_over_tls_keeps_three_copies_and_takes_no_stranger_for_a_server(cluster, closing, tmp_path):
    made = Event()

    async def serve(connection) -> None:
        plan = NatsPlan(names=NAMES, agents=("white",), max_units_ahead=8, lease_timeout_s=60.0, replicas=3)
        await prepare(connection, plan)
        made.set()

    address = NatsAddress.parse(cluster.fleet.transport)
    channel = closing(
        NatsWay(address, NAMES, BROKER, NatsLogin.of(cluster.directory, BROKER)).channel(serve, "test")
    )
    channel.start()
    assert made.wait(30.0), channel.reason

    stranger = NatsKeys(tmp_path / "strange")
    stranger.init(cluster.fleet, NAMES)
    cluster.start("127.0.0.4", stranger)
    until(lambda: "certificate" in cluster.log("127.0.0.4"))
    until(lambda: "TLS route handshake error" in cluster.log("127.0.0.1"))
    assert "nats-127.0.0.4" not in cluster.log("127.0.0.1")

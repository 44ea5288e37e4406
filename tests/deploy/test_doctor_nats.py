import socket
import subprocess
import threading
from pathlib import Path

import pytest

from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.nats.names import NatsNames
from common.nats.server import NatsServer, find_server, server_version
from common.nats.server_config import NatsServerSettings
from common.nats.survey import SYNCS_FROM, version_of
from common.settings import Settings
from deploy.doctor_broker import check_broker
from deploy.doctor_keys import check_keys
from deploy.doctor_packages import check_packages
from deploy.finding import Finding, Verdict
from tests.common.nats.guarded import GuardedServer
from tests.conftest import free_base_port
from tests.links.nats_site import LiveNatsBroker

NAMES = NatsNames("rookery")
ACTOR, OPERATOR = KeyHolder(Role.ACTOR, "far-0"), KeyHolder(Role.OPERATOR, "operator")


@pytest.fixture(scope="module")
def guarded(nats_server_binary, tmp_path_factory):
    server = GuardedServer(tmp_path_factory.mktemp("guarded"), NAMES)
    server.allow(ACTOR, OPERATOR)
    with server:
        yield server


@pytest.fixture(scope="module")
def plain(nats_server_binary, tmp_path_factory):
    settings = NatsServerSettings(directory=tmp_path_factory.mktemp("plain"), port=free_base_port())
    with NatsServer(settings) as server:
        yield server


@pytest.fixture
def can_sync(nats_server_binary) -> bool:
    return version_of(server_version(nats_server_binary)) >= SYNCS_FROM


def examined(**values: object) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_broker(Settings(**values))}


def verdicts(found: dict[str, Finding]) -> dict[str, Verdict]:
    return {name: finding.verdict for name, finding in found.items()}


def keys_with(guarded: GuardedServer, folder: Path, *holders: KeyHolder) -> str:
    """A host's directory of keys with no others than these."""
    for path in (
        guarded.keys.path / "ca.pem",
        *(guarded.keys.path / f"{h.role.value}s/{h.name}.nk" for h in holders),
    ):
        copy = folder / path.relative_to(guarded.directory)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
    return str(folder)


def test_with_an_operators_key_every_server_tells_how_it_is_set(guarded, can_sync):
    found = examined(transport=guarded.fleet.transport, keys=str(guarded.directory))
    assert list(found) == ["nats", "nats login", "jetstream", "nats disk", "broker"]
    bad = {name for name, verdict in verdicts(found).items() if verdict is not Verdict.OK}
    assert bad == (set() if can_sync else {"nats disk"})
    assert "1 of 1 servers reached: nats-server" in found["nats"].summary
    assert "with TLS" in found["nats"].summary
    assert found["nats login"].summary == "operator operator is let in"
    assert found["jetstream"].summary == "on, with one server for 1 replicas"
    assert "it is free for one" in found["broker"].summary
    if can_sync:
        assert found["nats disk"].summary == "messages are on disk before they are acknowledged"
    else:
        assert found["nats disk"].summary.startswith("acknowledged messages of the last 120 s can be lost")
        assert "jepsen.io" in found["nats disk"].summary
        assert "2.10 or later" in found["nats disk"].advice
    assert guarded.violations == []


def test_a_broker_that_answers_is_told_with_its_release(guarded):
    way = guarded.way(BROKER)
    with LiveNatsBroker(way, units=1, ahead=8, lease_s=30.0, redelivery_s=30.0):
        found = examined(transport=guarded.fleet.transport, keys=str(guarded.directory))
    assert "a broker answers at tls://" in found["broker"].summary


def test_a_host_that_has_an_actors_key_only_learns_what_that_may(guarded, tmp_path, can_sync):
    found = examined(transport=guarded.fleet.transport, keys=keys_with(guarded, tmp_path, ACTOR))
    assert found["nats login"].summary == "actor far-0 is let in"
    assert found["nats disk"].verdict is (Verdict.OK if can_sync else Verdict.WARN)
    assert "broker" not in found


def test_a_key_that_the_servers_don_t_know_is_told(guarded, tmp_path):
    other = GuardedServer(tmp_path, NAMES)
    other.allow(OPERATOR)
    (other.keys.path / "ca.pem").write_bytes((guarded.keys.path / "ca.pem").read_bytes())
    found = examined(transport=guarded.fleet.transport, keys=str(other.directory))
    assert found["nats login"].verdict is Verdict.FAIL
    assert found["nats login"].summary == "operator operator is not let in: Authorization Violation"
    assert "users.conf" in found["nats login"].advice


def test_no_key_at_all_is_told_with_what_is_known_without(guarded, tmp_path):
    found = examined(transport=guarded.fleet.transport, keys=keys_with(guarded, tmp_path))
    assert verdicts(found) == {"nats": Verdict.OK, "nats login": Verdict.WARN}


def test_a_server_of_this_host_is_known_by_its_configuration(plain, can_sync):
    found = examined(transport=plain.address)
    assert "in the clear" in found["nats"].summary
    assert found["nats login"].summary == "anybody is let in"
    assert found["nats disk"].verdict is (Verdict.OK if can_sync else Verdict.WARN)


def test_a_server_of_this_host_that_is_not_configured_to_sync_is_warned_of(plain, can_sync, monkeypatch):
    settings = plain.settings
    configuration = settings.configuration_file.read_text()
    settings.configuration_file.write_text(
        configuration.replace("sync_interval: always", "# sync_interval: always")
    )
    try:
        found = examined(transport=plain.address)
    finally:
        settings.configuration_file.write_text(configuration)
    assert found["nats disk"].verdict is Verdict.WARN
    assert ("2.10 or later" in found["nats disk"].advice) == (not can_sync)


def test_more_replicas_than_servers_are_a_failure(plain):
    found = examined(transport=plain.address, replicas=3)
    assert found["jetstream"].verdict is Verdict.FAIL
    assert found["jetstream"].summary == "3 replicas take as many servers: here one server"
    assert "--replicas 1" in found["jetstream"].advice


def test_a_server_that_is_not_there_is_told_and_one_of_several_is_a_warning(plain):
    nowhere = f"127.0.0.1:{free_base_port()}"
    found = examined(transport=f"nats://{nowhere}")
    assert verdicts(found) == {"nats": Verdict.FAIL}
    assert f"{nowhere}: Connection refused" in found["nats"].summary
    found = examined(transport=f"{plain.address},{nowhere}")
    assert found["nats"].verdict is Verdict.WARN
    assert found["nats"].summary.startswith("1 of 2 servers reached")
    assert found["nats login"].verdict is Verdict.OK


def test_what_is_no_nats_server_is_told():
    def say_something_else() -> None:
        connection, _ = other.accept()
        with connection:
            connection.sendall(b"SSH-2.0-x\r\n")

    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=say_something_else)
        thread.start()
        found = examined(transport=f"nats://127.0.0.1:{other.getsockname()[1]}")
        thread.join()
    assert "no NATS server" in found["nats"].summary


def test_tls_where_there_is_none_is_a_failure(plain):
    found = examined(transport=plain.address.replace("nats://", "tls://"))
    assert found["nats"].verdict is Verdict.FAIL
    assert "no TLS there" in found["nats"].summary


def test_a_server_without_jetstream_is_a_failure(nats_server_binary):
    port = free_base_port()
    command = [find_server(), "--addr", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert any(b"Server is ready" in line for line in process.stderr)
            found = examined(transport=f"nats://127.0.0.1:{port}")
        finally:
            process.kill()
    assert found["jetstream"].verdict is Verdict.FAIL
    assert "jetstream" in found["jetstream"].advice


def test_the_keys_of_this_host_are_those_for_nats(guarded, tmp_path):
    (found,) = check_keys(Settings(transport=guarded.fleet.transport, keys=str(guarded.directory)))
    assert found.summary == "this host has the keys of actor far-0, operator operator, broker"
    here = keys_with(guarded, tmp_path, ACTOR)
    (tmp_path / "nats" / "actors" / "far-0.nk").chmod(0o644)
    (found,) = check_keys(Settings(transport=guarded.fleet.transport, keys=here))
    assert (found.verdict, "others may read it" in found.summary) == (Verdict.FAIL, True)
    (found,) = check_keys(Settings(transport="nats://train1,train2"))
    assert "--transport train1 and --transport train2 needs keys" in found.summary
    (found,) = check_keys(Settings(transport="nats://127.0.0.1"))
    assert found.verdict is Verdict.OK


def test_the_packages_for_nats_are_looked_at_where_they_are_needed():
    assert "extra nats" not in [finding.check for finding in check_packages(Settings())]
    (found,) = [each for each in check_packages(Settings(transport="nats://x")) if each.check == "extra nats"]
    assert found.verdict is Verdict.OK

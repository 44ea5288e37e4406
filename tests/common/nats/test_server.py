import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from common.errors import OperatorError
from common.nats import server as module
from common.nats.server import NatsServer, find_server, server_version
from common.nats.server_config import ClusterSeat, NatsServerSettings, configuration
from tests.conftest import free_base_port
from tests.until import until


@pytest.fixture
def settings(nats_server_binary, tmp_path) -> NatsServerSettings:
    return NatsServerSettings(directory=tmp_path / "with a space", port=free_base_port())


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def test_a_server_answers_once_it_is_started_and_is_gone_once_it_is_stopped(settings):
    with NatsServer(settings) as server:
        assert listens(settings.port)
        assert server.address == f"nats://127.0.0.1:{settings.port}"
        pid = server.pid
        assert pid is not None
        assert psutil.Process(pid).name() == "nats-server"
    assert server.pid is None
    assert not psutil.pid_exists(pid)
    server.stop()


def test_it_is_in_a_group_of_its_own_so_that_a_ctrl_c_misses_it(settings):
    with NatsServer(settings) as server:
        assert os.getpgid(server.pid) == server.pid


def test_whether_it_syncs_is_known_and_true_from_2_10_on(settings, nats_server_binary):
    with NatsServer(settings) as server:
        major, minor = (int(number) for number in server_version(nats_server_binary).split(".")[:2])
        assert server.syncs_always == ((major, minor) >= (2, 10))


def test_a_server_that_was_killed_starts_again_on_its_port_and_store(settings):
    with NatsServer(settings) as server:
        first = server.pid
        server.kill()
        assert not listens(settings.port)
        server.start()
        assert server.pid not in (None, first)
        server.start()  # it runs already
        assert listens(settings.port)


def test_one_that_does_not_end_in_order_is_killed(settings):
    with NatsServer(settings) as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
        server.stop(timeout_s=0.2)
        assert not psutil.pid_exists(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word is Linux's")
def test_it_ends_with_the_process_that_started_it(settings):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from common.nats.server import NatsServer; from common.nats.server_config import NatsServerSettings\n"
        "settings = NatsServerSettings(directory=Path(sys.argv[1]), port=int(sys.argv[2]))\n"
        "server = NatsServer(settings); server.start()\n"
        "print(server.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.directory), str(settings.port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.communicate()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_port_that_is_taken_is_told_in_one_line(settings):
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.port))
        with pytest.raises(OperatorError, match=rf"127.0.0.1:{settings.port} is taken: .* Choose another port$"):
            NatsServer(settings).start()
        other.listen()
        with pytest.raises(OperatorError, match=r"is taken: .* Choose another port$"):
            NatsServer(settings).start()


def test_a_missing_server_is_told_with_what_to_type(monkeypatch, settings):
    monkeypatch.setattr(module, "BINARY", "no-such-nats-server")
    with pytest.raises(OperatorError, match="install it .*apt-get install nats-server"):
        NatsServer(settings).start()


def test_a_configuration_that_it_refuses_is_told_with_its_reason(settings, tmp_path):
    odd = NatsServerSettings(directory=tmp_path, port=settings.port, more="no_such_key: 1")
    with pytest.raises(OperatorError, match='refuses .*nats-server.conf: .*unknown field "no_such_key"'):
        NatsServer(odd).start()


def test_a_place_that_can_t_be_written_is_told(settings):
    with pytest.raises(OperatorError, match="no nats-server can be started there"):
        NatsServer(NatsServerSettings(directory=Path("/proc/nowhere"), port=settings.port)).start()


def test_a_program_that_is_no_nats_server_is_told():
    with pytest.raises(OperatorError, match="is no nats-server"):
        server_version("/bin/true")
    with pytest.raises(OperatorError, match="can't be run"):
        server_version("/no/such/program")


def test_the_version_is_three_numbers(nats_server_binary):
    assert len(server_version(find_server()).split(".")) == 3


def test_a_configuration_says_all_that_was_set():
    settings = NatsServerSettings(
        directory=Path("/srv/nats"), port=4222, host="0.0.0.0", name="n1", max_payload_bytes=2**20,
        seat=ClusterSeat(cluster="c", port=6222, routes=("a:6222", "b:6222")), more="authorization {}",
    )  # fmt: skip
    text = configuration(settings, sync_always=True)
    for line in (
        'host: "0.0.0.0"', "port: 4222", 'server_name: "n1"', "max_payload: 1048576", '  store_dir: "/srv/nats"',
        "  sync_interval: always", '  listen: "0.0.0.0:6222"', '  routes: ["nats://a:6222", "nats://b:6222"]',
        "authorization {}",
    ):  # fmt: skip
        assert line in text.splitlines()
    alone = configuration(NatsServerSettings(directory=Path("/srv/nats"), port=4222), sync_always=False)
    assert "cluster" not in alone
    assert "sync" not in alone

"""Services as systemd sees them, without a systemd: what they say on its socket, and what a SIGHUP does."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import DEFAULT_AGENTS
from tests.deploy.runs import PATIENCE_S, SAMPLE, Started

pytestmark = pytest.mark.slow


class Systemd:
    """The socket on which services say how they fare."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.1)
        self.heard: list[str] = []

    def wait_for(self, message: str) -> None:
        """Wait until a service says something; what it said before is forgotten."""
        end_s = time.monotonic() + PATIENCE_S
        while not any(said.startswith(message) for said in self.heard):
            assert time.monotonic() < end_s, f"{message} is not said; heard {self.heard}"
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except TimeoutError:
                pass
        self.heard.clear()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path / "notify")
    yield made
    made.close()


SERVICES = {
    "rookery-broker": (str(SAMPLE),),
    "rookery-logs": (),
    "rookery-learner": ("--agent", DEFAULT_AGENTS[0].name),
    "rookery-actor": ("--name", "actor-0"),
    "rookery dashboard": ("--port", "0"),
}


@pytest.mark.parametrize("command", SERVICES)
def test_a_service_says_when_it_works_that_it_gets_on_that_it_reloads_and_that_it_stops(
    tmp_path: Path, base_port: int, stockfish: str, systemd: Systemd, command: str
) -> None:
    (tmp_path / "run").mkdir()  # as a log collector has
    settings = tmp_path / "rookery.toml"
    settings.write_text(f'run = "{tmp_path}/run"\nbase_port = {base_port}\nengine = "{stockfish}"\n')
    environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "2000000"}
    words = (*command.split(), "--settings", str(settings), *SERVICES[command])
    with Started(words, environment=environment) as service:
        systemd.wait_for("READY=1")
        systemd.wait_for("STATUS=")
        for _ in range(3):
            systemd.wait_for("WATCHDOG=1")
        settings.write_text(settings.read_text() + 'log_level = "warning"\n')
        service.process.send_signal(signal.SIGHUP)
        systemd.wait_for("RELOADING=1")
        systemd.wait_for("READY=1")
        settings.write_text("no TOML")
        service.process.send_signal(signal.SIGHUP)
        systemd.wait_for("RELOADING=1")
        systemd.wait_for("READY=1")
        service.process.send_signal(signal.SIGTERM)
        systemd.wait_for("STOPPING=1")
        ended = service.end()
    assert ended.code == 0, ended.err
    read_again, refused = (line for line in ended.err.splitlines() if "settings" in line and "read again" in line)
    assert "settings read again log_level=warning takes_a_new_start=nothing" in read_again
    assert "settings not read again: going on as before" in refused
    assert "not valid TOML" in refused

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.notify import PINGS_PER_TIMEOUT, STATUS_INTERVAL_S, Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(listening: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(listening.recv(4096).decode())
        except BlockingIOError:
            return messages


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_each_state_is_one_datagram(systemd: socket.socket) -> None:
    notifier = Notifier(systemd.getsockname())
    notifier.ready()
    notifier.reloading()
    notifier.stopping()
    ready, reloading, stopping = heard(systemd)
    assert (ready, stopping) == ("READY=1", "STOPPING=1")
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert reloading.partition("USEC=")[2].isdecimal()


def test_stopping_is_said_once(systemd: socket.socket) -> None:
    notifier = Notifier(systemd.getsockname())
    for _ in range(3):
        notifier.stopping()
    assert heard(systemd) == ["STOPPING=1"]


def test_an_abstract_socket_is_found_behind_its_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0rookery-test-" + str(os.getpid()))
        Notifier(f"@rookery-test-{os.getpid()}").ready()
        assert listening.recv(100) == b"READY=1"


def test_turns_ping_the_watchdog_often_enough_and_no_oftener(systemd: socket.socket) -> None:
    clock = Clock()
    notifier = Notifier(systemd.getsockname(), watchdog_s=8.0, clock=clock)
    pings = []
    for _ in range(800):
        notifier.turn(lambda: "fine")
        pings += [message for message in heard(systemd) if message == "WATCHDOG=1"]
        clock.now_s += 0.01
    assert len(pings) == PINGS_PER_TIMEOUT


def test_without_a_watchdog_nothing_pings(systemd: socket.socket) -> None:
    Notifier(systemd.getsockname()).turn(lambda: "fine")
    assert heard(systemd) == ["STATUS=fine"]


def test_the_status_is_asked_for_only_when_it_is_due_and_is_one_line(systemd: socket.socket) -> None:
    clock = Clock()
    notifier = Notifier(systemd.getsockname(), clock=clock)
    asked: list[float] = []

    def status() -> str:
        asked.append(clock.now_s)
        return "two\nlines"

    for _ in range(100):
        notifier.turn(status)
        clock.now_s += STATUS_INTERVAL_S / 50
    assert len(asked) == 2
    assert heard(systemd) == ["STATUS=two lines"] * 2


def test_without_systemd_nothing_is_said_or_asked() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready()
    notifier.turn(lambda: pytest.fail("asked"))
    assert not notifier.watched


def test_a_systemd_that_has_gone_or_is_busy_hurts_nobody(tmp_path: Path, systemd: socket.socket) -> None:
    Notifier(str(tmp_path / "nobody")).ready()
    notifier = Notifier(systemd.getsockname())
    for _ in range(10_000):  # far more than its socket holds
        notifier.ready()


def test_the_variables_are_taken_out_of_the_environment(systemd: socket.socket) -> None:
    environment = {
        "NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }  # fmt: skip
    notifier = Notifier.from_environment(environment)
    assert notifier.watched
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("variables", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": ""}])
def test_a_watchdog_that_is_not_ours_or_is_nonsense_is_not_fed(
    systemd: socket.socket, variables: dict[str, str]
) -> None:
    environment = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "60000000", **variables}
    assert not Notifier.from_environment(environment).watched


def test_closed_it_says_nothing_more(systemd: socket.socket) -> None:
    notifier = Notifier(systemd.getsockname())
    notifier.close()
    notifier.ready()
    assert heard(systemd) == []

"""What a slow or silent peer may hold of the server, with real sockets."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.until import until
from tests.watch.served import Served, served
from watch import http_connection


@pytest.fixture
def page(tmp_path: Path, base_port: int) -> Iterator[Served]:
    with served(tmp_path, base_port) as found:
        yield found


def connected(page: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", page.port), timeout=10)


def is_cut_off(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", b"POST /api/order HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"]
)
def test_a_request_that_does_not_come_whole_is_waited_for_so_long(page: Served, monkeypatch, said: bytes) -> None:
    monkeypatch.setattr(http_connection, "REQUEST_S", 0.2)
    with connected(page) as peer:
        peer.sendall(said)
        received = b""
        while not is_cut_off(peer):
            received += b"."
        assert not said.startswith(b"GET") or received == b""
    assert page.ask("/").code == 200


def test_one_connection_too_many_is_cut_off_and_the_others_go_on(page: Served, monkeypatch) -> None:
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 1)
    with connected(page) as first:
        first.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.1)
        with connected(page) as second:
            assert is_cut_off(second)
        first.sendall(b"Host: localhost\r\nConnection: close\r\n\r\n")
        assert first.recv(12) == b"HTTP/1.1 200"


def test_a_page_that_never_reads_is_cut_off(page: Served, monkeypatch) -> None:
    monkeypatch.setattr(http_connection, "SEND_S", 0.2)
    broadcast = page.dashboard.broadcast
    with connected(page) as peer:
        peer.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: broadcast.wanted)
        # On and on: sockets take some megabytes, and a client's backlog only so many frames.
        until(lambda: not broadcast.wanted, lambda: (broadcast.publish("logs", b"1" * 1_000_000), time.sleep(0.01)))

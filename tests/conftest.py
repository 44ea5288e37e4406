"""Fixtures for all tests: the shared data, a real Stockfish, free ports."""

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest

from common.errors import OperatorError
from common.keys import KeyHolder
from common.links import Transport
from common.messages import Role
from common.nats.server import find_server
from common.security import reach
from common.settings import Settings
from common.zmq.ports import CHANNELS

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"

T = TypeVar("T")

PORTS = range(15_000, 32_000)
WORKERS = 8

# The machine may be busy: how long an example takes says nothing.
hypothesis.settings.register_profile("rookery", deadline=None)
hypothesis.settings.load_profile("rookery")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real games and awkward files that stands beside the checkout; skips where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no shared data beside the checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def stockfish() -> str:
    """The path of a real Stockfish; skips where there is none, except in CI, where that is a failure."""
    path = shutil.which("stockfish") or shutil.which("stockfish", path="/usr/games:/usr/local/bin")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Stockfish is not installed")
        pytest.skip("Stockfish is not installed")
    return path


@pytest.fixture
def base_port() -> int:
    """The first of as many free ports as a broker needs."""
    return free_base_port()


@pytest.fixture
def transport(base_port: int) -> Transport:
    """An actor's way to a broker that is not there (yet)."""
    return reach(Settings(base_port=base_port), KeyHolder(Role.ACTOR, "actor-0"))


@pytest.fixture
def closing() -> Iterator[Callable[[T], T]]:
    """Takes links and sockets that are closed after the test."""
    kept: list[Any] = []

    def keep(link: T) -> T:
        kept.append(link)
        return link

    yield keep
    for link in kept:
        link.close()


def free_base_port() -> int:
    """Return the first of as many free ports as a broker needs.

    Below the kernel's range for outgoing connections: there, a peer that connects again and again to a broker
    that is away can be given that very port, and meet itself. Tests that run beside each other (pytest-xdist)
    draw from ranges of their own: a port that is free now is taken only later.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    share = len(PORTS) // WORKERS
    while True:
        first = random.choice(PORTS[worker * share : (worker + 1) * share - len(CHANNELS)])
        if all(_is_free(first + offset) for offset in range(len(CHANNELS))):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def nats_server_binary() -> str:
    """The path of a real nats-server; skips where there is none, except in CI, where that is a failure."""
    try:
        return find_server()
    except OperatorError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))

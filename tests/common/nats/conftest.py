"""What the tests on NATS share: a real server with JetStream on a free port, stopped for sure."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.nats.address import NatsAddress
from common.nats.names import NatsNames
from common.nats.server import NatsServer
from common.nats.server_config import NatsServerSettings
from tests.conftest import free_base_port


@pytest.fixture
def server(nats_server_binary: str, tmp_path: Path) -> Iterator[NatsServer]:
    """A server of the test's own, running; it may be killed and started again."""
    made = NatsServer(NatsServerSettings(directory=tmp_path / "nats", port=free_base_port()))
    with made:
        yield made


@pytest.fixture(scope="module")
def shared(nats_server_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One server for all tests of a module, which take a namespace each."""
    made = NatsServer(NatsServerSettings(directory=tmp_path_factory.mktemp("nats"), port=free_base_port()))
    with made:
        yield made


@pytest.fixture
def address(server: NatsServer) -> NatsAddress:
    return NatsAddress.parse(server.address)


_namespaces = itertools.count()


@pytest.fixture
def names() -> NatsNames:
    """A namespace of the test's own."""
    return NatsNames(f"run{next(_namespaces)}")

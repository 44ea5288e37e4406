"""A cluster of three NATS servers on this machine alone: to try out what a cluster does, and for the tests.

Of three, one may fail and nothing is missing: the other two have all that was acknowledged with three replicas. All
of it stays on one machine, so it is no substitute for three hosts. Used by `rookery nats-cluster`.
"""

import asyncio
import fcntl
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from common.errors import OperatorError
from common.nats.server import NatsServer
from common.nats.server_config import ClusterSeat, NatsServerSettings
from common.security import nats_way, operator_of
from common.settings import Settings

if TYPE_CHECKING:
    from common.nats.connection import NatsConnection

NAMES = ("n1", "n2", "n3")
SERVERS = len(NAMES)
PORT = 4222
"""First of the ports: one a server for clients, then one a server for the other servers."""
PORTS = 2 * SERVERS
LOOPBACK = ("127.0.0.1",) * SERVERS
LEADER_S = 60.0
"""How long the servers may take to agree on a leader."""
ASK_S = 1.0
AGAIN_S = 0.1


def seats(directory: Path, port: int = PORT, hosts: Sequence[str] = LOOPBACK) -> list[NatsServerSettings]:
    """Return the settings of the servers of a cluster that keeps all of its things in one directory."""
    clients = [(host, port + number) for number, host in enumerate(hosts)]
    routes = tuple(f"{host}:{port + len(hosts)}" for host, port in clients)
    return [
        NatsServerSettings(
            directory=directory / name,
            host=host,
            port=port,
            name=name,
            seat=ClusterSeat(cluster="rookery", port=port + len(hosts), routes=routes),
        )
        for name, (host, port) in zip(NAMES, clients, strict=True)
    ]


class NatsCluster:
    """Three servers that know each other. A context manager: entered, they have a leader; left, all have stopped.

    What was stored in the directory is there again the next time. One at a time may have the directory.
    """

    def __init__(self, directory: Path, port: int = PORT) -> None:
        self.directory = directory
        self.servers = [NatsServer(settings) for settings in seats(directory, port)]
        self._stack = ExitStack()

    @property
    def address(self) -> str:
        """All of them, as the setting `transport` has it."""
        return address_of([server.settings for server in self.servers])

    def __enter__(self) -> Self:
        with self._stack:
            self._lock()
            for server in self.servers:
                self._stack.enter_context(server)
            wait_for_leader(self.address)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def mend(self, told: Callable[[NatsServer], None]) -> None:
        """Start again what has ended by itself, or was killed, and tell of each; to be called now and then."""
        for server in self.servers:
            if server.pid is None:
                server.start()
                told(server)

    def _lock(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = self._stack.enter_context((self.directory / "lock").open("ab"))
        except OSError as error:
            raise OperatorError(f"{self.directory}: can't write there: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OperatorError(
                f"{self.directory}: another cluster is at work there; choose another directory"
            ) from error


def address_of(servers: list[NatsServerSettings]) -> str:
    """Return how clients reach a cluster, whichever of its servers are there."""
    return "nats://" + ",".join(f"{server.host}:{server.port}" for server in servers)


def wait_for_leader(address: str, timeout_s: float = LEADER_S) -> None:
    """Wait until the servers have agreed on who keeps the list of streams; raise OperatorError if they don't.

    Before that, no stream can be made; the leader alone answers.
    """
    settings = Settings(transport=address, insecure=True)

    async def ask(connection: "NatsConnection") -> None:
        while True:
            with suppress(OperatorError):
                channel.put(await connection.api("INFO", timeout_s=ASK_S))
                return
            await asyncio.sleep(AGAIN_S)

    channel = nats_way(settings, operator_of(settings)).channel(ask, "cluster", quiet=True)
    channel.start()
    try:
        if not channel.wait(timeout_s):
            raise OperatorError(f"the NATS servers at {address} have found no leader within {timeout_s:.0f} s")
    finally:
        channel.close()

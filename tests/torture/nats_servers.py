"""The servers of a cluster as the torture strikes them: who leads what, who has everything, whose disk is slow."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from common.errors import OperatorError
from common.nats.names import NatsNames
from common.nats.server import BINARY, NatsServer, find_server
from deploy.nats_cluster import SERVERS, address_of
from tests.common.nats.driven import Driven
from tests.torture import slow_disk

ASK_S = 1.0


class Servers:
    """Servers of one cluster, which somebody asks. A context manager, entered while they run."""

    def __init__(self, servers: Sequence[NatsServer], names: NatsNames) -> None:
        self._servers = servers
        self._streams = (
            names.units_stream, names.experience_stream, names.logs_stream,
            names.weights.stream, names.games.stream,
        )  # fmt: skip
        self._driven = Driven(address_of([server.settings for server in servers]))

    def __enter__(self) -> Self:
        self._driven.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._driven.__exit__()

    def __iter__(self) -> Iterator[NatsServer]:
        return iter(self._servers)

    def named(self, name: str) -> NatsServer:
        """Return a server."""
        return next(server for server in self if server.settings.name == name)

    def leader_of(self, stream: str, consumer: str = "") -> NatsServer | None:
        """Return the server that leads a stream, or a consumer of it; None where there is none, or nobody says."""
        verb = f"CONSUMER.INFO.{stream}.{consumer}" if consumer else f"STREAM.INFO.{stream}"
        leader = self._cluster(verb).get("leader")
        return self.named(leader) if leader else None

    @property
    def whole(self) -> bool:
        """Whether all servers run, and each has all of every stream."""
        return all(server.pid for server in self) and all(
            len(replicas := self._cluster(f"STREAM.INFO.{stream}").get("replicas") or ()) == SERVERS - 1
            and all(replica["current"] and not replica.get("offline") for replica in replicas)
            for stream in self._streams
        )

    def _cluster(self, verb: str) -> dict[str, Any]:
        connection = self._driven.channel.connection
        if connection is None:
            return {}
        try:
            about = self._driven.do(connection.api(verb, timeout_s=ASK_S))
        except (OperatorError, TimeoutError):
            return {}
        return about.get("cluster") or {}


def kill(server: NatsServer) -> None:
    """Kill a server: no word, no goodbye."""
    server.kill()


def start(server: NatsServer) -> None:
    """Start it again on what it has stored."""
    server.start()


def freeze(server: NatsServer) -> None:
    """Let it run no more, with all of its connections open."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)


def thaw(server: NatsServer) -> None:
    """Let it go on."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGCONT)


def slow_down(server: NatsServer, delay_ms: float) -> None:
    """Have each write to its store, and each sync, take so long; 0 for as fast as it is."""
    file = server.settings.directory / slow_disk.DELAY_FILE
    whole = file.with_suffix(".new")
    whole.write_text(str(delay_ms))
    whole.replace(file)


def slow_server(folder: Path) -> Path:
    """Make a `nats-server` in a folder whose disk can be slowed down; it is one to be found first on PATH."""
    script = folder / BINARY
    words: Sequence[str] = (sys.executable, slow_disk.__file__)
    script.write_text(
        "#!/bin/sh\n"
        f'case "$1" in -c) exec {" ".join(words)} "$(dirname "$2")" {find_server()} "$@";; esac\n'
        f'exec {find_server()} "$@"\n'
    )
    script.chmod(0o755)
    return folder

"""The transports that the NATS benches put side by side, each with whatever has to run for it."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.real_games import games_file
from benchmarks.scale import Scale
from benchmarks.services import free_base_port
from common.nats.server import NatsServer, find_server, server_version
from common.nats.server_config import NatsServerSettings
from common.settings import Settings
from common.zmq.ports import CHANNELS
from deploy.nats_cluster import NatsCluster

ZMQ = "ZeroMQ"
NATS = "NATS"
NATS_3 = "NATS, 3 replicas"
ALL = (ZMQ, NATS, NATS_3)
_SENT = re.compile(r"\bbytes_sent:(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A transport that is ready for a broker."""

    name: str
    directory: Path
    base_port: int
    """First of as many ports as the channels of ZeroMQ; NATS servers listen on these, too."""
    transport: str
    replicas: int
    servers: Sequence[psutil.Process]

    def settings(self, **more: Any) -> Settings:
        """Return the settings of a run here, of more games than any bench goes through."""
        return Settings(
            **{"games": (str(games_file()),) * 4, "log_level": "warning"} | more,
            run=str(self.directory / "run"), base_port=self.base_port, transport=self.transport,
            replicas=self.replicas,
        )  # fmt: skip

    def wire_bytes(self) -> int:
        """Return how many bytes all connections that are open here have carried, as TCP counts them: each once."""
        last = self.base_port + len(CHANNELS)
        ends = [f"( {end} >= :{self.base_port} and {end} < :{last} )" for end in ("sport", "dport")]
        said = subprocess.run(["ss", "-tinH", " or ".join(ends)], capture_output=True, text=True, check=True)
        return sum(map(int, _SENT.findall(said.stdout)))


@contextmanager
def site(name: str, scale: Scale) -> Iterator[Site]:
    """Have the servers of a transport run while the block does."""
    base_port = free_base_port()
    transport, replicas, pids = "zmq", 1, []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(dir=scale.work)))
        if name == NATS:
            settings = NatsServerSettings(directory=directory / "nats", port=base_port)
            server = stack.enter_context(NatsServer(settings))
            transport, pids = server.address, [server.pid]
        elif name == NATS_3:
            cluster = stack.enter_context(NatsCluster(directory / "nats", base_port))
            transport, replicas, pids = cluster.address, 3, [server.pid for server in cluster.servers]
        yield Site(
            name=name, directory=directory, base_port=base_port, transport=transport, replicas=replicas,
            servers=[psutil.Process(pid) for pid in pids],
        )  # fmt: skip


def about_server() -> str:
    """Return which server it is, and whether it has messages on disk before it acknowledges them."""
    version = server_version(find_server())
    syncs = tuple(map(int, version.split(".")[:2])) >= (2, 10)
    return f"nats-server {version}, " + ("each message synced" if syncs else "synced every two minutes")

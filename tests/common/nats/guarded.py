"""A real server started with what `rookery keys init --nats` writes, and the ways of who has a key there."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from common.keys import BROKER, KeyHolder
from common.nats.address import NatsAddress
from common.nats.fleet_config import Fleet
from common.nats.keys import NatsKeys
from common.nats.login import NatsLogin
from common.nats.names import NatsNames
from common.nats.server import find_server, server_version
from common.nats.way import NatsWay
from tests.conftest import free_base_port
from tests.until import until


class GuardedServer:
    """One server and its directory of keys; a context manager."""

    def __init__(self, folder: Path, names: NatsNames) -> None:
        self.directory, self.names, self.port = folder / "keys", names, free_base_port()
        self.fleet = Fleet.parse(["127.0.0.1"], port=self.port, store=folder / "store")
        self.keys = NatsKeys(self.directory)
        self.keys.init(self.fleet, names)
        configuration = self.keys.configuration_file
        configuration.write_text(understood(configuration.read_text()))
        self._log = folder / "nats-server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._reloads = 0

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [find_server(), "-c", str(self.keys.configuration_file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            until(lambda: "Server is ready" in self.log or self._process.poll() is not None)
            assert self._process.poll() is None, self.log
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def violations(self) -> list[str]:
        """What somebody tried, and was not allowed to, in the server's words."""
        return [line.partition(" - ")[2] for line in self.log.splitlines() if "Violation" in line]

    def reload(self) -> None:
        """Have the server read its files again, as `nats-server --signal reload` does."""
        assert self._process is not None
        self._reloads += 1
        os.kill(self._process.pid, signal.SIGHUP)
        until(lambda: self.log.count("Reloaded server configuration") == self._reloads)

    def allow(self, *holders: KeyHolder) -> None:
        """Make keys for whoever has none yet, and have the server know them."""
        new = [holder for holder in holders if holder is not BROKER and not self.keys.has_secret(holder)]
        for holder in new:
            self.keys.add(holder)
        if new and self._process is not None:
            self.reload()

    def way(self, holder: KeyHolder) -> NatsWay:
        """Return the way of a holder who has a key."""
        return NatsWay(
            NatsAddress.parse(self.fleet.transport), self.names, holder, NatsLogin.of(self.directory, holder)
        )

    def connect(self) -> socket.socket:
        """Return a connection in the clear, of somebody who may be anybody."""
        return socket.create_connection(("127.0.0.1", self.port), 5.0)


def understood(configuration: str) -> str:
    """Return a configuration without `sync_interval` where the server at hand is before 2.10, as the file says."""
    version = tuple(int(part) for part in re.findall(r"\d+", server_version(find_server()))[:2])
    assert configuration.count("\n  sync_interval: always\n") == 1
    return configuration if version >= (2, 10) else configuration.replace("\n  sync_interval: always\n", "\n")

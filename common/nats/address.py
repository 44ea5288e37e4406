"""Where the servers of a NATS cluster are, as the setting `transport` has it: nats://host:port[,host:port…]. Pure.

tls:// says that nothing goes in the clear. All servers of the cluster can be named; one that answers is enough.
"""

import re
from dataclasses import dataclass
from typing import Self

from common.errors import SettingsError

PORT = 4222
SCHEMES = ("nats", "tls")
_ADDRESS = re.compile(r"(nats|tls)://(.+)", re.DOTALL)
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """The servers of one cluster."""

    servers: tuple[tuple[str, int], ...]
    """Host and port of each."""
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address; raise SettingsError, one clear line, for what is none."""
        address = _ADDRESS.fullmatch(text)
        found = [_SERVER.fullmatch(server.strip(" ")) for server in address[2].split(",")] if address else []
        servers = [(server[1], int(server[2] or PORT)) for server in found if server is not None]
        if address is None or len(servers) < len(found) or not all(0 < port < 65536 for _, port in servers):
            raise SettingsError(
                f"--transport {text!r}: zmq, nats, or servers: nats://HOST:PORT[,HOST:PORT…], or tls://…"
            )
        return cls(tuple(servers), tls=address[1] == "tls")

    @property
    def hosts(self) -> list[str]:
        """Its hosts, for who asks whether all of them are this machine."""
        return [host.strip("[]") for host, _ in self.servers]

    @property
    def urls(self) -> list[str]:
        """One address for each server."""
        scheme = SCHEMES[self.tls]
        return [f"{scheme}://{host}:{port}" for host, port in self.servers]

    def __str__(self) -> str:
        return f"{SCHEMES[self.tls]}://{','.join(f'{host}:{port}' for host, port in self.servers)}"

"""The configuration file of a nats-server that is ours alone, as text. Pure."""

import json
from dataclasses import dataclass
from pathlib import Path

MAX_PAYLOAD_BYTES = 1024 * 1024
"""The server's own default: larger messages make every other one wait."""
WRITE_DEADLINE_S = 60
"""How long a peer may take to read what was written to it: on a thin link, the 10 s of the server's default are
over before a part of a batch is through, and the peer is cut off for it."""
PING_INTERVAL_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSeat:
    """A server's place in a cluster."""

    cluster: str
    """Name of the cluster."""
    port: int
    """Where the others reach it."""
    routes: tuple[str, ...]
    """Where all of them are reached, this one among them: host:port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsServerSettings:
    """One server process: where it keeps its things, where it listens."""

    directory: Path
    """Of its store, its configuration and its log; made where it is missing."""
    port: int
    host: str = "127.0.0.1"
    name: str = "rookery"
    """Of this server; no two of a cluster are called the same."""
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    seat: ClusterSeat | None = None
    """None for a server that stands alone."""
    more: str = ""
    """Further configuration as it stands: TLS, who may come in."""

    @property
    def configuration_file(self) -> Path:
        """Where its configuration is."""
        return self.directory / "nats-server.conf"

    @property
    def log_file(self) -> Path:
        """Where everything that it prints is appended."""
        return self.directory / "nats-server.log"

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"nats://{self.host}:{self.port}"


def configuration(settings: NatsServerSettings, *, sync_always: bool) -> str:
    """Return the configuration; with `sync_always`, which servers know from 2.10 on, no message is acknowledged
    before it is on disk, else the disk is synced every two minutes.
    """
    lines = [
        f"host: {_text(settings.host)}",
        f"port: {settings.port}",
        f"server_name: {_text(settings.name)}",
        f"max_payload: {settings.max_payload_bytes}",
        f'write_deadline: "{WRITE_DEADLINE_S}s"',
        f'ping_interval: "{PING_INTERVAL_S}s"',
        "jetstream {",
        f"  store_dir: {_text(str(settings.directory.absolute()))}",
        *(["  sync_interval: always"] if sync_always else []),
        "}",
    ]
    seat = settings.seat
    if seat is not None:
        routes = ", ".join(_text(f"nats://{route}") for route in seat.routes)
        lines += [
            "cluster {",
            f"  name: {_text(seat.cluster)}",
            f"  listen: {_text(f'{settings.host}:{seat.port}')}",
            f"  routes: [{routes}]",
            "}",
        ]
    return "\n".join([*lines, *([settings.more] if settings.more else [])]) + "\n"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)

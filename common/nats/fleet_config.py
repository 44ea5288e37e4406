"""The configuration that a fleet's servers are started with, and its list of who may come in, as text. Pure."""

import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import SettingsError
from common.keys import KeyHolder
from common.nats.address import PORT
from common.nats.names import NatsNames
from common.nats.permissions import SERVERS, permissions_of
from common.nats.server_config import MAX_PAYLOAD_BYTES, PING_INTERVAL_S, WRITE_DEADLINE_S

ROUTES_PORT = 6222
STORE = Path("/var/lib/rookery-nats")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
HANDSHAKE_S = 10
"""How long TLS may take: on a thin link, or while a thousand come at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The servers of a fleet, as they are configured."""

    servers: tuple[tuple[str, ...], ...]
    """Names and addresses of each server's host; the others reach it at the first."""
    port: int = PORT
    """Where clients reach each of them."""
    store: Path = STORE
    """Of each server's streams."""

    @classmethod
    def parse(cls, hosts: Iterable[str], *, port: int = PORT, store: Path = STORE) -> "Fleet":
        """Read hosts as they are typed, one a server, further names of the same after commas."""
        servers = tuple(tuple(name.strip() for name in host.split(",")) for host in hosts)
        for server in servers:
            for name in server:
                if not _is_host(name):
                    raise SettingsError(f"--host {','.join(server)!r}: {name!r} is no name or address of a host")
        if len({server[0] for server in servers}) < len(servers):
            raise SettingsError("--host: once for each server; its further names stand after commas")
        return cls(servers=servers, port=port, store=store)

    @property
    def hosts(self) -> list[str]:
        """Every name and address at which one of them is reached, from its own host, too."""
        return list(dict.fromkeys(name for server in (*self.servers, LOOPBACK) for name in server))

    @property
    def transport(self) -> str:
        """The setting `transport` of who uses them."""
        return "tls://" + ",".join(f"{_bracketed(server[0])}:{self.port}" for server in self.servers)

    @property
    def everywhere(self) -> str:
        """Where a server listens: on all addresses of its host."""
        return "[::]" if any(":" in name for server in self.servers for name in server) else "0.0.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFiles:
    """The files that the configuration names."""

    configuration: Path
    users: Path
    ca: Path
    certificate: Path
    key: Path


def configuration(fleet: Fleet, files: ConfigFiles) -> str:
    """Return the configuration, the same for each server of the fleet."""
    alone = len(fleet.servers) == 1
    name = "" if alone else " --name NAME   (another one for each server)"
    return f"""\
# A NATS server for Rookery, written once by `rookery keys init --nats`: from here on it is yours to change.
#
#   start:   nats-server -c {files.configuration}{name}
#   reload:  nats-server --signal reload
#
# Reload after each `rookery keys add` or `revoke`, with {files.users.name} copied to each server: who was
# revoked is cut off at once, and nobody else notices. The files named here belong to whoever runs the server, and
# are at the same place on each server's host.

{f"server_name: {_text(fleet.servers[0][0])}" if alone else "# server_name: by the flag --name"}
listen: "{fleet.everywhere}:{fleet.port}"
max_payload: {MAX_PAYLOAD_BYTES}
write_deadline: "{WRITE_DEADLINE_S}s"
ping_interval: "{PING_INTERVAL_S}s"

tls {{
  cert_file: {_text(files.certificate)}
  key_file: {_text(files.key)}
  timeout: {HANDSHAKE_S}
}}

jetstream {{
  store_dir: {_text(fleet.store)}
  # No message is acknowledged before it is on disk. Without it, what was acknowledged in the last two minutes can
  # be lost when power fails. A server before 2.10 doesn't know it and won't start: have a newer one, or take the
  # line out.
  sync_interval: always
}}
{"" if alone else _cluster(fleet, files)}
accounts {{
  # What `rookery doctor` asks: how the servers are set.
  SYS {{
    exports: [{{ service: "{SERVERS}", response_type: stream }}]
  }}
  ROOKERY {{
    jetstream: enabled
    imports: [{{ service: {{ account: SYS, subject: "{SERVERS}" }} }}]
    include {_text(files.users.name)}
  }}
}}
system_account: SYS
"""


def users(allowed: Iterable[tuple[KeyHolder, str]], names: NatsNames) -> str:
    """Return the list of who may come in, with which public key, and what each may say and hear."""
    entries = []
    for holder, public in allowed:
        permissions = permissions_of(holder, names)
        entries.append(
            f"  # {holder}\n"
            f"  {{\n"
            f"    nkey: {public}\n"
            f"    permissions: {{\n"
            f"      publish: {json.dumps(permissions.publish)}\n"
            f"      subscribe: {json.dumps(permissions.subscribe)}\n"
            f"    }}\n"
            f"  }}\n"
        )
    return (
        f"# Who may come in, and what each may say and hear, in the namespace {names.namespace}.\n"
        f"# Written anew by each `rookery keys add` and `revoke`: don't change it here.\n"
        f"users: [\n{''.join(entries)}]\n"
    )


def _cluster(fleet: Fleet, files: ConfigFiles) -> str:
    routes = ", ".join(f'"nats://{_bracketed(server[0])}:{ROUTES_PORT}"' for server in fleet.servers)
    return f"""
cluster {{
  name: "rookery"
  listen: "{fleet.everywhere}:{ROUTES_PORT}"
  # Only who has a certificate of the same authority is one of us.
  tls {{
    cert_file: {_text(files.certificate)}
    key_file: {_text(files.key)}
    ca_file: {_text(files.ca)}
    verify: true
    timeout: {HANDSHAKE_S}
  }}
  routes: [{routes}]
}}
"""


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return _NAME.fullmatch(name) is not None
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _text(value: Path | str) -> str:
    return json.dumps(str(value), ensure_ascii=False)

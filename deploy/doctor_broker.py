"""The doctor's look at the ports and the broker: free, taken by a broker of ours, or by somebody else.

For a broker on this host its ports must be free or its own; one elsewhere must be reachable on all of them, and
speak our version of the protocol.
"""

import errno
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import psutil

from common.errors import BrokerUnreachable, KeptOut, MessageError, Refused, SettingsError
from common.messages import Status
from common.security import ZMQ, reach_as_operator
from common.settings import Settings
from common.zmq.ports import CHANNELS
from deploy.finding import Facts, Finding, fail, ok, warn

CONNECT_S = 2.0
ANSWER_S = 2.0


def check_broker(settings: Settings) -> Iterator[Finding]:
    """Look at the ports of the broker that the settings name, or at the NATS servers."""
    if settings.transport != ZMQ:
        try:
            from deploy.doctor_nats import check_nats
        except ModuleNotFoundError as error:
            advice = "pip install 'rookery[nats]'"
            yield fail("nats", f"--transport {settings.transport}: {error.name} is not installed", advice, {})
            return
        yield from check_nats(settings)
        return
    ports = range(settings.base_port, settings.base_port + len(CHANNELS))
    try:
        addresses = _addresses(settings.broker)
    except (OSError, UnicodeError) as error:
        advice = "check --broker, and that this host can resolve the name"
        yield fail("broker", f"no host {settings.broker!r}: {error}", advice, _facts(settings))
        return
    yield _local(settings, ports) if _are_ours(addresses) else _remote(settings, ports)


def is_here(host: str) -> bool:
    """Whether a host is this one; raises OSError or UnicodeError for a name that none has."""
    return _are_ours(_addresses(host))


def _addresses(host: str) -> set[str]:
    return {str(info[4][0]) for info in socket.getaddrinfo(host, None)}


def _are_ours(addresses: Iterable[str]) -> bool:
    """Whether one of the addresses is this host's."""
    own = {found.address.split("%")[0] for each in psutil.net_if_addrs().values() for found in each}
    return any(address in own or ipaddress.ip_address(address.split("%")[0]).is_loopback for address in addresses)


def _local(settings: Settings, ports: range) -> Finding:
    states = {port: _bind(settings.bind, port) for port in ports}
    span, facts = _span(ports), _facts(settings)
    if errno.EADDRNOTAVAIL in states.values():
        return fail("ports", f"{settings.bind} is not an address of this host", "check --bind", facts)
    if errno.EACCES in states.values():
        return fail("ports", f"{span} need rights of root", "choose a --base-port of 1024 or more", facts)
    elsewhere = settings.broker != settings.bind  # a broker may listen on another of this host's addresses
    taken = [port for port, state in states.items() if state or (elsewhere and _connect(settings.broker, port))]
    if not taken:
        return ok("ports", f"{span} on {settings.bind} are free for a broker", facts)
    try:
        return of_version(ask(settings), f"{settings.broker}:{settings.base_port}", facts)
    except Refused as error:
        return fail("broker", str(error), SAME_RELEASE, facts)
    except KeptOut as error:
        return fail("broker", str(error), _KEYS, facts)
    except SettingsError as error:
        return warn("broker", f"something listens there; it was not asked: {error}", _NO_ORDERS, facts)
    except (BrokerUnreachable, MessageError):
        names = ", ".join(f"{port}{_holder(port)}" for port in taken)
        return fail(
            "ports", f"taken on {settings.bind}: {names}; no broker answers there", _other_ports(settings), facts
        )


def _remote(settings: Settings, ports: range) -> Finding:
    with ThreadPoolExecutor(len(ports)) as pool:
        reached = list(pool.map(lambda port: _connect(settings.broker, port), ports))
    closed = [str(port) for port, is_open in zip(ports, reached, strict=True) if not is_open]
    where, facts = f"{settings.broker}:{settings.base_port}", _facts(settings)
    if len(closed) == len(ports):
        return fail(
            "broker",
            f"{settings.broker} can't be reached on {_span(ports)}",
            "start it there with `rookery-broker --bind 0.0.0.0`, open these ports in its firewall, and check "
            "--broker and --base-port",
            facts,
        )
    try:
        found = of_version(ask(settings), where, facts)
    except Refused as error:
        return fail("broker", str(error), SAME_RELEASE, facts)
    except KeptOut as error:
        return fail("broker", str(error), _KEYS, facts)
    except SettingsError as error:
        return warn("broker", f"something listens there; it was not asked: {error}", _NO_ORDERS, facts)
    except (BrokerUnreachable, MessageError):
        return fail("broker", f"something listens at {where}, but no broker answers", "check --base-port", facts)
    if closed:
        return fail(
            "broker",
            f"the broker at {where} answers, but these ports can't be reached: {', '.join(closed)}",
            f"open {_span(ports)} in its firewall",
            facts,
        )
    return found


SAME_RELEASE = "install the same release of Rookery on all hosts"
_NO_ORDERS = "nothing to do, unless this host is to give orders"
_KEYS = "give --keys with the keys that this host was enrolled with (docs/operations.md, Keys)"


def _facts(settings: Settings) -> Facts:
    return {"broker": settings.broker, "base_port": settings.base_port}


def ask(settings: Settings) -> Status:
    """Ask the broker how things stand; raises as links do."""
    link = reach_as_operator(settings).operator()
    try:
        return link.status(ANSWER_S)
    finally:
        link.close()


def of_version(status: Status, where: str, facts: Facts) -> Finding:
    """Return what a broker that answers comes to: of our release or another."""
    ours = version("rookery")
    summary = f"a broker answers at {where}: release {status.software}, {len(status.services)} services connected"
    facts = {**facts, "software": status.software, "services": len(status.services)}
    if status.software != ours:
        return warn("broker", f"{summary}; this host has {ours}, of the same protocol", SAME_RELEASE, facts)
    return ok("broker", summary, facts)


def _bind(host: str, port: int) -> int:
    """Return 0 if this host can listen on a port, else the system's error number."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            return errno.EADDRNOTAVAIL
        except OSError as error:
            return error.errno or errno.EADDRINUSE
    return 0


def _connect(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), CONNECT_S):
            return True
    except OSError:
        return False


def _holder(port: int) -> str:
    """Return who listens on a port, as far as the system tells."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                return f" by {psutil.Process(connection.pid).name()} ({connection.pid})" if connection.pid else ""
    except (psutil.Error, OSError):
        pass
    return ""


def _other_ports(settings: Settings) -> str:
    """Return what to do about taken ports: name the next ones that are free."""
    for base in range(settings.base_port + len(CHANNELS), min(settings.base_port + 2000, 65536 - len(CHANNELS))):
        if not any(_bind(settings.bind, port) for port in range(base, base + len(CHANNELS))):
            return f"end that program, or choose other ports: --base-port {base}"
    return "end that program, or choose other ports with --base-port"


def _span(ports: range) -> str:
    return f"ports {ports[0]} to {ports[-1]}"

"""Checks before a start: what would go wrong later is said now, in one line."""

import errno
import socket
from pathlib import Path

from actor.engine import Engine
from common.errors import OperatorError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.security import OWN_SERVER, ZMQ, listen, nats_way, operator_of
from common.settings import EvaluationSource, Settings
from common.zmq.keys import KeyDirectory
from common.zmq.ports import CHANNELS

WILDCARDS = ("0.0.0.0", "::", "*")
"""Values of `bind` that mean every address of this host."""


def check_engine(settings: Settings) -> None:
    """Raise EngineNotUsable unless the engine that the settings name starts and speaks UCI."""
    if settings.evals is not EvaluationSource.PGN:
        with Engine(settings.engine, nodes=settings.nodes):
            pass


def check_ports(settings: Settings) -> None:
    """Raise OperatorError when one of the broker's ports is taken; on NATS it has none."""
    if settings.transport != ZMQ:
        return
    taken = [port for port in ports(settings) if not port_is_free(settings.bind, port)]
    if taken:
        raise OperatorError(
            f"port {taken[0]} on {settings.bind} is taken (needed: {settings.base_port} to "
            f"{settings.base_port + len(CHANNELS) - 1}); is another run going on? Choose another --base-port"
        )


def check_transport(settings: Settings) -> None:
    """Raise OperatorError where the transport can't be had: for want of its extra, or of a server."""
    if settings.transport != ZMQ:
        way = nats_way(settings, BROKER)
        from common.nats.knock import knock  # with the extra `nats`
        from deploy.own_server import check_server

        if settings.transport == OWN_SERVER:
            check_server(settings)
        else:
            knock(way)


def check_keys(settings: Settings) -> list[str]:
    """Make the keys of this run's own processes that are missing, and return whose those are.

    On NATS they are all to be there already: the servers must know them. Raises SettingsError for a directory of
    keys that can't be used, and off loopback for none at all.
    """
    holders = [operator_of(settings), KeyHolder(Role.COLLECTOR, "logs")]
    holders += [KeyHolder(Role.LEARNER, agent.name) for agent in settings.agents]
    holders += [KeyHolder(Role.ACTOR, f"actor-{number}") for number in range(settings.actors)]
    if settings.transport != ZMQ:
        for holder in (BROKER, *holders):
            nats_way(settings, holder)
        return []
    listen(settings)
    if settings.keys is None:
        return []
    directory = KeyDirectory(Path(settings.keys))
    made = [holder for holder in holders if not directory.has_secret(holder)]
    for holder in made:
        directory.add(holder)
    for holder in holders:
        directory.peer(holder)
    return [str(holder) for holder in made]


def check_device(settings: Settings) -> None:
    """Raise SettingsError when the settings name a GPU that is not there; asking for any other takes no time."""
    if settings.device.startswith("cuda"):
        from learner.devices import choose_device  # with torch, which takes seconds to load

        choose_device(settings, settings.agents[0].name)


def reachable_at(settings: Settings) -> str:
    """Return where the services of this host reach the broker that listens as the settings say."""
    return settings.broker if settings.bind in WILDCARDS else settings.bind


def ports(settings: Settings) -> range:
    """Return the broker's ports."""
    return range(settings.base_port, settings.base_port + len(CHANNELS))


def port_is_free(host: str, port: int) -> bool:
    """Whether this host can listen on a port; raises OperatorError for an address that is not its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise OperatorError(
                    f"--bind {host}: not an address of this host; give one of its own, or 0.0.0.0 for all"
                ) from error
            if error.errno == errno.EACCES:
                raise OperatorError(
                    f"port {port}: not allowed to listen there; choose a --base-port over 1023"
                ) from error
            return False
    return True

"""How the broker is reached, in the clear or with keys: decided here, from the settings, and nowhere else.

On loopback both will do; anywhere else it takes keys, or `insecure` in so many words.
"""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import OperatorError, SettingsError
from common.keys import KeyHolder
from common.links import Transport
from common.messages import Role
from common.settings import Settings
from common.zmq.keys import BrokerKeys, KeyDirectory
from common.zmq.ports import Ports
from common.zmq.transport import ZmqTransport

if TYPE_CHECKING:
    from common.nats.address import NatsAddress
    from common.nats.way import NatsWay

ZMQ = "zmq"
"""Value of the setting `transport`: the embedded one. Any other is the address of a NATS cluster."""
RENEWALS = 10
"""Times that a lease on NATS is renewed, while its actor gets on, before it would run out."""
OWN_SERVER = "nats"
"""The same: a NATS server at the broker's host and base port, which `rookery up` starts for its run."""


def reach(settings: Settings, holder: KeyHolder) -> Transport:
    """Return the way to the broker, with the keys with which `holder` connects to it.

    Raises SettingsError for a broker off loopback without keys, and for keys that are missing or unusable.
    """
    if settings.transport != ZMQ:
        way = nats_way(settings, holder)
        from common.nats.transport import NatsTransport

        return NatsTransport(way)
    keys = None
    if settings.keys is not None:
        keys = KeyDirectory(Path(settings.keys)).peer(holder)
    else:
        _refuse_clear(settings, "broker", settings.broker)
    return ZmqTransport(Ports(host=settings.broker, base_port=settings.base_port, keys=keys))


def nats_way(settings: Settings, holder: KeyHolder) -> "NatsWay":
    """Return the way to the NATS cluster that the settings name, with what `holder` shows to its servers.

    Raises SettingsError as `reach` does, and OperatorError where Rookery was installed without its extra.
    """
    try:
        from common.nats.login import NOBODY, NatsLogin
        from common.nats.names import NatsNames
        from common.nats.way import NatsWay
    except ModuleNotFoundError as error:
        lacking = (error.name or "a package").partition(".")[0]
        raise OperatorError(
            f"--transport {settings.transport}: {lacking} is not installed; pip install 'rookery[nats]'"
        ) from error
    address = nats_address(settings)
    login = NOBODY
    if settings.keys is not None:
        login = NatsLogin.of(Path(settings.keys), holder)
    else:
        for host in address.hosts:
            _refuse_clear(settings, "transport", host)
    return NatsWay(
        address=address, names=NatsNames(settings.namespace), holder=holder, login=login,
        renew_after_s=settings.lease_timeout_s / RENEWALS,
    )  # fmt: skip


def nats_address(settings: Settings) -> "NatsAddress":
    """Return where the NATS servers are that the settings name; raise SettingsError where they name none."""
    from common.nats.address import NatsAddress

    own = settings.transport == OWN_SERVER
    return NatsAddress.parse(f"nats://{settings.broker}:{settings.base_port}" if own else settings.transport)


def reach_as_operator(settings: Settings) -> Transport:
    """Return what `reach` does, for status and orders: with the operator's key that the settings name."""
    return reach(settings, operator_of(settings))


def operator_of(settings: Settings) -> KeyHolder:
    """Return whose key status and orders are given with."""
    return KeyHolder(Role.OPERATOR, settings.operator)


def listen(settings: Settings) -> tuple[Ports, BrokerKeys | None]:
    """Return where the broker listens, and its keys; None means in the clear.

    Raises SettingsError for an address off loopback without keys, and for keys that are missing or unusable.
    """
    keys = None
    if settings.keys is not None:
        keys = KeyDirectory(Path(settings.keys)).broker()
    else:
        _refuse_clear(settings, "bind", settings.bind)
    return Ports(host=settings.bind, base_port=settings.base_port), keys


def is_loopback(host: str) -> bool:
    """Whether an address is this host's alone; a name other than localhost is taken for one that is not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_clear(settings: Settings, flag: str, host: str) -> None:
    if not is_loopback(host) and not settings.insecure:
        raise SettingsError(
            f"--{flag} {host} is not this machine alone: give --keys DIR (`rookery keys init` makes one), "
            "or --insecure to let everybody on that network in, unencrypted"
        )

"""The doctor's look at the keys: whether this host may go off loopback, and as whom."""

from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import SettingsError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.security import ZMQ, is_loopback, nats_address
from common.settings import Settings
from common.zmq.keys import KeyDirectory
from deploy.finding import Facts, Finding, fail, ok, warn

Check = Callable[[KeyHolder], object]
"""Raises SettingsError for a key that can't be used."""


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Look at the keys that the settings name, or at whether it goes without."""
    if settings.keys is None:
        yield _without(settings)
        return
    on_nats = settings.transport != ZMQ
    try:
        holders, check = _on_nats(settings.keys) if on_nats else _on_zeromq(settings.keys)
    except ModuleNotFoundError as error:
        yield fail("keys", f"{error.name} is not installed", "pip install 'rookery[nats]'", {"keys": settings.keys})
        return
    facts: Facts = {"keys": settings.keys, "holders": ", ".join(map(str, holders))}
    try:
        for holder in holders:
            check(holder)
    except SettingsError as error:
        yield fail("keys", str(error), "", facts)
        return
    if not holders:
        secrets, where = ("*.nk", "Keys on NATS") if on_nats else ("*.key_secret", "Keys")
        advice = f"copy this host's {secrets} there (docs/operations.md, {where})"
        yield fail("keys", f"no secret key in {settings.keys}: nothing here can connect", advice, facts)
        return
    yield ok("keys", f"this host has the keys of {', '.join(map(str, holders))}", facts)


def _on_zeromq(keys: str) -> tuple[list[KeyHolder], Check]:
    directory = KeyDirectory(Path(keys))
    holders = [KeyHolder(role, name) for role in Role for name in directory.names(role)]
    return [*holders, *([BROKER] if directory.has_secret(BROKER) else [])], directory.peer


def _on_nats(keys: str) -> tuple[list[KeyHolder], Check]:
    from common.nats.keys import NatsKeys  # with the extra `nats`

    directory = NatsKeys(Path(keys))
    return directory.holders(), directory.check_secret


def _without(settings: Settings) -> Finding:
    if settings.transport == ZMQ:
        places, make = {"broker": [settings.broker], "bind": [settings.bind]}, "rookery keys init"
    else:
        places, make = {"transport": nats_address(settings).hosts}, "rookery keys init --nats"
    facts: Facts = {flag: ",".join(hosts) for flag, hosts in places.items()}
    facts |= {"insecure": settings.insecure}
    away = [f"--{flag} {host}" for flag, hosts in places.items() for host in hosts if not is_loopback(host)]
    if not away:
        return ok("keys", "none, and none needed: everything stays on loopback", facts)
    if settings.insecure:
        advice = f"make keys: {make}"
        return warn("keys", f"{' and '.join(away)} without keys: whoever reaches it may take part", advice, facts)
    return fail(
        "keys", f"{' and '.join(away)} needs keys", "give --keys, or --insecure on a network you trust", facts
    )

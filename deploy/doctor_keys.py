"""The doctor's look at the keys: whether this host may go off loopback, and as whom."""

from collections.abc import Iterator
from pathlib import Path

from common.errors import SettingsError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.security import is_loopback
from common.settings import Settings
from common.zmq.keys import KeyDirectory
from deploy.finding import Facts, Finding, fail, ok, warn


def check_keys(settings: Settings) -> Iterator[Finding]:
    """Look at the keys that the settings name, or at whether it goes without."""
    if settings.keys is None:
        yield _without(settings)
        return
    directory = KeyDirectory(Path(settings.keys))
    holders = [KeyHolder(role, name) for role in Role for name in directory.names(role)]
    holders += [BROKER] if directory.has_secret(BROKER) else []
    facts: Facts = {"keys": settings.keys, "holders": ", ".join(map(str, holders))}
    try:
        for holder in holders:
            directory.peer(holder)
    except SettingsError as error:
        yield fail("keys", str(error), "", facts)
        return
    if not holders:
        advice = "copy this host's *.key_secret there (docs/operations.md, Keys)"
        yield fail("keys", f"no secret key in {settings.keys}: nothing here can connect", advice, facts)
        return
    yield ok("keys", f"this host has the keys of {', '.join(map(str, holders))}", facts)


def _without(settings: Settings) -> Finding:
    hosts = {"broker": settings.broker, "bind": settings.bind}
    facts: Facts = {**hosts, "insecure": settings.insecure}
    away = [f"--{flag} {host}" for flag, host in hosts.items() if not is_loopback(host)]
    if not away:
        return ok("keys", "none, and none needed: everything stays on loopback", facts)
    if settings.insecure:
        advice = "make keys: rookery keys init"
        return warn("keys", f"{' and '.join(away)} without keys: whoever reaches it may take part", advice, facts)
    return fail(
        "keys", f"{' and '.join(away)} needs keys", "give --keys, or --insecure on a network you trust", facts
    )

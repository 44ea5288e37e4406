"""The doctor's look at a run on NATS: its servers, whom they let in, what they keep and how, and its broker."""

import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from common.errors import BrokerUnreachable, MessageError, OperatorError, Refused
from common.keys import KeyHolder
from common.nats.address import NatsAddress
from common.nats.channel import NatsChannel, State
from common.nats.connection import NatsConnection
from common.nats.keys import NatsKeys
from common.nats.server import find_server, server_version
from common.nats.survey import SYNCS_FROM, Greeting, ServerState, greeting_of, states, version_of
from common.security import OWN_SERVER, nats_address, nats_way, operator_of
from common.settings import Settings
from deploy.doctor_broker import SAME_RELEASE, ask, is_here, of_version
from deploy.finding import Facts, Finding, Verdict, fail, ok, warn

CONNECT_S = 5.0
ASK_S = 10.0
_KEYS = "is that key in the servers' users.conf, and were they reloaded? See docs/operations.md, Keys on NATS"
_START = "start nats-server there, open its port in the firewall, and check --transport"
_JETSTREAM = "give its configuration a `jetstream` section (`rookery keys init --nats` writes one)"
_ALWAYS = "put `sync_interval: always` into `jetstream` in the configuration of these servers"
_NEWER = "install nats-server 2.10 or later, and set `sync_interval: always`"
_SYNC = re.compile(r"^[^#\n]*\bsync_interval\"?\s*[:=]?\s*\"?always\b", re.MULTILINE)


def check_nats(settings: Settings) -> Iterator[Finding]:
    """Look at the servers that the settings name, and at the broker behind them."""
    address = nats_address(settings)
    greetings, silent = _greet(address)
    if settings.transport == OWN_SERVER and not greetings:
        yield _own_server(address)
        return
    reached = _reached(address, greetings, silent, settings)
    yield reached
    if reached.verdict is Verdict.FAIL:
        return
    holder = _holder(settings)
    if holder is None:
        yield warn("nats login", "no key here to come in with", _KEYS, {})
        return
    channel = nats_way(settings, holder).channel(_idle, "doctor", quiet=True)
    channel.start()
    try:
        channel.wait_until(lambda: channel.state in (State.CONNECTED, State.REFUSED), CONNECT_S)
        yield _let_in(channel, holder, settings)
        connection = channel.connection
        if connection is None:
            return
        told = channel.submit(states(connection)).result(ASK_S)
    finally:
        channel.close()
    yield _jetstream(greetings, told, settings)
    yield _on_disk(greetings, told)
    if holder == operator_of(settings):
        yield _broker(settings)


def _own_server(address: NatsAddress) -> Finding:
    """Look at what `rookery up` starts its server with."""
    try:
        binary = find_server()
        told = f"nats-server {server_version(binary)}, {binary}: `rookery up` starts it at {address}"
    except OperatorError as error:
        return fail("nats", str(error), "", {"transport": OWN_SERVER})
    return ok("nats", told, {"transport": OWN_SERVER})


async def _idle(connection: NatsConnection) -> None:
    del connection


Greetings = dict[tuple[str, int], Greeting]


def _greet(address: NatsAddress) -> tuple[Greetings, list[str]]:
    """Return what each server says at the door, and why others say nothing."""
    greetings, silent = {}, []
    for host, port in address.servers:
        try:
            greetings[host, port] = greeting_of(host, port)
        except BrokerUnreachable as error:
            silent.append(str(error))
    return greetings, silent


def _reached(address: NatsAddress, greetings: Greetings, silent: list[str], settings: Settings) -> Finding:
    versions = sorted({greeting.version for greeting in greetings.values()})
    clear = [f"{host}:{port}" for (host, port), greeting in greetings.items() if not greeting.tls_required]
    facts: Facts = {
        "transport": str(address), "servers": len(address.servers), "reached": len(greetings),
        "versions": ", ".join(versions), "tls": not clear,
    }  # fmt: skip
    if not greetings:
        return fail("nats", f"no NATS server can be reached: {'; '.join(silent)}", _START, facts)
    if address.tls and clear:
        return fail(
            "nats", f"{', '.join(clear)}: no TLS there", "configure `tls`, or give nats:// in --transport", facts
        )
    summary = f"{len(greetings)} of {len(address.servers)} servers reached: nats-server {', '.join(versions)}"
    if silent:
        return warn("nats", f"{summary}; {'; '.join(silent)}", _START, facts)
    if clear and settings.keys is not None:
        return warn(
            "nats", f"{summary}, in the clear: {', '.join(clear)}", "configure `tls`: see Keys on NATS", facts
        )
    return ok("nats", f"{summary}, {'in the clear' if clear else 'with TLS'}", facts)


def _holder(settings: Settings) -> KeyHolder | None:
    """Return as whom to come in: as the operator, who may ask most, or as whoever has a key here."""
    operator = operator_of(settings)
    if settings.keys is None:
        return operator
    here = NatsKeys(Path(settings.keys)).holders()
    return operator if operator in here else next(iter(here), None)


def _let_in(channel: NatsChannel[object], holder: KeyHolder, settings: Settings) -> Finding:
    name = str(holder) if settings.keys is not None else "anybody"
    facts: Facts = {"holder": name, "state": channel.state.value}
    match channel.state:
        case State.CONNECTED:
            return ok("nats login", f"{name} is let in", facts)
        case State.REFUSED:
            return fail("nats login", f"{name} is not let in: {channel.reason}", _KEYS, facts)
    return fail("nats login", f"no connection: {channel.reason or 'it took too long'}", _START, facts)


def _jetstream(greetings: Greetings, told: list[ServerState], settings: Settings) -> Finding:
    without = [f"{host}:{port}" for (host, port), greeting in greetings.items() if not greeting.jetstream]
    alone = all(not greeting.cluster for greeting in greetings.values())
    size = len(told) or (1 if alone else None)
    facts: Facts = {"jetstream": not without, "servers": size, "replicas": settings.replicas}
    if without:
        return fail("jetstream", f"not on at {', '.join(without)}", _JETSTREAM, facts)
    if size is None:
        return ok("jetstream", f"on, in a cluster of unknown size, for {settings.replicas} replicas", facts)
    servers = "one server" if size == 1 else f"{size} servers"
    if settings.replicas > size:
        advice = f"start more servers, or give --replicas {size}"
        return fail(
            "jetstream", f"{settings.replicas} replicas take as many servers: here {servers}", advice, facts
        )
    if 1 == settings.replicas < size:
        advice = "--replicas 3 goes on without one of them"
        return ok("jetstream", f"on, with {servers}, each message on one of them", facts, advice)
    return ok("jetstream", f"on, with {servers} for {settings.replicas} replicas", facts)


def _on_disk(greetings: Greetings, told: list[ServerState]) -> Finding:
    """Whether a message is on disk before it is acknowledged: as servers say, or their configuration on this host.

    A server tells only who may ask `$SYS.REQ.SERVER.PING.VARZ`; one before 2.10 can't be set so at all.
    """
    late = {state.server_name: state.sync_s for state in told if not state.syncs_always}
    unknown: list[str] = []
    for (host, port), greeting in greetings.items() if not told else ():
        name, can = f"{host}:{port}", version_of(greeting.version) >= SYNCS_FROM
        syncs = _configured_to_sync(host, port) if can else False
        if syncs is None:
            unknown.append(name)
        elif not syncs:
            late[name] = 120.0
    facts: Facts = {"late": ", ".join(late), "unknown": ", ".join(unknown)}
    if late:
        old = all(version_of(each.version) < SYNCS_FROM for each in (told or greetings.values()))
        return warn(
            "nats disk",
            f"acknowledged messages of the last {max(late.values()):.0f} s can be lost when power fails: "
            f"sync_interval is not always at {', '.join(late)} (https://jepsen.io/analyses/nats-2.12.1)",
            _NEWER if old else _ALWAYS,
            facts,
        )
    if unknown:
        return ok(
            "nats disk",
            f"not known from here whether sync_interval is always at {', '.join(unknown)}",
            facts,
            "ask on the server's own host, or with an operator's key that `rookery keys --nats` has made",
        )
    return ok("nats disk", "messages are on disk before they are acknowledged", facts)


def _configured_to_sync(host: str, port: int) -> bool | None:
    """Return whether the server of this host that listens there is configured to; None where that can't be seen."""
    try:
        if not is_here(host.strip("[]")):
            return None
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
            if listens and connection.pid:
                process = psutil.Process(connection.pid)
                words = process.cmdline()
                at = next(index for index, word in enumerate(words) if word.lstrip("-") in ("c", "config"))
                return _SYNC.search((Path(process.cwd()) / words[at + 1]).read_text("utf-8")) is not None
    except (psutil.Error, OSError, UnicodeError, StopIteration, IndexError):
        pass
    return None


def _broker(settings: Settings) -> Finding:
    facts: Facts = {"transport": settings.transport, "namespace": settings.namespace}
    try:
        return of_version(ask(settings), f"{settings.transport}, namespace {settings.namespace}", facts)
    except Refused as error:
        return fail("broker", str(error), SAME_RELEASE, facts)
    except (BrokerUnreachable, MessageError):
        return ok("broker", f"none answers in namespace {settings.namespace}: it is free for one", facts)

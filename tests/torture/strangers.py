"""Strangers at the door of a fleet with keys: whoever has no right to come in is kept out, and nobody is held up.

A whole run (`rookery up --keys`) goes on meanwhile. At its end nothing but what its own actors made may be in its
stores, and its weights must be those of an undisturbed run.
"""

import os
import resource
import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import zmq

from broker.gate import MAY_ENTER
from common import wire
from common.errors import BrokerUnreachable
from common.keys import KeyHolder
from common.messages import BatchHeader, Command, Role, Status
from common.security import reach_as_operator
from common.session import hello, new_session
from common.settings import to_toml
from common.zmq import sockets
from common.zmq.keys import KeyDirectory, PeerKeys
from common.zmq.ports import CHANNELS, Ports
from deploy.report import read_report
from tests.deploy.runs import SAMPLE, Started, stopped, wait_until
from tests.torture.outcome import Outcome, Setting
from tests.torture.undisturbed import Undisturbed, audit, settings_for, undisturbed

KINDS = {
    "control": zmq.DEALER, "experience": zmq.PUSH, "delivery": zmq.DEALER, "weights_in": zmq.PUB,
    "weights_out": zmq.SUB, "logs_in": zmq.XPUB, "logs_out": zmq.SUB,
}  # fmt: skip
"""What a peer of ours connects with."""
GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE"
"""Begin of a ZMTP 3.1 greeting that asks for CURVE."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done."""

    games: int
    rounds: int
    """Times that each kind of stranger knocks at each channel."""
    idle: int
    """Idle connections."""
    knock_s: float
    """How long a connection is given to get in."""


FULL = Scale(games=300, rounds=20, idle=5000, knock_s=1.0)
SHORT = Scale(games=26, rounds=1, idle=500, knock_s=0.4)


class Fleet:
    """A run with keys, and an operator's link to it."""

    def __init__(self, setting: Setting, scale: Scale) -> None:
        self._folder = setting.folder
        self.keys = KeyDirectory(setting.folder / "keys")
        self.keys.init()
        self.games = (SAMPLE,)
        self.settings = settings_for(
            self.games, setting.folder / "run", limit_games=scale.games, games_per_unit=2, nodes=200, actors=2,
            max_units_ahead=3, samples_per_transition=1.0, batch_size=64, publish_every=10, lease_timeout_s=10.0,
            keys=str(self.keys.path), base_port=setting.base_port,
        )  # fmt: skip
        self.limit = scale.games
        self.ports = Ports("127.0.0.1", setting.base_port)

    def undisturbed(self) -> Undisturbed:
        """Run the same without strangers."""
        return undisturbed(self.settings, self.games, self.limit)

    @contextmanager
    def running(self) -> Iterator[Started]:
        """Run it in processes."""
        file = self._folder / "fleet.toml"
        file.write_text(to_toml(self.settings))
        command = ("rookery", "up", str(SAMPLE), "--settings", str(file), "--run", self.settings.run)
        with Started(command) as run:
            wait_until(lambda: self.status() is not None, "the broker answers")
            yield run

    def is_half_way(self) -> bool:
        """Whether every agent is trained on some units."""
        status = self.status()
        return status is not None and all(agent.units_trained for agent in status.agents)

    def status(self) -> Status | None:
        """Ask the broker; None where it does not answer."""
        try:
            link = reach_as_operator(self.settings).operator()
        except Exception:  # its key is being made
            return None
        try:
            return link.status(5.0)
        except BrokerUnreachable:
            return None
        finally:
            link.close()


def run(setting: Setting) -> list[Outcome]:
    """Have each kind of stranger try, one kind after another, while the run goes on."""
    scale = SHORT if setting.short else FULL
    fleet = Fleet(setting, scale)
    wanted = fleet.undisturbed()
    setting.say("the undisturbed run is done; now the strangers come")
    outcomes: list[Outcome] = []
    with fleet.running() as started:
        broker = started.service("broker")
        wait_until(lambda: fleet.is_half_way(), "some units are trained")
        with stopped(started.service("learner", "black")):  # so that the run is not over before they are through
            for name, keys in _strangers(fleet, setting.folder):
                outcomes.append(_knock(fleet, broker, name, keys, scale))
                setting.say(f"{name}: {outcomes[-1].tries} tries")
            outcomes.append(_wrong_roles(fleet, broker, scale))
            outcomes.append(_revoked(fleet, broker, setting.folder))
            outcomes.append(_dying(fleet, broker, scale.rounds * 10))
            outcomes.append(_idle(fleet, broker, scale.idle))
        alive = started.service("broker") == broker
        ended = started.end(timeout_s=1800.0)
    failures = [] if alive else ["the broker is another process than at the start"]
    failures += [f"`rookery up` ended with {ended.code}: {ended.err}"] if ended.code or ended.err else []
    report = read_report(fleet.settings.directory / "report.json")
    found = audit(fleet.settings.directory, wanted, report)
    failures += [*found.failures]
    failures += [f"{report.restarts} services were started again"] if report is None or report.restarts else []
    outcomes.append(
        Outcome(
            part="strangers: the run meanwhile",
            tries=1, unit="run", faults=sum(outcome.faults for outcome in outcomes),
            expected=found.expected, stored=found.stored, lost=found.lost, doubled=found.doubled,
            weights_identical=found.weights_identical, failures=failures,
        )
    )  # fmt: skip
    return outcomes


# Kinds of strangers -----------------------------------------------------------------------------------


def _strangers(fleet: Fleet, folder: Path) -> Iterator[tuple[str, PeerKeys | None]]:
    """Yield those whom no channel may let in, with the keys that they have."""
    actor = KeyHolder(Role.ACTOR, "actor-0")
    right = fleet.keys.peer(actor)
    other = KeyDirectory(folder / "other-keys")
    other.init()
    other.add(actor)
    unlisted = other.peer(actor)
    yield "no key", None
    yield "wrong server key", PeerKeys(other.broker_public(), right.public, right.secret)
    yield "unlisted key", PeerKeys(right.broker_public, unlisted.public, unlisted.secret)
    yield "a listed key without its secret", PeerKeys(right.broker_public, right.public, unlisted.secret)
    revoked = KeyHolder(Role.ACTOR, "gone")
    fleet.keys.add(revoked)
    keys = fleet.keys.peer(revoked)
    fleet.keys.revoke(revoked)
    yield "revoked key", keys


def _knock(
    fleet: Fleet,
    broker: psutil.Process,
    name: str,
    keys: PeerKeys | None,
    scale: Scale,
    channels: Iterable[str] = CHANNELS,
) -> Outcome:
    channels = tuple(channels)
    let_in = sum(_let_in(fleet, keys, channels, scale.knock_s) for _ in range(scale.rounds))
    tries = scale.rounds * len(channels)
    failures = [f"{let_in} connections were let in"] if let_in else []
    return Outcome(
        part=f"strangers: {name}", tries=tries, unit="connections", faults=tries,
        memory_max_bytes=broker.memory_info().rss, failures=[*failures, *_answers(fleet)],
    )  # fmt: skip


def _let_in(fleet: Fleet, keys: PeerKeys | None, channels: Iterable[str], knock_s: float) -> int:
    """Knock at some channels, each with a message ready to be sent; return how many let us in."""
    opened = []
    for channel in channels:
        made = sockets.make(zmq.Context.instance(), KINDS[channel])
        made.setsockopt(zmq.LINGER, 0)
        if KINDS[channel] == zmq.SUB:
            made.setsockopt(zmq.SUBSCRIBE, b"")
        monitor = made.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED)
        sockets.connect(made, getattr(fleet.ports, channel), keys)
        if KINDS[channel] != zmq.SUB:
            with suppress(zmq.Again):
                made.send_multipart(_forged(channel), zmq.DONTWAIT)
        opened.append((made, monitor))
    time.sleep(knock_s)
    let_in = sum(bool(monitor.poll(0)) for _, monitor in opened)
    for made, _ in opened:
        made.disable_monitor()
        made.close(linger=0)
    return let_in


def _forged(channel: str) -> list[bytes]:
    if channel == "experience":
        header = BatchHeader(unit=0, agent="white", transitions=1, games=1, actor="actor-0")
        return [wire.encode(header), b"forged"]
    if channel == "control":
        return [wire.encode(hello(Role.ACTOR, "actor-0", new_session()))]
    return [b"white", b"forged", b"forged"]


def _wrong_roles(fleet: Fleet, broker: psutil.Process, scale: Scale) -> Outcome:
    """Right keys at the channels of other roles, and an order from an actor's key."""
    parts = []
    for role, name in ((Role.ACTOR, "actor-0"), (Role.LEARNER, "white"), (Role.COLLECTOR, "logs")):
        closed = [channel for channel in CHANNELS if role not in MAY_ENTER[channel]]
        parts.append(_knock(fleet, broker, "", fleet.keys.peer(KeyHolder(role, name)), scale, closed))
    failures = [failure for part in parts for failure in part.failures]
    before = _dropped(fleet, "only operators give orders")
    order = sockets.make(zmq.Context.instance(), zmq.DEALER)
    sockets.connect(order, fleet.ports.control, fleet.keys.peer(KeyHolder(Role.ACTOR, "actor-0")))
    order.send(wire.encode(Command(action="drain", names=[])))
    wait_until(lambda: _dropped(fleet, "only operators give orders") > before, "the order is refused")
    order.close(linger=0)
    tries = sum(part.tries for part in parts) + 1
    return Outcome(
        part="strangers: right key, wrong role", tries=tries, unit="connections", faults=tries,
        memory_max_bytes=broker.memory_info().rss, failures=failures,
    )  # fmt: skip


def _revoked(fleet: Fleet, broker: psutil.Process, folder: Path) -> Outcome:
    """Revoke the key of an actor that is at work; the time until it is cut off is the time to recover."""
    guest = KeyHolder(Role.ACTOR, "guest")
    fleet.keys.add(guest)
    command = (
        "rookery-actor", "--name", "guest", "--settings", str(fleet.settings.directory / "settings.toml"),
        "--run", str(folder / "guest"),
    )  # fmt: skip

    def is_there() -> bool:
        status = fleet.status()
        return status is not None and "guest" in {service.name for service in status.services}

    with Started(command) as actor:
        wait_until(is_there, "the guest is there")
        fleet.keys.revoke(guest)
        begun_s = time.monotonic()
        wait_until(lambda: not is_there(), "the guest is cut off")
        took_s = time.monotonic() - begun_s
        refused = _dropped(fleet, "connection refused")
        wait_until(lambda: _dropped(fleet, "connection refused") > refused, "the guest tries to come back")
        failures = ["the guest came back"] if is_there() else []
        actor.process.terminate()
        if actor.end().code != 0:
            failures.append("the guest did not stop when it was told to")
    return Outcome(
        part="strangers: key revoked at work", tries=1, unit="actor", faults=1, recovery_s=[took_s],
        memory_max_bytes=broker.memory_info().rss, failures=[*failures, *_answers(fleet)],
    )  # fmt: skip


def _dying(fleet: Fleet, broker: psutil.Process, count: int) -> Outcome:
    """Peers that die in mid-handshake, each a little later than the one before."""
    greeting = GREETING + bytes(64 - len(GREETING))
    hello_command = b"\x04\xc8\x05HELLO" + os.urandom(194)
    said = greeting + hello_command
    for number in range(count):
        port = fleet.ports.base_port + number % len(CHANNELS)
        with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:
            connection.sendall(said[: 1 + number * len(said) // count])
            if number % 2:  # a reset instead of an orderly end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    return Outcome(
        part="strangers: dies in the handshake", tries=count, unit="connections", faults=count,
        memory_max_bytes=broker.memory_info().rss, failures=_answers(fleet),
    )  # fmt: skip


def _idle(fleet: Fleet, broker: psutil.Process, count: int) -> Outcome:
    """Connections that never say a word: cut off after the handshake's time, while the fleet works on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = broker.num_fds()
    opened: list[socket.socket] = []
    most = 0
    try:
        for number in range(count):
            port = fleet.ports.base_port + number % len(CHANNELS)
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=10.0))
        most = broker.memory_info().rss
        begun_s = time.monotonic()
        failures = _answers(fleet)
        poller = select.poll()
        for connection in opened:
            poller.register(connection, select.POLLRDHUP)
        wait_until(lambda: len(poller.poll(0)) == len(opened), "all idle connections are cut off")
        took_s = time.monotonic() - begun_s
    finally:
        for connection in opened:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: broker.num_fds() < before + 50, "the broker lets go of the connections")
    return Outcome(
        part="strangers: idle connections", tries=count, unit="connections", faults=count, recovery_s=[took_s],
        memory_max_bytes=max(most, broker.memory_info().rss), failures=failures,
    )  # fmt: skip


def _answers(fleet: Fleet) -> list[str]:
    """Return what is wrong: the broker must answer, and have its own services alone."""
    status = fleet.status()
    if status is None:
        return ["the broker does not answer"]
    ours = {"actor-0", "actor-1", "learner-white", "learner-black", "logs", "guest"}
    strange = {service.name for service in status.services} - ours
    return [f"the broker took in {', '.join(strange)}"] if strange else []


def _dropped(fleet: Fleet, reason: str) -> int:
    status = fleet.status()
    return status.dropped.get(reason, 0) if status is not None else 0

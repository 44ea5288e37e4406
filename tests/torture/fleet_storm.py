"""Connections by the thousand, opened and closed at once, while a fleet is at work.

    python -m tests.torture.fleet_storm KIND SETTINGS COUNT

does one storm, and prints how many connections were open at the same time. Three kinds: `plain` TCP connections
that say nothing, `handshake`s that break off after ZeroMQ's greeting and its READY, and `dealers` that say hello
as actors with the right settings, and vanish.
"""

import os
import resource
import select
import socket
import sys
import threading
import time
from pathlib import Path

import zmq

from common import wire
from common.messages import Role, Status
from common.session import hello
from common.settings import Settings, identity, read_file
from common.zmq import sockets
from common.zmq.ports import CHANNELS
from tests.deploy.runs import ask, wait_for_status
from tests.torture.fleet import GAMES_PER_UNIT, FleetServices, Load, fleet
from tests.torture.fleet_services import rss_of, stored_units
from tests.torture.outcome import Outcome, Setting

KINDS = ("plain", "handshake", "dealers")
ROUNDS = 4
"""Rounds of all kinds; after each second one the broker is given the time to forget who only said hello."""
GROWTH_MAX = 1.25
"""By what factor the broker's memory may be greater after the last rounds than it was after the first: what was
taken for the first, and freed, stays with the allocator and is to do for all others."""
PATIENCE_S = 30.0
GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL".ljust(64, b"\x00")
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
FORGOTTEN_S = 75.0
"""By then the broker has forgotten services that never said more than hello."""


def run_storm(setting: Setting) -> Outcome:
    """Run a fleet to its end under storms of all kinds."""
    count = 200 if setting.short else 2000
    load = Load(20 if setting.short else 100, 0.002 if setting.short else 0.01, 0.0, 0.0)
    games = 800 if setting.short else 14400
    setting.say(f"{load.actors} actors, {games} games, {count} connections of each kind at once")
    with fleet(load, setting, setting.folder / "storm", limit_games=games) as (services, _):
        weather = Weather(services, count)
        for at in range(1 if setting.short else ROUNDS):
            for kind in KINDS:
                setting.say(weather.storm(kind))
            weather.round_over()
            if at % 2:
                weather.clear_up()
        status = wait_for_status(
            services.transport, lambda status: status.finished, "the end of the run", timeout_s=300.0
        )
        return weather.outcome(status, -(-games // GAMES_PER_UNIT))


class Weather:
    """Storms against the broker of a fleet, and what they do to it."""

    def __init__(self, services: FleetServices, count: int) -> None:
        self._services, self._count = services, count
        self._broker = services.broker
        self._files_before, self._rss_before = self._broker.num_fds(), rss_of(self._broker)
        self._open: dict[str, int] = {}
        self._storms = 0
        self._rss_after: list[int] = []
        """After each round."""
        self._files_max = self._rss_max = 0
        self._slowest_answer_s = 0.0
        self._strangers_left: int | None = None
        self._failures: list[str] = []

    def storm(self, kind: str) -> str:
        """Do one storm, watching the broker meanwhile; return a line that says what it was like."""
        begun_s = time.monotonic()
        process = self._services.module(
            "tests.torture.fleet_storm", kind, str(self._services.settings_file), str(self._count), name=kind
        )
        while process.poll() is None:
            self._look()
        assert process.stdout is not None
        self._open[kind] = int(process.stdout.read() or 0)
        self._storms += 1
        if process.returncode or self._open[kind] < self._count:
            self._failures.append(
                f"{kind}: {self._open[kind]} of {self._count} got through; {self._services.log_of(kind)[-300:]}"
            )
        end_s = time.monotonic() + PATIENCE_S
        while (left := self._files_left) > 0 and time.monotonic() < end_s:
            self._look()
        if left > 0:
            self._failures.append(f"{kind}: {left} files stay open")
        return f"{kind}: {self._open[kind]} open at once, all gone after {time.monotonic() - begun_s:.1f} s"

    def round_over(self) -> None:
        """Note what the broker's memory is after a round."""
        self._rss_after.append(rss_of(self._broker))
        if max(self._rss_after[2:], default=0) > GROWTH_MAX * max(self._rss_after[:2]):
            self._failures.append(f"the broker's memory grows from round to round: {self._rss_after}")

    def clear_up(self) -> None:
        """Wait until those who only said hello are forgotten."""
        end_s = time.monotonic() + FORGOTTEN_S
        while (left := self._strangers()) and time.monotonic() < end_s:
            time.sleep(1.0)
        self._strangers_left = left
        if left:
            self._failures.append(f"{left} that only said hello are not forgotten")

    def outcome(self, status: Status, units: int) -> Outcome:
        """Say what came of it all."""
        settings = self._services.settings
        stored = [stored_units(settings, agent.name) for agent in settings.agents]
        failures = [*self._failures]
        failures += [f"{agent.name}'s accounting is open" for agent in status.agents if not agent.closed]
        figures: dict[str, float | int | str] = {
            "open at once": ", ".join(f"{number} {kind}" for kind, number in self._open.items()),
            "files before / most / after": f"{self._files_before} / {self._files_max} / {self._broker.num_fds()}",
            "broker RSS, MB, before / most": f"{self._rss_before / 1e6:.0f} / {self._rss_max / 1e6:.0f}",
            "broker RSS, MB, after each round": " / ".join(f"{size / 1e6:.0f}" for size in self._rss_after),
            "slowest answer to status, s": round(self._slowest_answer_s, 2),
            "dropped": ", ".join(f"{reason}: {number}" for reason, number in status.dropped.items()) or "none",
        }
        if self._strangers_left is not None:
            figures["strangers not forgotten"] = self._strangers_left
        return Outcome(
            part="fleet: storms of connections", tries=self._count * self._storms, unit="connections",
            faults=self._storms, expected=units * len(stored), stored=sum(map(len, stored)),
            lost=sum(units - len(set(numbers)) for numbers in stored),
            doubled=sum(len(numbers) - len(set(numbers)) for numbers in stored),
            memory_max_bytes=self._rss_max, failures=failures, figures=figures,
        )  # fmt: skip

    @property
    def _files_left(self) -> int:
        # A simulated actor that connects anew makes a few come and go.
        return max(0, self._broker.num_fds() - self._files_before - 20)

    def _look(self) -> None:
        begun_s = time.monotonic()
        if ask(self._services.transport, PATIENCE_S) is None:
            self._failures.append(f"the broker did not answer within {PATIENCE_S:.0f} s")
        self._slowest_answer_s = max(self._slowest_answer_s, time.monotonic() - begun_s)
        self._files_max = max(self._files_max, self._broker.num_fds())
        self._rss_max = max(self._rss_max, rss_of(self._broker))
        time.sleep(0.05)

    def _strangers(self) -> int:
        status = ask(self._services.transport, PATIENCE_S)
        assert status is not None, "the broker does not answer"
        return sum(service.name.startswith("stranger-") for service in status.services)


# One storm, in a process of its own ------------------------------------------------------------------


def plain(settings: Settings, count: int) -> int:
    """Connect to all of the broker's ports in turn; return how many connections stood at once."""
    return len(connected(settings, count, len(CHANNELS)))


def handshake(settings: Settings, count: int) -> int:
    """Go as far as ZeroMQ's READY on the control channel, and no further."""
    streams = connected(settings, count, 1)
    for stream in streams:
        stream.setblocking(True)
        stream.sendall(GREETING + READY)
    return len(streams)


def connected(settings: Settings, count: int, ports: int) -> list[socket.socket]:
    """Open TCP connections all at once; return those that are there in time."""
    poller, streams = select.poll(), {}
    for index in range(count):
        stream = socket.socket()
        stream.setblocking(False)
        stream.connect_ex((settings.broker, settings.base_port + index % ports))
        streams[stream.fileno()] = stream
        poller.register(stream, select.POLLOUT)
    there: list[socket.socket] = []
    end_s = time.monotonic() + PATIENCE_S
    while streams and time.monotonic() < end_s:
        for number, _ in poller.poll(100):
            poller.unregister(number)
            stream = streams.pop(number)
            if not stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                there.append(stream)
    return there


def dealers(settings: Settings, count: int) -> int:
    """Say hello as so many actors; return how many the broker has welcomed."""
    context: sockets.Context = zmq.Context.instance()
    context.set(zmq.MAX_SOCKETS, count + 16)
    poller, waiting = zmq.Poller(), set()
    message = {"role": Role.ACTOR, "settings": identity(settings)}
    for index in range(count):
        name = f"stranger-{os.getpid()}-{index}"
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.ROUTING_ID, name.encode())
        dealer.connect(f"tcp://{settings.broker}:{settings.base_port}")
        dealer.send(wire.encode(hello(name=name, session=name, **message)))
        poller.register(dealer, zmq.POLLIN)
        waiting.add(dealer)
    end_s = time.monotonic() + PATIENCE_S
    while waiting and time.monotonic() < end_s:
        for dealer, _ in poller.poll(100):
            dealer.recv_multipart()
            poller.unregister(dealer)
            waiting.discard(dealer)
    return count - len(waiting)


def main() -> None:
    """Do the storm, and vanish."""
    kind, settings_file, count = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    threading.Timer(3 * PATIENCE_S, os._exit, [1]).start()
    print(globals()[kind](read_file(Path(settings_file)), int(count)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

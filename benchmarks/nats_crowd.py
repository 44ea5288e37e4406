"""Many actors in one event loop: what an actor's link over NATS says to the servers and to the broker, and no more.

    python -m benchmarks.nats_crowd SETTINGS FIRST COUNT UNIT_S REPORT_S

A real link has a thread with an event loop, and a process with Python in it: a thousand of them are too much for
two cores. Here each is a TCP connection and a few timers in one loop, over the bare protocol
(docs.nats.io/reference/reference-protocols/nats-protocol). The messages are those of common/nats/actor_link.py,
made by the same code: hello, a report each REPORT_S, requests for units, leases renewed, batches in parts, their
headers, and units acknowledged. A unit takes about UNIT_S, one after another; its games are not opened, and in its
batches is nothing, which suits learners that only store. There is no second connection for log records.

On standard input, `begin` starts a measurement; `end` ends it and prints what came of it, as one line of JSON.
"""

import asyncio
import json
import os
import random
import resource
import sys
import time
from collections import deque
from pathlib import Path

from common import wire
from common.keys import KeyHolder
from common.messages import (
    ActorReport,
    BatchHeader,
    FromBroker,
    Lease,
    LeaseRequest,
    Message,
    Renew,
    Role,
    Unknown,
    Welcome,
)
from common.nats import frames, parts
from common.nats.control import HELLO_INTERVAL_S
from common.nats.names import ACTORS
from common.nats.pull import EXPIRES_S, SLACK_S
from common.security import nats_way
from common.session import hello, new_session
from common.settings import Settings, identity, read_file

CAPACITY = 6
"""Units of four games that an actor holds."""
BODY = bytes(1200)
"""As long as the batch of a unit of four games."""
TRANSITIONS = 180
POSITIONS = 20
"""Positions that an actor gets on by from report to report."""
COMING_S = 0.002
"""Between two that come."""


class Crowd:
    """The actors of this process."""

    def __init__(self, settings: Settings, unit_s: float, report_s: float) -> None:
        way = nats_way(settings, KeyHolder(Role.ACTOR, "crowd"))
        self.names, self.unit_s, self.report_s = way.names, unit_s, report_s
        self.renew_after_s = way.renew_after_s
        self.identity = identity(settings)
        self.agents = [agent.name for agent in settings.agents]
        self.servers = [(host, port) for host, port in way.address.servers]
        self.actors: list[CrowdActor] = []
        self.latencies_s: list[float] = []
        self.units = 0
        self.lost = 0
        """Requests for units that were never answered to their end."""

    async def come(self, first: int, count: int) -> None:
        """Have all of them come, one by one."""
        loop = asyncio.get_running_loop()
        for index in range(first, first + count):
            host, port = self.servers[index % len(self.servers)]
            actor = CrowdActor(self, f"actor-{index}")
            self.actors.append(actor)
            await loop.create_connection(lambda actor=actor: actor, host, port)  # type: ignore[misc]
            await asyncio.sleep(COMING_S)


class CrowdActor(asyncio.Protocol):
    """One actor."""

    def __init__(self, crowd: Crowd, name: str) -> None:
        self._crowd, self._name, self._session = crowd, name, new_session()
        names = crowd.names
        self._holder = KeyHolder(Role.ACTOR, name)
        self._inbox = f"{names.inbox(self._holder)}.{self._session}"
        self._to_me = names.to(self._holder, self._session)
        self._control = names.control(self._holder)
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{names.units_stream}.{ACTORS}"
        self._read = b""
        self._loop = asyncio.get_running_loop()
        self.welcome = False
        self._renew_s = 0.0
        self.joined_s: float | None = None
        self._begun_s = time.monotonic()
        self._hand: dict[int, str] = {}
        """Reply subjects of the units in hand, in the order in which they came."""
        self._missing: dict[int, set[str]] = {}
        """Agents whose batches are not stored yet, by unit."""
        self._under_way: set[int] = set()
        """Units whose batches are sent, and not stored."""
        self._room: deque[float] = deque()
        self._requests = self._left = self._positions = self._done = 0
        self._works = False

    @property
    def is_at_work(self) -> bool:
        """Whether it has a unit."""
        return self._works

    # The protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """Fail: this is no test of lost connections."""
        if not self._transport.is_closing():
            sys.exit(f"{self._name}: connection lost: {error}")

    def data_received(self, data: bytes) -> None:
        """Take apart what has come."""
        buffer, at = self._read + data, 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            line, after = buffer[at:end], end + 2
            if line.startswith((b"MSG ", b"HMSG ")):
                words = line.decode().split(" ")
                size = int(words[-1])
                if len(buffer) < after + size + 2:
                    break
                head = int(words[-2]) if words[0] == "HMSG" else 0
                reply = words[3] if len(words) == (6 if head else 5) else ""
                payload = buffer[after : after + size]
                after += size + 2
                self._heard(words[1], reply, payload[:head], payload[head:])
            elif line == b"PING":
                self._transport.write(b"PONG\r\n")
            elif line.startswith(b"INFO ") and not self._requests and not self.welcome:
                self._say_who()
            elif line.startswith(b"-ERR"):
                sys.exit(f"{self._name}: the server says {line.decode()}")
            at = after
        self._read = buffer[at:]

    def _say_who(self) -> None:
        about = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1,
                 "headers": True, "no_responders": True, "name": self._name}  # fmt: skip
        subjects = (self._to_me, f"{self._inbox}.>", self._crowd.names.weights.abouts)
        subscribes = "".join(f"SUB {subject} {sid}\r\n" for sid, subject in enumerate(subjects, 1))
        self._transport.write(f"CONNECT {json.dumps(about)}\r\n{subscribes}".encode())
        self._greet()

    def _publish(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        self._transport.write(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def _publish_part(self, subject: str, part: parts.Part, reply: str) -> None:
        lines = "".join(f"{key}: {value}\r\n" for key, value in part.headers().items())
        head = f"NATS/1.0\r\n{lines}\r\n".encode()
        sizes = f"{len(head)} {len(head) + len(part.data)}"
        self._transport.write(f"HPUB {subject} {reply} {sizes}\r\n".encode() + head + part.data + b"\r\n")

    # What an actor says --------------------------------------------------------------------------

    def _say(self, message: Message) -> None:
        self._publish(self._control, frames.pack_said(self._session, wire.encode(message)))

    def _greet(self) -> None:
        if not self.welcome:
            self._say(
                hello(Role.ACTOR, self._name, self._session, units=[*self._hand], settings=self._crowd.identity)
            )
            self._loop.call_later(HELLO_INTERVAL_S, self._greet)

    def _report(self) -> None:
        self._loop.call_later(self._crowd.report_s, self._report)
        if self._works:
            self._positions += POSITIONS
        report = ActorReport(
            positions=self._positions, engine_positions=self._positions, engine_nodes=1000 * self._positions,
            games=4 * self._done, transitions=2 * TRANSITIONS * self._done, units=self._done,
            engine_share=float(self._works), memory_bytes=100 << 20, engine_memory_bytes=100 << 20,
            cpu_s=self._positions / 100,
        )  # fmt: skip
        self._say(Renew(units=[*self._hand], report=report))
        now_s = time.monotonic()
        if self._works and now_s >= self._renew_s:
            self._renew_s = now_s + self._crowd.renew_after_s
            for reply in self._hand.values():
                self._publish(reply, b"+WPI")

    def _ask(self) -> None:
        """Have one request for units under way, if there is room."""
        room = CAPACITY - len(self._hand)
        if self._left > 0 or room <= 0:
            return
        self._requests += 1
        self._left = room
        request = json.dumps({"batch": room, "expires": int(EXPIRES_S * 1e9)}).encode()
        self._publish(self._next, request, reply=f"{self._inbox}.units.{self._requests}")
        self._loop.call_later(EXPIRES_S + SLACK_S, self._ask_again, self._requests)

    def _ask_again(self, request: int) -> None:
        """Take a request that was not answered to its end for lost."""
        if request == self._requests and self._left > 0:
            self._crowd.lost += 1
            self._left = 0
            self._ask()

    # What it hears -------------------------------------------------------------------------------

    def _heard(self, subject: str, reply: str, head: bytes, payload: bytes) -> None:
        if subject == self._to_me:
            self._on_broker(wire.decode(frames.unpack(payload)[0], FromBroker))
        elif subject.startswith(f"{self._inbox}.stored."):
            _, unit, agent = subject.rsplit(".", 2)
            self._on_stored(int(unit), agent)
        elif subject == f"{self._inbox}.units.{self._requests}" and head.startswith(b"NATS/1.0 "):  # over
            self._left = 0
            self._ask()
        elif reply.startswith("$JS.ACK."):
            self._on_unit(reply, payload)

    def _on_broker(self, message: Message) -> None:
        if isinstance(message, Welcome) and not self.welcome:
            self.welcome = True
            self._room.extend([time.monotonic()] * CAPACITY)
            self._say(LeaseRequest(capacity=CAPACITY))
            self._ask()
            self._loop.call_later(random.uniform(0.0, self._crowd.report_s), self._report)
        elif isinstance(message, Unknown):
            self.welcome = False
            self._greet()

    def _on_unit(self, reply: str, payload: bytes) -> None:
        lease: Lease = wire.decode(frames.unpack(payload)[0], Lease)
        now_s = time.monotonic()
        if self._room:
            self._crowd.latencies_s.append(now_s - self._room.popleft())
        if self.joined_s is None:
            self.joined_s = now_s - self._begun_s
        self._left -= 1
        self._hand[lease.unit], self._missing[lease.unit] = reply, {*lease.agents}
        if not self._works:
            self._work()
        if self._left <= 0:
            self._ask()

    def _work(self) -> None:
        waiting = [unit for unit in self._hand if unit not in self._under_way]
        self._works = bool(waiting)
        if waiting:
            self._loop.call_later(self._crowd.unit_s * random.uniform(0.5, 1.5), self._finish, waiting[0])

    def _finish(self, unit: int) -> None:
        self._under_way.add(unit)
        self._room.append(time.monotonic())
        for agent in self._missing[unit]:
            payload = frames.pack(wire.encode(self._header(unit, agent)), BODY)
            (part,) = parts.cut(payload, len(payload), parts.new_sending())
            self._publish_part(
                self._crowd.names.batch(agent, unit), part, f"{self._inbox}.stored.{unit}.{agent}"
            )  # fmt: skip
        self._work()

    def _header(self, unit: int, agent: str) -> BatchHeader:
        return BatchHeader(unit=unit, agent=agent, transitions=TRANSITIONS, games=4, actor=self._name)

    def _on_stored(self, unit: int, agent: str) -> None:
        self._say(self._header(unit, agent))
        self._missing[unit].discard(agent)
        if not self._missing[unit]:
            del self._missing[unit]
            self._publish(self._hand.pop(unit), b"+ACK", reply=f"{self._inbox}.done.{unit}")
            self._under_way.discard(unit)
            self._done += 1
            self._crowd.units += 1
            self._ask()


def main() -> None:
    """Run the actors, and measure as told."""
    settings = read_file(Path(sys.argv[1]))
    first, count = map(int, sys.argv[2:4])
    unit_s, report_s = map(float, sys.argv[4:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd(settings, unit_s, report_s)
    asyncio.run(run(crowd, first, count))


async def run(crowd: Crowd, first: int, count: int) -> None:
    """Have the actors come, and answer until the end of the input."""
    coming = asyncio.ensure_future(crowd.come(first, count))
    units = latencies = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip() == "begin":
            await coming
            units, latencies = crowd.units, len(crowd.latencies_s)
            continue
        figures = {
            "busy_share": [float(actor.is_at_work) for actor in crowd.actors],
            "units": [crowd.units - units],
            "lost": [crowd.lost],
            "latencies_s": crowd.latencies_s[latencies:],
            "joined_s": [actor.joined_s for actor in crowd.actors],
        }
        print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()

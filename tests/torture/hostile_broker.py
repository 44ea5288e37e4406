"""A broker that lies, with a real actor and a real learner that believe it to be theirs.

Plain sockets that speak the protocol where they must and break it everywhere else. In the end an honest lease has
to come back as a batch, and that batch to be stored: nothing else may stand in the store.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
import zmq
import zstandard

from common import batch, wire
from common.errors import MessageError
from common.leased_games import pack_games
from common.messages import (
    BatchHeader,
    FromBroker,
    Hello,
    Interval,
    Lease,
    Order,
    RawGame,
    Refusal,
    Stored,
    ToBroker,
    Totals,
    Welcome,
)  # fmt: skip
from common.settings import Settings, to_toml
from common.zmq.ports import CHANNELS, Ports
from learner.directory import AgentDirectory
from learner.store import ExperienceReader
from tests.deploy.runs import Started
from tests.torture.hostile_games import monsters
from tests.torture.mutations import Mutations

KINDS = {
    "control": zmq.ROUTER, "experience": zmq.PULL, "delivery": zmq.ROUTER, "weights_in": zmq.SUB,
    "weights_out": zmq.PUB, "logs_in": zmq.XSUB, "logs_out": zmq.XPUB,
}  # fmt: skip
PATIENCE_S = 90.0
GAMES = [b"1. e4 e5 2. Nf3 Nc6 *", b"1. d4 d5 *"]
UNTOUCHED = ("welcome", "unknown", "lease", "publish-again", "command-reply", "weights", "status")
"""Kinds that may be sent changed: what comes of them, if they are still messages, lasts no longer than they do."""


@dataclass(slots=True)
class Found:
    """What became of the actor and the learner."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)
    memory: Counter[str] = field(default_factory=Counter)
    stored: int = 0


class HostileBroker:
    """Binds a broker's ports and lies; a context manager."""

    def __init__(self, ports: Ports, rng: random.Random) -> None:
        self._ports, self._rng, self._mutations = ports, rng, Mutations(rng)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self.sessions: dict[str, bytes] = {}
        """Of those who said hello, by role."""
        self.batches: list[tuple[BatchHeader, bytes]] = []
        self.stored: list[int] = []
        self.sent = 0
        self._monsters = [text for text in monsters().values() if len(text) <= 1 << 20]

    def __enter__(self) -> Self:
        for channel in CHANNELS:
            socket = self._sockets[channel] = self._context.socket(KINDS[channel])
            socket.setsockopt(zmq.SNDHWM, 50)
            if KINDS[channel] == zmq.ROUTER:
                socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.bind(getattr(self._ports, channel))
        self._sockets["weights_in"].setsockopt(zmq.SUBSCRIBE, b"")
        return self

    def __exit__(self, *exception: object) -> None:
        self._context.destroy(linger=0)

    def listen(self, timeout_ms: int = 0) -> None:
        """Take in what has come; welcome whoever says hello."""
        control = self._sockets["control"]
        control.poll(timeout_ms)
        while control.poll(0):
            peer, *frames = control.recv_multipart()
            try:
                message = wire.decode(frames[0], ToBroker)
            except MessageError:
                continue
            if isinstance(message, Hello):
                self.sessions[message.role.value] = peer
                self._send("control", [peer, wire.encode(Welcome(broker="lies", agents=["white"]))])
            if isinstance(message, Stored):
                self.stored += [unit.unit for unit in message.units]
        while self._sockets["experience"].poll(0):
            envelope, body = self._sockets["experience"].recv_multipart()
            self.batches.append((wire.decode(envelope, BatchHeader), body))
        while self._sockets["delivery"].poll(0):
            self._sockets["delivery"].recv_multipart()
        while self._sockets["weights_in"].poll(0):
            self._sockets["weights_in"].recv_multipart()

    def lie(self, count: int) -> None:
        """Send so many messages that are wrong."""
        for _ in range(count):
            kind = self._rng.random()
            if kind < 0.5:
                self._send("control", [self.sessions[self._rng.choice(("actor", "learner"))], *self._order()])
            elif kind < 0.85:
                self._send("delivery", [self.sessions["learner"], *self._delivery()])
            else:
                self._send("weights_out", self._weights())

    def lease(self, unit: int, texts: list[bytes], agents: list[str]) -> None:
        """Send a lease as it should be."""
        raw = [RawGame(number=number, source="a.pgn", line=1, text=text) for number, text in enumerate(texts)]
        frames = [wire.encode(Lease(unit=unit, agents=agents)), pack_games(raw)]
        self._send("control", [self.sessions["actor"], *frames])

    def deliver(self, header: BatchHeader, body: bytes) -> None:
        """Send a batch as it should be."""
        self._send("delivery", [self.sessions["learner"], wire.encode(header), body])

    def _send(self, channel: str, frames: list[bytes]) -> None:
        try:
            self._sockets[channel].send_multipart(frames, zmq.DONTWAIT)
            self.sent += 1
        except zmq.ZMQError:  # full, or not connected at the moment
            time.sleep(0.002)
            self.listen()

    def _order(self) -> list[bytes]:
        what = self._rng.random()
        if what < 0.004:
            agents = self._rng.choice((["red"], ["white"], ["../white"], []))
            texts = [self._rng.choice(self._monsters) for _ in range(3)]
            raw = [
                RawGame(number=number, source="x" * 4096, line=2**53, text=text)
                for number, text in enumerate(texts)
            ]
            plain = self._mutations.plain("lease", unit=self._rng.choice((2**53, 2**40)), agents=agents)
            return [plain, pack_games(raw)]
        if what < 0.006:
            bomb = self._rng.choice((bytes(64 << 20), b"\xdd\x01\x00\x00\x00" + b"\x90" * (16 << 20)))
            return [self._mutations.plain("lease", unit=2**41, agents=["white"]), zstandard.compress(bomb)]
        frame = self._frame()
        body = self._rng.choice((b"", b"x", zstandard.compress(b"\x90"), self._rng.randbytes(50)))
        return self._rng.choice(([frame], [frame, body], [frame, body, b"", b""], [frame] + [b""] * 999))

    def _frame(self) -> bytes:
        """Return a changed envelope that orders nothing lasting: no refusal, order, end, or other version."""
        while True:
            frame = self._mutations.frame(self._rng.choice(UNTOUCHED))
            try:
                message = wire.decode(frame, FromBroker)
            except wire.ProtocolMismatch:
                continue
            except MessageError:
                return frame
            if not isinstance(message, Refusal | Order | Totals):
                return frame

    def _delivery(self) -> list[bytes]:
        what = self._rng.random()
        agent = self._rng.choice(("white", "black", "red", "../white"))
        envelope = self._mutations.frame("batch", agent=agent, unit=self._rng.randrange(3))
        bodies = (b"", b"body", self._good_body(), self._mutations.bytes(self._good_body()))
        body = zstandard.compress(bytes(80 << 20)) if what < 0.002 else self._rng.choice(bodies)
        return self._rng.choice(([envelope, body], [envelope, body], [envelope], [envelope, body, b""]))

    def _good_body(self) -> bytes:
        # Of another agent, or nobody's: never what the envelope says.
        return batch.encode(played_for_black())

    def _weights(self) -> list[bytes]:
        agent = self._rng.choice(("white", "red", "../white"))
        body = bytes(self._rng.choice((0, 24, 100_000)))
        return [
            agent.encode(),
            self._mutations.frame("weights", agent=agent, version=2**53, size_bytes=len(body)),
            body,
        ]


def played_for_black() -> batch.Batch:
    """Return a batch that is well-formed, of unit 4 of another agent."""
    from common.settings import Side
    from tests.common.batches import played

    return played(1, games=1, plies=9, side=Side.BLACK)


def torment(settings: Settings, folder: Path, messages: int, seed: int) -> Found:
    """Lie to an actor and a learner of their own, then be honest once, and see what is left."""
    found = Found()
    file = folder / "settings.toml"
    file.write_text(to_toml(settings))
    flags = ("--settings", str(file))
    ports = Ports(host="127.0.0.1", base_port=settings.base_port)
    with HostileBroker(ports, random.Random(seed)) as broker:
        with (
            Started(["rookery-actor", *flags]) as actor,
            Started(["rookery-learner", "--agent", "white", *flags]) as learner,
        ):
            both = {"actor": actor, "learner": learner}

            def go_on() -> None:
                broker.listen(20)
                for name, started in both.items():
                    if started.process.poll() is not None:
                        raise AssertionError(f"the {name} has ended: {started.end().err[-300:]}")
                    for process in started.processes():
                        try:
                            found.memory[name] = max(found.memory[name], process.memory_info().rss)
                        except psutil.Error:
                            pass

            try:
                _until(lambda: len(broker.sessions) == 2, go_on, "both said hello")
                while broker.sent < messages:
                    broker.lie(200)
                    go_on()
                broker.batches.clear()

                def honest() -> bool:
                    broker.lease(0, GAMES, ["white"])
                    go_on()
                    return any(header.unit == 0 for header, _ in broker.batches)

                _until(honest, go_on, "the honest lease came back as a batch")
                header, body = next(item for item in broker.batches if item[0].unit == 0)
                if len(batch.decode(body)) != 3:
                    found.failures.append(f"the honest batch has {len(batch.decode(body))} rows, not 3")

                def delivered() -> bool:
                    broker.deliver(header, body)
                    go_on()
                    return 0 in broker.stored

                _until(delivered, go_on, "the honest batch was stored")
            except AssertionError as error:
                found.failures.append(str(error))
            for name, started in both.items():
                started.process.terminate()
                broker.listen(100)
                ended = started.end()
                if ended.code != 0 or "Traceback" in ended.err:
                    found.failures.append(f"the {name} ended with {ended.code}: {ended.err[-300:]}")
    found.sent = broker.sent
    with ExperienceReader(
        AgentDirectory.of(settings.directory, "white").experience, settings.agent("white")
    ) as store:
        found.stored = store.totals().units
        if store.intervals() != [Interval(0, 0)]:
            found.failures.append(f"the store holds {store.intervals()}, not unit 0 alone")
    return found


def _until(condition: Callable[[], bool], go_on: Callable[[], None], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"not within {PATIENCE_S:.0f} s: {what}"
        go_on()

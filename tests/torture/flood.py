"""A raw peer that floods a broker: plain sockets, no link of ours, and what must come of each message."""

import random
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Self

import zmq

from common import wire
from common.errors import MessageError
from common.messages import BatchHeader, Command, Credit, Hello, LogRecord, ToBroker
from common.zmq.keys import PeerKeys
from common.zmq.ports import Ports
from tests.torture.mutations import Mutations

OUT = {
    "control": zmq.DEALER, "experience": zmq.PUSH, "delivery": zmq.DEALER, "weights_in": zmq.XPUB,
    "weights_out": zmq.XSUB, "logs_in": zmq.XPUB, "logs_out": zmq.XSUB,
}  # fmt: skip
AN_ACTORS = ("control", "experience", "weights_out", "logs_in")
"""Channels that an actor's key opens."""
SESSION = b"0badc0de"
BEYOND = 2**40
"""A unit that no run has."""
PATIENCE_MS = 60_000


class Fate(StrEnum):
    """What has to become of a message."""

    DROPPED = "dropped"
    """Counted under a reason, and nothing more."""
    ANSWERED = "answered"
    """Well-formed, and answered or passed on as the protocol has it."""
    EITHER = "either"
    """A batch of this run in form: held, then declined by its learner, or a duplicate."""


class RawPeer:
    """Sockets to all channels of a broker that let it in; a context manager. Nothing here trusts our own code."""

    def __init__(self, ports: Ports, rng: random.Random, name: str, agents: tuple[str, ...]) -> None:
        self._ports, self._rng, self._mutations = ports, rng, Mutations(rng)
        self._name, self._agents = name, agents
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self.sent: Counter[Fate] = Counter()
        self.by_channel: Counter[str] = Counter()

    def __enter__(self) -> Self:
        channels = AN_ACTORS if self._ports.keys is not None else OUT
        for channel in channels:
            self._sockets[channel] = self._connected(channel)
        for channel in {"weights_in", "logs_in"} & {*channels}:
            # What is published before the subscription has come is lost.
            assert self._sockets[channel].poll(PATIENCE_MS), f"nobody listens on {channel}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._context.destroy(linger=PATIENCE_MS)

    def _connected(self, channel: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(OUT[channel])
        if OUT[channel] == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_NODROP, 1)
        if OUT[channel] == zmq.DEALER:
            socket.setsockopt(zmq.ROUTING_ID, SESSION)
        socket.setsockopt(zmq.SNDTIMEO, PATIENCE_MS)
        socket.setsockopt(zmq.RCVHWM, 10)
        keys: PeerKeys | None = self._ports.keys
        if keys is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, keys.broker_public)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        socket.connect(getattr(self._ports, channel))
        return socket

    def flood(self, count: int) -> None:
        """Send this many messages, over all channels."""
        channels = [channel for channel in self._sockets for _ in range(1 if channel.endswith("_out") else 6)]
        while count > 0:
            channel = self._rng.choice(channels)
            for fate, frames in self._messages(channel):
                self._sockets[channel].send_multipart(frames)
                self.sent[fate] += 1
                self.by_channel[channel] += 1
                count -= 1
            self._pass_over_answers()

    def _pass_over_answers(self) -> None:
        control = self._sockets["control"]
        try:
            while True:
                control.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            pass

    def _messages(self, channel: str) -> Iterator[tuple[Fate, list[bytes]]]:
        frames = getattr(self, f"_{channel}")()
        if channel.endswith("_out"):
            yield Fate.ANSWERED, frames
            return
        what = self._rng.random()
        if what < 0.05:  # another number of frames
            many = self._rng.choice(([], frames * 2, [*frames, b"", b""], [b""] * 1000, frames[:-1]))
            frames = many or [b""]
        elif what < 0.06:
            frames = [bytes(wire.MAX_ENVELOPE_BYTES - self._rng.randrange(3)), *frames[1:]]
        fate = getattr(self, f"_fate_on_{channel}")(frames)
        if fate is not None:
            yield fate, frames

    # What is sent -----------------------------------------------------------------------------------

    def _control(self) -> list[bytes]:
        kinds = ["hello", "lease-request", "renew", "release", "stored", "declined", "learner-report", "command",
                 "collector-report", "goodbye", "weights-request", "totals", "lease", "batch", "log"]  # fmt: skip
        return [self._mutations.frame(self._rng.choice(kinds))]

    def _experience(self) -> list[bytes]:
        fields = {"unit": BEYOND} if self._rng.random() < 0.99 else {"unit": self._rng.randrange(4)}
        agent = self._rng.choice((*self._agents, "red", "../red"))
        body = self._rng.choice((b"", b"body", b"\x28\xb5\x2f\xfd" + self._rng.randbytes(100)))
        return [self._mutations.frame("batch", agent=agent, actor=self._name, **fields), body]

    def _delivery(self) -> list[bytes]:
        return [self._mutations.frame("credit", agent=self._rng.choice((*self._agents, "red")))]

    def _weights_in(self) -> list[bytes]:
        agent = self._rng.choice((*self._agents, "red"))
        body = bytes(self._rng.choice((0, 4, 1000)))
        return [
            agent.encode(),
            self._mutations.frame("weights", agent=agent, version=2**53, size_bytes=len(body)),
            body,
        ]

    def _weights_out(self) -> list[bytes]:
        return [
            self._rng.choice((b"\x00", b"\x01", b"\x02", b"")) + self._rng.randbytes(self._rng.choice((0, 3, 50)))
        ]

    def _logs_in(self) -> list[bytes]:
        source = self._rng.choice((f"{self._name}.5e55", "../../x.1", "actor-0.77", "x" * 128))
        return [self._mutations.frame("log", source=source, number=self._rng.randrange(2**53))]

    def _logs_out(self) -> list[bytes]:
        return [self._rng.choice((b"\x01", b"\x00")) + self._rng.randbytes(self._rng.choice((2, 200)))]

    # What must become of it -------------------------------------------------------------------------

    def _fate_on_control(self, frames: list[bytes]) -> Fate | None:
        if len(frames) != 1:
            return Fate.DROPPED
        try:
            message = wire.decode(frames[0], ToBroker)
        except MessageError:
            return Fate.DROPPED
        if isinstance(message, Command):  # in the clear it would be obeyed
            return Fate.DROPPED if self._ports.keys is not None else None
        if isinstance(message, Hello):
            return Fate.DROPPED if message.session.encode() != SESSION else None
        return Fate.ANSWERED

    def _fate_on_experience(self, frames: list[bytes]) -> Fate | None:
        if len(frames) != 2:
            return Fate.DROPPED
        try:
            header: BatchHeader = wire.decode_batch_header(frames[0])
        except MessageError:
            return Fate.DROPPED
        if self._ports.keys is not None and header.actor != self._name:
            return Fate.DROPPED
        return Fate.EITHER if header.agent in self._agents and header.unit < BEYOND else Fate.DROPPED

    def _fate_on_delivery(self, frames: list[bytes]) -> Fate | None:
        try:
            credit: Credit = wire.decode(frames[0], Credit)
        except MessageError:
            return Fate.DROPPED
        return None if credit.session.encode() == SESSION else Fate.DROPPED

    def _fate_on_weights_in(self, frames: list[bytes]) -> Fate | None:
        return Fate.DROPPED  # the golden message's hash is that of no body

    def _fate_on_logs_in(self, frames: list[bytes]) -> Fate | None:
        if len(frames) != 1:
            return Fate.DROPPED
        if self._ports.keys is None:
            return Fate.ANSWERED  # passed on unread
        try:
            record: LogRecord = wire.decode(frames[0], LogRecord)
        except MessageError:
            return Fate.DROPPED
        return Fate.ANSWERED if record.source.rpartition(".")[0] == self._name else Fate.DROPPED

"""A cable between two hosts that loses, delays, reorders, throttles and cuts, packet by packet.

For kernels without netem. A process with one TUN device in each host's network namespace reads the IP
packets that come out of the one and writes them into the other, as `Conditions` say, each way by itself and
every choice seeded. It does nothing else: TCP is the kernels', and so are its retransmissions, its round-trip
times and its congestion control. Resetting a connection is what a firewall does that has lost its state: the
next segment that passes is turned into a RST, and the rest is up to the two kernels.

    with Cable(near, far, seed=1) as cable:
        cable.set(Conditions(loss=0.05, delay_s=0.2))

The process ends when its standard input does, so none is ever left behind.
"""

import fcntl
import heapq
import itertools
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.deploy.hosts import Host, within
from tests.deploy.runs import ROOT

DEVICE = "cable"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MAX_PACKET_BYTES = 65536
_TCP = 6
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_GREATEST_BATCH = 64
"""Packets read from one side before the other gets its turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What a cable does to packets, each way; the default is a perfect one."""

    loss: float = 0.0
    """Share of the packets that are lost, each by its own draw."""
    delay_s: float = 0.0
    """From one end to the other; a round trip takes twice as long."""
    late: float = 0.0
    """Share of the packets that take `late_s` longer, so that those after them overtake them."""
    late_s: float = 0.05
    bits_per_s: float | None = None
    """Rate of the line; None for no limit."""
    queue_bytes: int = 64 * 1024
    """Room of the queue before the line; what comes when it is full is dropped."""
    cut: bool = False
    """Nothing passes."""


@dataclass(slots=True)
class Counts:
    """Packets of one way, by what became of them, since the beginning."""

    passed: int = 0
    passed_bytes: int = 0
    lost: int = 0
    overflowed: int = 0
    """Dropped because the queue was full."""
    cut: int = 0
    """Met a cable that was cut."""
    reset: int = 0
    """Segments that were turned into a RST."""


@dataclass(slots=True)
class Way:
    """One direction of a cable. Pure: the clock's time comes with each call."""

    random: random.Random
    conditions: Conditions = field(default_factory=Conditions)
    counts: Counts = field(default_factory=Counts)
    _free_s: float = 0.0
    """When the line has sent what it was given."""
    _under_way: list[tuple[float, int, bytes]] = field(default_factory=list)
    """Heap of (time of arrival, order of entry, packet)."""
    _order: Iterator[int] = field(default_factory=itertools.count)

    def enter(self, packet: bytes, now_s: float) -> None:
        """Take a packet in at this end."""
        conditions, counts = self.conditions, self.counts
        if conditions.cut:
            counts.cut += 1
            return
        if self.random.random() < conditions.loss:
            counts.lost += 1
            return
        sent_s = now_s
        if conditions.bits_per_s is not None:
            begun_s = max(now_s, self._free_s)
            queued_bytes = (begun_s - now_s) * conditions.bits_per_s / 8
            if queued_bytes + len(packet) > conditions.queue_bytes:
                counts.overflowed += 1
                return
            sent_s = self._free_s = begun_s + 8 * len(packet) / conditions.bits_per_s
        late_s = conditions.late_s if self.random.random() < conditions.late else 0.0
        heapq.heappush(self._under_way, (sent_s + conditions.delay_s + late_s, next(self._order), packet))

    def arrived(self, now_s: float) -> Iterator[bytes]:
        """Yield the packets that come out at the other end by now; a cable that is cut swallows them."""
        while self._under_way and self._under_way[0][0] <= now_s:
            packet = heapq.heappop(self._under_way)[2]
            if self.conditions.cut:
                self.counts.cut += 1
                continue
            self.counts.passed += 1
            self.counts.passed_bytes += len(packet)
            yield packet

    @property
    def next_s(self) -> float | None:
        """When the next packet comes out; None when none is under way."""
        return self._under_way[0][0] if self._under_way else None


class Resets:
    """Resets TCP connections, each by the next segment of it that passes."""

    def __init__(self) -> None:
        self._seen: set[frozenset[bytes]] = set()
        self._doomed: set[frozenset[bytes]] = set()

    def doom(self) -> None:
        """Reset every connection that segments have passed of."""
        self._doomed |= self._seen
        self._seen.clear()

    def of(self, packet: bytes) -> bytes | None:
        """Return the RST that this packet is turned into; None where it is to pass as it is."""
        if packet[9] != _TCP:
            return None
        begin = 4 * (packet[0] & 0x0F)
        flags = packet[begin + 13]
        ends = frozenset((packet[12:16] + packet[begin : begin + 2], packet[16:20] + packet[begin + 2 : begin + 4]))
        if flags & (_SYN | _RST):
            self._seen.discard(ends)
            self._doomed.discard(ends)
            return None
        if ends not in self._doomed:
            self._seen.add(ends)
            return None
        self._doomed.discard(ends)
        return reset_of(packet)


def reset_of(packet: bytes) -> bytes:
    """Return the RST that its receiver takes for its peer's, in place of an IPv4 packet with a TCP segment."""
    begin = 4 * (packet[0] & 0x0F)
    segment = bytearray(packet[begin : begin + 20])
    segment[12] = 5 << 4  # a header of five words, no options
    segment[13] = _RST | _ACK
    segment[14:20] = bytes(6)  # window, checksum, urgent pointer
    pseudo = packet[12:20] + struct.pack("!HH", _TCP, len(segment))
    segment[16:18] = _checksum(pseudo + segment)
    header = bytearray(packet[:20])
    header[0] = 0x45
    header[2:4] = struct.pack("!H", len(header) + len(segment))
    header[10:12] = bytes(2)
    header[10:12] = _checksum(header)
    return bytes(header + segment)


def _checksum(content: bytes | bytearray) -> bytes:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


class Cable:
    """The process that plays a cable, as its user sees it."""

    def __init__(self, left: Host, right: Host, *, seed: int) -> None:
        self.conditions = Conditions()
        self._ends = [left, right]
        self._seed = seed

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.cable", str(self._seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            for side, host in enumerate(self._ends):
                self._plug(side, host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def set(self, conditions: Conditions) -> None:
        """Behave like this from now on; what is under way arrives as it would have, unless this is a cut."""
        self.conditions = conditions
        self._order(conditions=asdict(conditions))

    def reset_connections(self) -> None:
        """Reset every TCP connection, each when the next segment of it passes."""
        self._order(reset=True)

    def move_end(self, old: Host, new: Host) -> None:
        """Pull the cable out of one host and plug it into another."""
        side = self._ends.index(old)
        self._ends[side] = new
        self._plug(side, new)

    def counts(self) -> tuple[Counts, Counts]:
        """Return what became of the packets: from the left end's host to the right one's, and back."""
        forth, back = self._order()
        return Counts(**forth), Counts(**back)

    def _plug(self, side: int, host: Host) -> None:
        self._order(plug=[side, host.namespace])
        host.bring_up(DEVICE)

    def _order(self, **order: Any) -> list[dict[str, int]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the cable's process has ended"
        counts: list[dict[str, int]] = json.loads(answer)
        return counts


def _open_tun(namespace: str) -> int:
    """Make the TUN device in a namespace; it is there until the descriptor returned is closed."""
    with within(namespace):
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


class _Player:
    """The process: two devices, two ways between them, and orders on standard input."""

    def __init__(self, seed: int) -> None:
        self._devices: list[int | None] = [None, None]
        self._ways = [Way(random.Random(f"{seed} {side}")) for side in (0, 1)]
        """By the side that packets come from."""
        self._resets = Resets()

    def play(self) -> None:
        """Carry packets and take orders until standard input ends."""
        orders = sys.stdin.fileno()
        rest = b""
        while True:
            ready, _, _ = select.select([orders, *filter(None, self._devices)], [], [], self._patience_s())
            for side in (0, 1):
                if self._devices[side] in ready:
                    self._take_in(side)
            self._put_out()
            if orders in ready:
                read = os.read(orders, 65536)
                if not read:
                    return
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    self._obey(**json.loads(line))
                    print(json.dumps([asdict(way.counts) for way in self._ways]), flush=True)

    def _obey(
        self,
        conditions: dict[str, Any] | None = None,
        reset: bool = False,
        plug: tuple[int, str] | None = None,
    ) -> None:
        if conditions is not None:
            for way in self._ways:
                way.conditions = Conditions(**conditions)
        if reset:
            self._resets.doom()
        if plug is not None:
            side, namespace = plug
            old = self._devices[side]
            if old is not None:
                os.close(old)
            self._devices[side] = _open_tun(namespace)

    def _patience_s(self) -> float | None:
        due_s = [way.next_s for way in self._ways if way.next_s is not None]
        return max(0.0, min(due_s) - time.monotonic()) if due_s else None

    def _take_in(self, side: int) -> None:
        device, way = self._devices[side], self._ways[side]
        assert device is not None
        for _ in range(_GREATEST_BATCH):
            try:
                packet = os.read(device, _MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            if packet[0] >> 4 != 4:
                continue  # IPv6's neighbour talk
            reset = self._resets.of(packet)
            if reset is not None:
                way.counts.reset += 1
            way.enter(reset or packet, time.monotonic())

    def _put_out(self) -> None:
        now_s = time.monotonic()
        for side in (0, 1):
            device = self._devices[1 - side]
            for packet in self._ways[side].arrived(now_s):
                if device is not None:
                    try:
                        os.write(device, packet)
                    except OSError:
                        pass  # the interface there is down: nobody is there


def can_be_played() -> bool:
    """Whether this machine has what a cable takes."""
    return Path("/dev/net/tun").exists()


if __name__ == "__main__":
    _Player(int(sys.argv[1])).play()

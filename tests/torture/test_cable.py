"""The cable does what it says: by itself under a virtual clock, and measured with real packets."""

import itertools
import random
import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.deploy.hosts import Host, NoHosts, hosts, within
from tests.torture.cable import Cable, Conditions, Resets, Way, can_be_played, reset_of

NEAR, FAR = "10.203.79.1", "10.203.79.2"
PORT = 9000


def way(**conditions: float) -> Way:
    return Way(random.Random(1), Conditions(**conditions))


def test_a_perfect_cable_passes_everything_at_once_and_in_order() -> None:
    cable = way()
    for number in range(100):
        cable.enter(bytes([number]), 5.0)
    assert list(cable.arrived(5.0)) == [bytes([number]) for number in range(100)]


def test_packets_are_lost_at_the_rate_that_was_set_and_the_same_ones_for_the_same_seed() -> None:
    def arrived() -> list[bytes]:
        cable = way(loss=0.05)
        for number in range(20_000):
            cable.enter(number.to_bytes(4, "big"), 0.0)
        assert cable.counts.lost == 20_000 - len(cable._under_way)
        return list(cable.arrived(0.0))

    assert 0.045 < 1 - len(arrived()) / 20_000 < 0.055
    assert arrived() == arrived()


def test_a_packet_takes_the_delay_and_late_ones_are_overtaken() -> None:
    cable = way(delay_s=0.2, late=0.25, late_s=0.05)
    for number in range(200):
        cable.enter(bytes([number]), 0.001 * number)
    assert list(cable.arrived(0.199)) == []
    out = [packet[0] for packet in cable.arrived(1.0)]
    assert sorted(out) == list(range(200))
    overtaken = sum(early > late for early, late in itertools.pairwise(out))
    assert 20 < overtaken < 70


def test_the_line_sends_at_its_rate_and_its_queue_is_bounded() -> None:
    cable = way(bits_per_s=1e6, queue_bytes=10_500)
    for _ in range(100):
        cable.enter(bytes(1000), 0.0)
    assert cable.counts.overflowed == 90
    assert len(list(cable.arrived(0.0401))) == 5  # 8 ms each
    cable.enter(bytes(1000), 0.0401)
    assert len(list(cable.arrived(1.0))) == 6


def test_a_cut_swallows_what_is_under_way_too() -> None:
    cable = way(delay_s=0.2)
    cable.enter(b"1", 0.0)
    cable.conditions = Conditions(cut=True)
    cable.enter(b"2", 0.1)
    assert list(cable.arrived(1.0)) == []
    assert cable.counts.cut == 2


def segment(flags: int, *, sender: int = 1, receiver: int = 2) -> bytes:
    header = struct.pack("!BBHHHBBH4B4B", 0x45, 0, 45, 7, 0, 64, 6, 0, 10, 0, 0, sender, 10, 0, 0, receiver)
    return header + struct.pack("!HHIIBBHHH", sender, receiver, 5, 6, 5 << 4, flags, 9, 0, 0) + b"hello"


def test_a_connection_is_reset_once_by_its_next_segment_whichever_way_that_goes() -> None:
    resets = Resets()
    assert resets.of(segment(0x10)) is None
    resets.doom()
    assert resets.of(segment(0x02, sender=3)) is None, "a connection that is being made is not reset"
    assert resets.of(segment(0x18, sender=2, receiver=1)) is not None
    assert resets.of(segment(0x18)) is None


def test_a_reset_has_no_payload_and_checksums_that_hold() -> None:
    reset = reset_of(segment(0x18))
    assert len(reset) == 40
    assert reset[33] == 0x14
    assert (reset[20:24], reset[24:32]) == (segment(0)[20:24], segment(0)[24:32])
    for content in (reset[:20], reset[12:20] + struct.pack("!HH", 6, 20) + reset[20:]):
        total = sum(struct.unpack(f"!{len(content) // 2}H", content))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Host, Host]]:
    if not can_be_played():
        pytest.skip("no /dev/net/tun to make a cable of")
    try:
        with hosts(NEAR, FAR) as (near, far):
            yield near, far
    except NoHosts as reason:
        pytest.skip(str(reason))


def udp(host: Host) -> socket.socket:
    with within(host.namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**22)
    made.bind((host.address, PORT))
    return made


def send(ends: tuple[Host, Host], count: int, size: int, every_s: float) -> tuple[list[int], list[float], float]:
    """Send datagrams; return the numbers that came, in order, the delay of each, and the seconds it took."""
    near, far = ends
    with udp(near) as sender, udp(far) as receiver:
        came: list[int] = []
        delays_s: list[float] = []

        def take(patience_s: float) -> bool:
            if not select.select([receiver], [], [], patience_s)[0]:
                return False
            number, sent_s = struct.unpack_from("!Id", receiver.recv(65536))
            came.append(number)
            delays_s.append(time.monotonic() - sent_s)
            return True

        begun_s = last_s = time.monotonic()
        for number in range(count):
            sender.sendto(struct.pack("!Id", number, time.monotonic()).ljust(size, b"\0"), (FAR, PORT))
            time.sleep(every_s)
            while take(0.0):
                pass
        while take(0.5):
            last_s = time.monotonic()
        return came, delays_s, last_s - begun_s


@pytest.mark.slow
def test_measured_with_real_packets_loss_delay_reordering_and_rate_are_those_set(ends: tuple[Host, Host]) -> None:
    with Cable(*ends, seed=1) as cable:
        came, delays_s, _ = send(ends, 50, 100, 0.001)
        assert came == list(range(50))

        cable.set(Conditions(loss=0.05))
        came, _, _ = send(ends, 2000, 100, 0.0)
        assert 0.03 < 1 - len(came) / 2000 < 0.07
        assert cable.counts()[0].lost == 2000 - len(came)

        cable.set(Conditions(delay_s=0.2, late=0.25))
        came, delays_s, _ = send(ends, 200, 100, 0.002)
        assert sorted(came) == list(range(200))
        assert came != sorted(came)
        assert min(delays_s) >= 0.2
        assert sorted(delays_s)[len(delays_s) // 2] < 0.3

        cable.set(Conditions(bits_per_s=1e6, queue_bytes=50_000))
        came, _, took_s = send(ends, 100, 1000, 0.0)
        sent_bytes = 1028 * len(came)  # with the headers of IP and UDP
        assert cable.counts()[0].overflowed == 100 - len(came) > 0
        assert 0.3e6 < 8 * sent_bytes / took_s < 1.05e6

        cable.set(Conditions(cut=True))
        assert send(ends, 5, 100, 0.0)[0] == []


@pytest.mark.slow
def test_connections_are_reset_and_the_kernels_say_so(ends: tuple[Host, Host]) -> None:
    near, far = ends
    with Cable(near, far, seed=1) as cable:
        with within(far.namespace):
            listener = socket.create_server((FAR, PORT))
        with within(near.namespace):
            client = socket.create_connection((FAR, PORT))
        server, _ = listener.accept()
        with listener, client, server:
            client.sendall(b"before")
            assert server.recv(100) == b"before"
            cable.reset_connections()
            client.sendall(b"after")
            server.settimeout(5.0)
            with pytest.raises(ConnectionResetError):
                server.recv(100)
            client.settimeout(5.0)
            client.send(b"again")  # to which the other kernel has but one answer
            with pytest.raises(ConnectionResetError):
                client.recv(100)
        assert sum(way.reset for way in cable.counts()) == 1


@pytest.mark.slow
def test_an_end_can_be_plugged_into_another_host(ends: tuple[Host, Host]) -> None:
    near, far = ends
    with hosts(FAR) as (spare,), Cable(near, far, seed=1) as cable:
        cable.move_end(far, spare)
        assert send((near, spare), 5, 100, 0.001)[0] == list(range(5))

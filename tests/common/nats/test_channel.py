import os
import signal
import threading
import time

import pytest

from common.errors import RookeryError, SettingsError
from common.nats import channel as module
from common.nats.address import NatsAddress
from common.nats.channel import NatsChannel, State
from common.nats.connection import Away, NobodyThere, Rejected
from common.nats.login import NatsLogin
from common.nats.server import NatsServer
from common.nats.server_config import NatsServerSettings
from tests.common.nats.nkey import make_nkey
from tests.conftest import free_base_port
from tests.until import until


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.2)


async def idle(connection) -> None:
    pass


@pytest.fixture
def channel(closing):
    def start(address, serve=idle, **others) -> NatsChannel:
        made = NatsChannel(NatsAddress.parse(str(address)), serve, name="test", inbox="_INBOX.test", **others)
        made.start()
        return closing(made)

    return start


def connected(channel: NatsChannel) -> NatsChannel:
    assert channel.wait_until(lambda: channel.state is State.CONNECTED, 10.0), channel.reason
    return channel


class Echo:
    """Serves by handing on what is sent to a subject, and notes its beginnings and ends."""

    def __init__(self, subject: str = "echo") -> None:
        self.subject, self.begun, self.ended = subject, 0, 0
        self.channel: NatsChannel | None = None

    async def __call__(self, connection) -> None:
        import asyncio

        self.begun += 1

        async def take(message) -> None:
            assert self.channel is not None
            self.channel.put(message.data)

        await connection.subscribe(self.subject, take, max_messages=100, max_bytes=2**20)
        try:
            await connection.ask("$SYS.none", timeout_s=0.01)
        except Away:
            pass  # by now the server knows of the subscription
        self.channel.put(b"listening")
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


@pytest.fixture
def echo(channel):
    def start(address, **others) -> tuple[NatsChannel, Echo]:
        served = Echo()
        made = NatsChannel(
            NatsAddress.parse(str(address)), served, name="test", inbox="_INBOX.test", **others
        )  # fmt: skip
        served.channel = made
        made.start()
        return made, served

    return start


def next_event(channel: NatsChannel):
    return until(lambda: channel.wait(0.1))


# Connected, away, refused


def test_a_channel_connects_and_says_so(address, channel):
    made = connected(channel(address))
    assert (made.state, made.reason) == (State.CONNECTED, "")
    stats = made.stats()
    assert (stats.state, stats.connects, stats.losses, stats.refusals) == (State.CONNECTED, 1, 0, 0)


def test_it_starts_whether_a_server_is_there_or_not_and_waits_for_one(server, channel):
    server.kill()
    made = channel(server.address)
    until(lambda: "Connect call failed" in made.reason)
    assert made.state is State.AWAY
    assert not made.post("echo", b"x")
    server.start()
    connected(made)


def test_a_server_that_is_killed_is_away_until_it_is_back_and_serving_begins_anew(server, echo, closing):
    made, served = echo(server.address)
    closing(made)
    assert next_event(made) == [b"listening"]
    server.kill()
    assert made.wait_until(lambda: made.state is State.AWAY, 10.0)
    until(lambda: served.ended == 1)
    server.start()
    connected(made)
    assert next_event(made) == [b"listening"]
    assert served.begun == 2
    assert made.post("echo", b"after")
    assert next_event(made) == [b"after"]
    assert (made.stats().connects, made.stats().losses) == (2, 1)


def test_one_server_of_several_that_answers_is_enough(server, channel):
    there = server.settings.port
    connected(channel(f"nats://127.0.0.1:{free_base_port()},127.0.0.1:{there}"))


@pytest.mark.parametrize("under_way", [0, 3 * 2**20])
def test_a_server_that_hangs_is_given_up_also_with_much_under_way_to_it(server, monkeypatch, channel, under_way):
    monkeypatch.setattr(module, "PING_S", 0.2)
    monkeypatch.setattr(module, "CONNECT_S", 0.5)
    monkeypatch.setattr(module, "END_S", 0.2)
    made = connected(channel(server.address))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        for _ in range(under_way // 2**19):
            made.post("nowhere", b"x" * 2**19)
        assert made.wait_until(lambda: made.state is State.AWAY, 10.0)
        until(lambda: made.stats().losses == 1)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    connected(made)


def test_who_is_not_let_in_is_told_why_and_comes_again(nats_server_binary, tmp_path, channel):
    closed = NatsServerSettings(
        directory=tmp_path, port=free_base_port(), more='authorization { user: "a", password: "b" }'
    )
    with NatsServer(closed) as server:
        made = channel(server.address)
        assert made.wait_until(lambda: made.state is State.REFUSED, 10.0)
        assert made.reason == "Authorization Violation"
        until(lambda: made.stats().refusals > 1)
        server.stop()
        with NatsServer(NatsServerSettings(directory=tmp_path, port=closed.port)):
            connected(made)


def test_an_nkey_lets_in_whom_the_server_lists_and_nobody_else(nats_server_binary, tmp_path, channel):
    listed, unlisted = make_nkey(tmp_path / "listed"), make_nkey(tmp_path / "unlisted")
    settings = NatsServerSettings(
        directory=tmp_path / "nats",
        port=free_base_port(),
        more=f"authorization {{ users: [{{ nkey: {listed} }}] }}",
    )
    assert unlisted != listed
    with NatsServer(settings) as server:
        connected(channel(server.address, login=NatsLogin(seed_file=tmp_path / "listed")))
        other = channel(server.address, login=NatsLogin(seed_file=tmp_path / "unlisted"))
        assert other.wait_until(lambda: other.state is State.REFUSED, 10.0)


def test_credentials_that_are_missing_or_none_are_told_at_once(tmp_path, channel):
    (tmp_path / "odd").touch(mode=0o600)
    (tmp_path / "odd").write_text("no seed")
    for login in (
        NatsLogin(seed_file=tmp_path / "missing"), NatsLogin(seed_file=tmp_path / "odd"),
        NatsLogin(credentials_file=tmp_path / "missing"), NatsLogin(ca_file=tmp_path / "missing"),
        NatsLogin(ca_file=tmp_path / "odd"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match="check --keys"):
            channel("nats://127.0.0.1:1", login=login)


def test_where_tls_is_asked_for_nothing_goes_in_the_clear(server, channel):
    made = channel(server.address.replace("nats://", "tls://"))
    until(lambda: made.reason == "it speaks no TLS")
    assert made.state is State.AWAY
    assert made.stats().connects == 0


def test_a_channel_that_is_closed_leaves_no_thread_and_takes_nothing_more(address, channel):
    before = threading.active_count()
    made = connected(channel(address))
    assert threading.active_count() > before
    made.close()
    assert threading.active_count() == before
    assert made.state is State.CLOSED
    assert not made.post("echo", b"x")
    assert not made.call(print)
    with pytest.raises(Away):
        made.submit(idle(None)).result(1.0)
    made.close()


def test_a_channel_closes_soon_whether_there_is_a_server_or_not(channel):
    made = channel(f"nats://127.0.0.1:{free_base_port()}")
    begun_s = time.monotonic()
    made.close()
    assert time.monotonic() - begun_s < 3.0
    assert made.state is State.CLOSED


# What goes in and comes out


def test_what_is_posted_goes_out_in_order_also_a_moment_before_the_end(address, echo, closing):
    made, _ = echo(address)
    closing(made)
    assert next_event(made) == [b"listening"]
    other, _ = echo(address)
    closing(other)
    assert next_event(other) == [b"listening"]
    for number in range(50):
        assert made.post("echo", b"%d" % number)
    made.close()
    came: list[bytes] = []
    until(lambda: len(came) == 50, lambda: came.extend(other.wait(0.1)))
    assert came == [b"%d" % number for number in range(50)]


def test_a_message_that_is_too_long_for_the_server_is_dropped_alone(address, echo, closing):
    made, served = echo(address)
    closing(made)
    assert next_event(made) == [b"listening"]
    made.post("echo", b"x" * (2**20 + 1))
    made.post("echo", b"short")
    assert next_event(made) == [b"short"]
    assert (made.stats().posts_dropped, served.begun) == (1, 1)


def test_more_posts_than_can_wait_are_dropped(server, monkeypatch, channel):
    made = connected(channel(server.address))
    monkeypatch.setattr(module, "POST_BYTES_MAX", 100)
    assert not made.post("echo", b"x" * 101)
    assert made.stats().posts_dropped == 1


def test_more_events_than_can_wait_are_dropped_or_waited_with(address, channel):
    made = connected(channel(address, events_max=3))
    kept = made.submit(_put_all(made, range(5)))
    assert kept.result(5.0) == [True, True, True, False, False]
    waiting = made.submit(made.put_soon("late"))
    assert not waiting.done()
    assert made.wait(1.0) == [0, 1, 2]
    waiting.result(5.0)
    assert made.wait(1.0) == ["late"]
    assert made.stats().events_dropped == 2


async def _put_all(channel: NatsChannel, events) -> list[bool]:
    return [channel.put(event) for event in events]


def test_waiting_ends_with_the_time_where_nothing_comes(address, channel):
    made = connected(channel(address))
    begun_s = time.monotonic()
    assert made.wait(0.1) == []
    assert 0.09 < time.monotonic() - begun_s < 5.0
    assert made.wait(0.0) == []


def test_calls_are_made_in_the_channels_thread_in_their_order(address, channel):
    made = channel(address)
    seen: list[tuple[int, bool]] = []
    for number in range(100):
        assert made.call(lambda number=number: seen.append((number, threading.current_thread() is made._thread)))
    until(lambda: len(seen) == 100)
    assert seen == [(number, True) for number in range(100)]


# Errors


def test_an_error_of_our_own_in_serving_is_raised_to_the_caller(address, channel):
    async def broken(connection) -> None:
        raise ZeroDivisionError("oh")

    made = channel(address, broken)
    with pytest.raises(RookeryError, match=r"internal error in a NATS link: ZeroDivisionError\('oh'\)"):
        until(lambda: None, lambda: made.wait(0.1))


def test_an_error_of_our_own_in_a_call_is_raised_to_the_caller(address, channel):
    made = channel(address)
    made.call(lambda: 1 // 0)
    with pytest.raises(RookeryError, match="ZeroDivisionError"):
        until(lambda: None, lambda: made.wait(0.1))


def test_an_answer_that_does_not_come_begins_serving_anew(address, channel):
    begun = []

    async def serve(connection) -> None:
        begun.append(connection)
        if len(begun) == 1:
            raise Away("no answer")

    made = channel(address, serve)
    until(lambda: len(begun) == 2)
    connected(made)
    assert made.wait(0.0) == []


def test_what_nobody_takes_what_is_refused_and_what_is_stored_are_told_apart(address, channel):
    made = connected(channel(address))
    connection = made.connection
    assert connection is not None

    def result(coroutine):
        return made.submit(coroutine).result(10.0)

    with pytest.raises(NobodyThere):
        result(connection.ask("nobody"))
    with pytest.raises(NobodyThere):
        result(connection.store("no.stream", b"x"))
    with pytest.raises(Rejected, match=r"^STREAM.INFO.none: stream not found$") as caught:
        result(connection.api("STREAM.INFO.none"))
    assert (caught.value.code, caught.value.error_code) == (404, 10059)
    result(connection.api("STREAM.CREATE.S", {"name": "S", "subjects": ["s.*"], "allow_direct": True}))
    first = result(connection.store("s.1", b"one", headers={"Nats-Msg-Id": "a"}))
    again = result(connection.store("s.1", b"one", headers={"Nats-Msg-Id": "a"}))
    assert (first.sequence, first.duplicate, again.sequence, again.duplicate) == (1, False, 1, True)
    kept = result(connection.kept("S", sequence=1))
    assert kept is not None
    assert (kept.sequence, kept.data) == (1, b"one")
    assert result(connection.kept("S", last_of="s.1")) == kept
    assert result(connection.kept("S", sequence=9)) is None
    with pytest.raises(Rejected, match="over the server's limit"):
        result(connection.store("s.1", b"x" * (2**20 + 1)))

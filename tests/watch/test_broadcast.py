import asyncio

import pytest

from watch import broadcast
from watch.broadcast import Broadcast, Client, TooManyClients, frame


def test_an_event_is_one_block_of_lines() -> None:
    assert frame("logs", b'{"a":1}') == b'event: logs\ndata: {"a":1}\n\n'


def test_a_slow_page_loses_old_events_and_holds_no_more_than_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "MAX_BACKLOG_BYTES", 1000)

    async def slow() -> None:
        client = Client()
        dropped = sum(client.put(b"%03d " % number * 25) for number in range(100))
        assert dropped == 90
        assert client._bytes == 1000
        assert await client.next() == b"090 " * 25
        assert client.put(b"x" * 5000) == 9  # one that is larger than all stays, or nothing would come through
        assert await client.next() == b"x" * 5000
        client.close()
        assert await client.next() is None

    asyncio.run(slow())


def test_all_pages_get_the_same_bytes_and_a_page_that_leaves_is_forgotten() -> None:
    async def two_pages() -> None:
        pages = Broadcast(max_clients=2)
        pages.start()
        one, other = pages.listen(lambda: b"first"), pages.listen(lambda: b"first")
        assert not pages.wanted  # neither has been sent anything
        assert (await anext(one)).endswith(b"first")
        assert (await anext(other)).endswith(b"first")
        with pytest.raises(TooManyClients):
            pages.listen(lambda: b"")
        pages.publish("status", b"{}")
        assert await anext(one) is await anext(other)
        await one.aclose()
        assert pages.stats().clients == 1
        pages.close()
        assert [event async for event in other] == []
        assert not pages.wanted
        late = pages.listen(lambda: b"")
        assert [event async for event in late] == []

    asyncio.run(two_pages())


def test_a_page_hears_something_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "HEARTBEAT_S", 0.001)
    assert asyncio.run(Client().next()) == b": still here\n\n"

"""A channel of the test's own, whose connection is driven from the test's thread."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from common.nats.address import NatsAddress
from common.nats.channel import NatsChannel, State
from common.nats.connection import NatsConnection
from tests.until import until

T = TypeVar("T")


class Driven:
    """Runs coroutines on a connection; a context manager."""

    def __init__(self, address: object, serve: Callable[..., Any] | None = None) -> None:
        async def idle(connection: NatsConnection) -> None:
            pass

        self.channel: NatsChannel[Any] = NatsChannel(
            NatsAddress.parse(str(address)), serve or idle, name="test", inbox="_INBOX.test"
        )

    def __enter__(self) -> "Driven":
        self.channel.start()
        assert self.channel.wait_until(lambda: self.channel.state is State.CONNECTED, 10.0), self.channel.reason
        return self

    def __exit__(self, *error: object) -> None:
        self.channel.close()

    close = __exit__

    @property
    def connection(self) -> NatsConnection:
        return until(lambda: found if (found := self.channel.connection) and not found.lost else None)

    def do(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 30.0) -> T:
        """Return what a coroutine returns, or raise what it raises."""
        return self.channel.submit(coroutine).result(timeout_s)

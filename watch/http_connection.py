"""A connection that a slow or silent peer can't hold: uvicorn's own, with a time for each thing that the peer does.

- A request is there whole within REQUEST_S of its first byte, the first one of when the connection was made.
- Of what is sent, something is taken within SEND_S, else the connection is cut off.
- There are at most MAX_CONNECTIONS; one more is cut off at once.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
REQUEST_S = 10.0
SEND_S = 30.0


class Connection(H11Protocol):
    """One connection, in the server's event loop."""

    _request_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, unless there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._watch_request()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._watch_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all."""
        self._request_timer, self._send_timer = _cancelled(self._request_timer), _cancelled(self._send_timer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The peer takes less than is sent."""
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        """The peer has taken it."""
        super().resume_writing()
        self._send_timer = _cancelled(self._send_timer)

    def _watch_request(self) -> None:
        whole = self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)
        if whole or self.transport.is_closing():
            self._request_timer = _cancelled(self._request_timer)
        elif self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_S, self._cut_off)

    def _watch_sending(self) -> None:
        before = self.transport.get_write_buffer_size()

        def look_again() -> None:
            if self.transport.get_write_buffer_size() >= before:
                self._cut_off()
            else:
                self._watch_sending()

        _cancelled(self._send_timer)
        self._send_timer = self.loop.call_later(SEND_S, look_again)

    def _cut_off(self) -> None:
        self.transport.abort()


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer, if there is one; return what stands for none."""
    if timer is not None:
        timer.cancel()
    return None

"""Running the dashboard's server: its socket, its main loop and its orderly end."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from common.errors import OperatorError
from watch.http_connection import Connection

GRACE_S = 2
"""For answers that are under way at the end."""
LAST_WORDS_S = 0.2
"""For what was already sent to reach those who read."""
BACKLOG = 128


def listen(bind: str, port: int) -> socket.socket:
    """Return a socket that listens; raises OperatorError, in one line, where it can't."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise OperatorError(f"--bind {bind}: not an address of this host") from error
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise OperatorError(
            f"can't listen on {bind} port {port}: {error.strerror}; choose another --port"
        ) from error
    return found


class Server(uvicorn.Server):
    """uvicorn, whose loop is the process's main loop; signals are the process's."""

    def __init__(
        self, app: ASGIApp, *, on_ready: Callable[[], None], on_turn: Callable[[], bool], on_end: Callable[[], None]
    ) -> None:
        """All are called in the event loop: `on_ready` once requests are answered, `on_turn` ten times a second
        from then on, which returns whether to end, and `on_end` at the end: streams would hold it up.
        """
        super().__init__(
            uvicorn.Config(
                app, http=Connection, lifespan="on", log_config=None, access_log=False, server_header=False,
                date_header=False, ws="none", timeout_graceful_shutdown=GRACE_S, proxy_headers=False,
                log_level="warning",
            )
        )  # fmt: skip
        self._on_ready, self._on_turn, self._on_end = on_ready, on_turn, on_end

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Make a turn; return whether it was the last."""
        return self._on_turn() or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way; a page that takes nothing any more is cut off, for it would hold us up."""
        self._on_end()
        await asyncio.sleep(LAST_WORDS_S)
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None and transport.get_write_buffer_size():
                transport.abort()
        await super().shutdown(sockets)


def serve(server: Server, listening: socket.socket) -> None:
    """Serve until told to stop."""
    asyncio.run(server.serve(sockets=[listening]))

"""A dashboard that is really served, of a real broker, and what a browser would ask of it."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.security import reach_as_operator
from common.settings import Settings
from tests.until import until
from watch.broadcast import Broadcast
from watch.guard import Access
from watch.judge import Judge
from watch.observer import Observer
from watch.prometheus import Metrics
from watch.server import Dashboard, application
from watch.serving import Server, listen, serve


class Answer:
    """What came back."""

    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self.code, self.headers, self.body = reply.status, reply.headers, reply.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Served:
    """A served dashboard: `ask` is one request, `events` a page's stream."""

    def __init__(self, dashboard: Dashboard, port: int) -> None:
        self.dashboard, self.port = dashboard, port

    def ask(self, path: str, body: object = None, method: str | None = None, **headers: str) -> Answer:
        """Send a request; headers with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(
                method or ("GET" if body is None else "POST"), path, None if body is None else json.dumps(body),
                {name.replace("_", "-"): value for name, value in headers.items()},
            )  # fmt: skip
            return Answer(connection.getresponse())
        finally:
            connection.close()

    @contextmanager
    def events(self, **headers: str) -> Iterator[Iterator[tuple[str, Any]]]:
        """Give an iterator of the events from now on, each with its name and what it says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/api/stream", headers=headers)
            yield self._events_of(connection.getresponse())
        finally:
            connection.close()

    def _events_of(self, reply: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
        name = ""
        while line := reply.readline().decode():
            kind, _, text = line.strip().partition(": ")
            if kind == "event":
                name = text
            elif kind == "data":
                yield name, json.loads(text)


@contextmanager
def served(directory: Path, base_port: int, access: Access | None = None, **settings: object) -> Iterator[Served]:
    """Serve the run in `directory`, of the broker at `base_port`."""

    link = reach_as_operator(Settings(base_port=base_port)).operator
    broadcast = Broadcast()
    observer = Observer(directory, link, listener=broadcast)
    dashboard = Dashboard(
        observer=observer, broadcast=broadcast, access=access or Access(bind="127.0.0.1"), make_link=link,
        settings=Settings(run=str(directory), base_port=base_port, **settings),
        judge=Judge(directory, Settings(**settings).agents),
        metrics=Metrics(observer, broadcast).text,
    )  # fmt: skip
    with listen("127.0.0.1", 0) as listening, observer:
        ending = threading.Event()
        server = Server(
            application(dashboard), on_ready=lambda: None, on_turn=ending.is_set, on_end=broadcast.close
        )
        thread = threading.Thread(target=serve, args=(server, listening), daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield Served(dashboard, listening.getsockname()[1])
        finally:
            ending.set()
            thread.join(20)
            assert not thread.is_alive()

"""The dashboard's HTTP server: pages, JSON, server-sent events, metrics and orders.

    GET  /                    the page; /static/… and /pieces/wN.svg what it is made of
    GET  /metrics             Prometheus
    GET  /api/state           everything that is needed to draw at once
    GET  /api/stream          server-sent events: status, logs, intervals, spans, game
    GET  /api/logs, /api/spans, /api/game, /api/judge
    POST /api/order           pause, resume, drain or reset actors

docs/dashboard.md says what each takes. All that it tells it has from the observer; only orders go to the broker.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import chess
import chess.svg
import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from common.errors import OperatorError
from common.links import OperatorLink
from common.log_lines import SEVERITY_NUMBERS, LogLine
from common.messages import MAX_ACTORS, Action, Name
from common.settings import Settings
from common.trouble import is_told
from watch.broadcast import Broadcast, TooManyClients, frame
from watch.game_digest import GameDigest, digest
from watch.guard import Access, Guard
from watch.judge import Judge, NoJudge
from watch.log_ring import LogQuery, json_list
from watch.observer import Observer

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
ORDER_PATIENCE_S = 5.0
MAX_ORDER_BYTES = 1024 * 1024
GAME_INTERVAL_S = 3.0
"""Between two games sent to the pages: a game takes longer to look at."""
NO_CACHE = {"Cache-Control": "no-store"}
PIECE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "max-age=86400",
}


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an order."""

    action: Action
    names: Annotated[list[Name], msgspec.Meta(max_length=MAX_ACTORS)] = []
    """Actors; none means all."""


_order_decoder = msgspec.json.Decoder(Order)


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """What the server answers from."""

    observer: Observer
    broadcast: Broadcast
    settings: Settings
    access: Access
    judge: Judge
    make_link: Callable[[], OperatorLink]
    """Opens a link for one order, which is given in a worker thread."""
    metrics: Callable[[], tuple[bytes, str]]
    """Returns the metrics and their content type."""


class Endpoints:
    """The answers to requests."""

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard
        self._observer = dashboard.observer
        self._digested: tuple[LogLine, GameDigest] | None = None
        self._judging = asyncio.Semaphore(1)

    def routes(self) -> list[Route | Mount]:
        """Return which path leads where."""
        return [
            Route("/", self.page),
            Route("/metrics", self.metrics),
            Route("/api/state", self.state),
            Route("/api/stream", self.stream),
            Route("/api/logs", self.logs),
            Route("/api/spans", self.spans),
            Route("/api/game", self.game),
            Route("/api/judge", self.judge),
            Route("/api/order", self.order, methods=["POST"]),
            Route("/pieces/{name}.svg", self.piece),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

    async def page(self, request: Request) -> Response:
        """Return the page."""
        del request
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def piece(self, request: Request) -> Response:
        """Return the picture of a piece: a colour and a letter, as wN."""
        picture = _piece(request.path_params["name"])
        if picture is None:
            return _sentence("no such piece: w or b, and one of P N B R Q K", 404)
        return Response(picture, media_type="image/svg+xml", headers=PIECE_HEADERS)

    async def metrics(self, request: Request) -> Response:
        """Return the metrics."""
        del request
        text, kind = await run_in_threadpool(self._dashboard.metrics)
        return Response(text, headers={"Content-Type": kind, **NO_CACHE})

    async def state(self, request: Request) -> Response:
        """Return everything that is needed to draw at once."""
        may_order = self._dashboard.access.may_order(request.scope)
        return _json(await run_in_threadpool(self._state, may_order))

    def _state(self, may_order: bool) -> dict[str, object]:
        settings = self._dashboard.settings
        return {
            **self._observer.status_news(self._observer.snapshot()),
            "series": self._observer.series(),
            "run": {"settings": settings, "directory": str(settings.directory.absolute())},
            "services": self._observer.records.services(),
            "may_order": may_order,
            "order_token": self._dashboard.access.order_token if may_order else "",
        }

    async def stream(self, request: Request) -> Response:
        """Send events from now on."""
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        try:
            events = self._dashboard.broadcast.listen(self._first)
        except TooManyClients:
            return _sentence("too many pages are open on this dashboard: close some", 503)
        return StreamingResponse(
            events, media_type="text/event-stream", headers={**NO_CACHE, "X-Accel-Buffering": "no"}
        )

    def _first(self) -> bytes:
        return frame("status", msgspec.json.encode(self._observer.status_news(self._observer.snapshot())))

    async def logs(self, request: Request) -> Response:
        """Return log records, the newest first."""
        try:
            query = _log_query(dict(request.query_params))
        except ValueError as error:
            return _sentence(str(error), 400)
        found = await run_in_threadpool(self._observer.records.find, query)
        text = b'{"logs":%s,"more":%s,"held":%d}' % (
            json_list(found.records), b"true" if found.more else b"false", len(self._observer.records),
        )  # fmt: skip
        return Response(text, media_type="application/json", headers=NO_CACHE)

    async def spans(self, request: Request) -> Response:
        """Return the spans of the last seconds."""
        try:
            seconds = float(request.query_params.get("seconds", "60"))
        except ValueError:
            return _sentence("seconds is a number", 400)
        found = self._observer.spans.since(time.time() - max(0.0, seconds))
        return Response(b'{"spans":[%s]}' % b",".join(found), media_type="application/json", headers=NO_CACHE)

    async def game(self, request: Request) -> Response:
        """Return the last game, of an actor or of any."""
        actor = request.query_params.get("actor")
        found = await run_in_threadpool(self.digested, actor)
        if found is None:
            return _sentence("no game was seen yet: actors tell of one every few seconds", 404)
        return _json(found)

    def digested(self, actor: str | None = None) -> GameDigest | None:
        """Return the last game; None where there is none that can be played through."""
        line, before = self._observer.game(actor), self._digested
        if line is None:
            return None
        if before is not None and before[0] is line:
            return before[1]
        try:
            found = digest(line, self._dashboard.settings)
        except ValueError:
            return None
        self._digested = (line, found)
        return found

    async def judge(self, request: Request) -> Response:
        """Return what the agents make of a position."""
        try:
            async with self._judging:
                found = await run_in_threadpool(self._dashboard.judge.judge, request.query_params.get("fen", ""))
        except NoJudge as error:
            return _sentence(str(error), 404)
        except ValueError as error:
            return _sentence(f"not a position to judge: {error}", 400)
        return _json(found)

    async def order(self, request: Request) -> Response:
        """Give an order to actors."""
        if not self._dashboard.access.is_order(request.scope):
            return _sentence("orders are taken from this dashboard's own page alone, where they are allowed", 403)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_ORDER_BYTES:
                return _sentence("that order is too long", 413)
        try:
            order = _order_decoder.decode(body)
        except msgspec.DecodeError as error:
            return _sentence(f"no order: {error}", 400)
        try:
            ordered, unknown = await run_in_threadpool(self._give, order)
        except OperatorError as error:
            return _sentence(str(error), 502)
        return _json({"names": ordered, "unknown": unknown})

    def _give(self, order: Order) -> tuple[list[str], list[str]]:
        link = self._dashboard.make_link()
        try:
            return link.command(order.action.value, order.names, ORDER_PATIENCE_S)
        finally:
            link.close()

    async def send_games(self) -> None:
        """Send the pages the last game again and again, for as long as the server runs."""
        sent: GameDigest | None = None
        faults = 0
        while True:
            await asyncio.sleep(GAME_INTERVAL_S)
            try:
                sent = await self._send_game(sent)
            except Exception:  # one game that can't be told must not be the last one
                faults += 1
                if is_told(faults):
                    log.exception("the last game can't be told", extra={"count": faults})

    async def _send_game(self, sent: GameDigest | None) -> GameDigest | None:
        """Send the last game unless nobody listens or it was sent; return the one that was sent last."""
        if not self._dashboard.broadcast.wanted:
            return sent
        found = await run_in_threadpool(self.digested)
        if found is None or found is sent:
            return sent
        self._dashboard.broadcast.publish("game", msgspec.json.encode({"game": found}))
        return found


def application(dashboard: Dashboard) -> Starlette:
    """Return the ASGI application."""
    endpoints = Endpoints(dashboard)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        dashboard.broadcast.start()
        games = asyncio.create_task(endpoints.send_games())
        try:
            yield
        finally:
            games.cancel()
            dashboard.broadcast.close()

    return Starlette(
        routes=endpoints.routes(), lifespan=lifespan, middleware=[Middleware(Guard, access=dashboard.access)]
    )


def _log_query(given: dict[str, str]) -> LogQuery:
    level = given.get("level", "").upper()
    if level and level not in SEVERITY_NUMBERS:
        raise ValueError(f"level is one of {', '.join(SEVERITY_NUMBERS)}")
    try:
        before, limit = int(given["before"]) if given.get("before") else None, int(given.get("limit") or 200)
    except ValueError:
        raise ValueError("before is the id of a record, and limit a number") from None
    return LogQuery(
        severity=SEVERITY_NUMBERS.get(level, 0),
        services=frozenset(filter(None, given.get("service", "").split(","))),
        text=given.get("text", "")[:200],
        before=before,
        limit=max(1, limit),
    )


@lru_cache(maxsize=32)
def _piece(name: str) -> str | None:
    if len(name) != 2 or name[0] not in "wb" or name[1] not in "PNBRQK":
        return None
    return chess.svg.piece(chess.Piece.from_symbol(name[1] if name[0] == "w" else name[1].lower()))


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json", headers=NO_CACHE)


def _sentence(text: str, status: int) -> Response:
    return Response(f"{text}\n", status_code=status, media_type="text/plain", headers=NO_CACHE)

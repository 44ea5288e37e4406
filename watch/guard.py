"""Who may look at the dashboard, and who may give orders by it.

- The Host of every request must be a loopback name, the address that it came to, or a name that the operator gave:
  a page of elsewhere whose name was made to lead here (DNS rebinding) has another one.
- Off loopback everybody must show a password, once: by `/?token=…`, which leaves a cookie, or as a bearer token.
- Orders need the token that only our own page can read, and a request of our own page. They are for this host's
  own users, whose requests no proxy has passed on; for others only where the operator said so and holds the
  operator's key.

An ASGI middleware; every answer gets the headers that keep a browser from running or framing what is not ours.
"""

import hmac
import secrets
import socket
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.security import is_loopback

COOKIE = "rookery"
"""What a cookie's name begins with; the port follows, for browsers send a host's cookies to all its ports."""
COOKIE_AGE_S = 30 * 24 * 3600
TOKEN_HEADER = "X-Rookery-Token"
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-host", "via")
"""What proxies add to a request: with any of them it is not known whose request it is."""
WILDCARDS = ("0.0.0.0", "::", "")
"""Addresses that stand for all of this host's."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """What the operator has decided."""

    bind: str
    """Address or name that the server listens on."""
    host_names: tuple[str, ...] = ()
    """More names that it is known by."""
    password: str | None = field(default=None, repr=False)
    """What everybody must show; None where only this host's users can connect."""
    allow_orders: bool = False
    """Whether orders are taken from other hosts, too."""
    order_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """What an order must come with; drawn anew at each start."""

    @property
    def name(self) -> str:
        """Address or name by which the page is reached: of an address that stands for all, this host's name."""
        return socket.gethostname() if self.bind in WILDCARDS else self.bind

    def knows(self, host: str, reached: str) -> bool:
        """Whether a request may name `host`, the name without its port, at the address `reached`."""
        names = {name.lower() for name in (self.bind, self.name, reached, *self.host_names)}
        return is_loopback(host) or host.strip("[]").lower() in names

    def admits(self, shown: str | None) -> bool:
        """Whether what was shown as the password is it."""
        return self.password is None or (shown is not None and _same(shown, self.password))

    def may_order(self, scope: Scope) -> bool:
        """Whether orders are taken from where this request comes from."""
        client, headers = scope.get("client"), Headers(scope=scope)
        here = client is not None and is_loopback(client[0]) and is_loopback(host_of(headers))
        return (here and not any(name in headers for name in FORWARDED)) or self.allow_orders

    def is_order(self, scope: Scope) -> bool:
        """Whether a request that gives an order comes from our own page, from where orders are taken."""
        headers = Headers(scope=scope)
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        own = origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()
        token = headers.get(TOKEN_HEADER, "")
        return own and site in ("same-origin", "none") and _same(token, self.order_token) and self.may_order(scope)


class Guard:
    """Turns away who may not look; the rest goes on to `app`."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer: ASGIApp = self._refusal(scope) or self._app

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, server = host_of(headers), scope.get("server")
        if not self._access.knows(host, server[0] if server else ""):
            return _sentence(
                f"this dashboard is not known as {host or 'nothing'}: give --host-name NAME if it should be", 403
            )
        if self._access.admits(None):
            return None
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        token = query.pop("token", None)
        if token is not None and scope["method"] == "GET" and self._access.admits(token):
            return self._let_in(scope, token, urlencode(query))
        if self._access.admits(_shown(headers, _cookie(scope))):
            return None
        return _sentence(
            "a password is needed: open the address that `rookery dashboard` printed, /?token=…", 401,
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip

    def _let_in(self, scope: Scope, token: str, query: str) -> Response:
        path = "/" + scope["path"].lstrip("/")  # else //elsewhere would lead there
        response = RedirectResponse(path + (f"?{query}" if query else ""), status_code=303)
        # Lax: a link to the page that stands elsewhere leads in. Orders have a token of their own.
        response.set_cookie(_cookie(scope), token, max_age=COOKIE_AGE_S, httponly=True, samesite="lax")
        return response


def host_of(headers: Headers) -> str:
    """Return the name in the Host header, without its port and, of an IPv6 address, without brackets."""
    host = headers.get("host", "")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _cookie(scope: Scope) -> str:
    """Return the name of the cookie: with the port that the browser knows us by, else with our own."""
    port = Headers(scope=scope).get("host", "").rpartition("]")[2].rpartition(":")[2]
    server = scope.get("server")
    return f"{COOKIE}-{port if port.isdecimal() and port.isascii() else server[1] if server else 0}"


def _shown(headers: Headers, name: str) -> str | None:
    """Return the password that a request shows, as a bearer token or in the cookie called `name`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return cookie.value if cookie is not None else None


def _same(shown: str, secret: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(shown.encode(errors="replace"), secret.encode())


def _sentence(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status, headers=headers)

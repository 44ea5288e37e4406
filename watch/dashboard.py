"""The dashboard put together: observer, metrics and server, from start to end."""

from collections.abc import Callable
from urllib.parse import quote

from common.links import OperatorLink
from common.process import Process
from common.settings import Settings
from watch.broadcast import Broadcast
from watch.guard import Access
from watch.judge import Judge
from watch.observer import Observer
from watch.prometheus import Metrics
from watch.server import Dashboard, application
from watch.serving import Server, listen, serve


def serve_dashboard(
    settings: Settings,
    process: Process,
    make_link: Callable[[], OperatorLink],
    access: Access,
    port: int,
    say: Callable[[str], None] | None,
    *,
    show_password: bool,
) -> None:
    """Serve until the process is stopped; `say` is told the address. Raises OperatorError for a taken port."""
    make_link().close()  # an address or a key that is none is told here, in one line
    broadcast = Broadcast()
    observer = Observer(settings.directory, make_link, listener=broadcast)

    def turn() -> bool:
        process.turn(lambda: f"{broadcast.stats().clients} pages; broker: {observer.snapshot().state}")
        return bool(process.stopping)

    def end() -> None:
        process.notifier.stopping()
        broadcast.close()

    with listen(access.bind, port) as listening:
        dashboard = Dashboard(
            observer=observer, broadcast=broadcast, settings=settings, access=access,
            judge=Judge(settings.directory, settings.agents), make_link=make_link,
            metrics=Metrics(observer, broadcast).text,
        )  # fmt: skip
        server = Server(application(dashboard), on_ready=process.ready, on_turn=turn, on_end=end)
        if say is not None:
            say(f"dashboard: {address(access, listening.getsockname()[1], show_password=show_password)}")
        with observer:
            serve(server, listening)


def address(access: Access, port: int, *, show_password: bool = False) -> str:
    """Return the address of the page, with the password where it is to be shown."""
    host = f"[{access.name}]" if ":" in access.name else access.name
    query = f"?token={quote(access.password)}" if show_password and access.password is not None else ""
    return f"http://{host}:{port}/{query}".removesuffix("/")

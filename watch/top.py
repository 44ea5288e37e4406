"""`rookery top`: the dashboard for a terminal."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from common.errors import OperatorError
from common.links import Transport
from common.options import settings_of_flags, settings_options
from common.security import reach_as_operator
from common.settings import Settings
from watch.top_app import TopApp
from watch.top_source import LiveSource
from watch.top_view import View

SCREENSHOT_PATIENCE_S = 30.0
FONT_FACE = re.compile(r"@font-face \{.*?\}", re.DOTALL)
"""Of the SVG: fonts that a viewer would fetch from elsewhere; its own monospaced one does."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options
@click.option("--screenshot", "picture", type=click.Path(path_type=Path), hidden=True)
@click.option("--size", default=(160, 50), type=(int, int), hidden=True)
def top(picture: Path | None, size: tuple[int, int], **flags: Any) -> None:
    """Watch a run in the terminal: agents, actors, services, accounting and the log; order actors about.

    Needs the broker, and shows the log where DIR/logs of --run is on this host. ? explains the keys.

    Example:  rookery top --run runs/first
    """
    settings = settings_of_flags(flags)
    transport = reach_as_operator(settings)
    if picture is not None:
        picture.write_text(screenshot(settings, columns=size[0], lines=size[1]), encoding="utf-8")
        return
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise OperatorError("it needs a terminal: `rookery status` prints how things stand")
    source = _source(settings, transport)
    app = _app(settings, transport, source)
    try:
        app.run()
    finally:
        app.join()
        source.close()


def screenshot(settings: Settings, *, columns: int = 160, lines: int = 50, focus: str = "actors") -> str:
    """Return what `rookery top` shows of a run that goes on, as SVG; `focus` is agents, actors, services,
    accounting or log. Looks for several seconds, so that there are rates. Raises BrokerUnreachable.
    """
    transport = reach_as_operator(settings)
    source = _source(settings, transport)
    app = _app(settings, transport, source)
    try:
        return asyncio.run(_picture(app, (columns, lines), focus))
    finally:
        app.join()
        source.close()


async def _picture(app: TopApp, size: tuple[int, int], focus: str) -> str:
    async with app.run_test(size=size) as pilot:
        app.query_one(f"#{focus}").focus()
        await _until(lambda: _has_rates(app.view) or bool(app.view.trouble))
        await pilot.pause()
        return FONT_FACE.sub("", app.export_screenshot(title="rookery top"))


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(round(SCREENSHOT_PATIENCE_S / 0.1)):
        if condition():
            return
        await asyncio.sleep(0.1)


def _has_rates(view: View) -> bool:
    return view.pace.rates.positions_per_s > 0 and view.pace.left_s is not None


def _source(settings: Settings, transport: Transport) -> LiveSource:
    return LiveSource(transport.operator, settings.directory / "logs")


def _app(settings: Settings, transport: Transport, source: LiveSource) -> TopApp:
    return TopApp(source, run=settings.run, broker=transport.address.removeprefix("tcp://"))

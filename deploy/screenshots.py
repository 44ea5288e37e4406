"""Pictures for the documentation, all of one real run: of its dashboard, of `rookery top` and of its report.

    python -m deploy.screenshots --to docs/images

A development script: runs `rookery up` on the bundled games in a temporary directory, which takes a few minutes,
and needs playwright and a Chromium. The pictures are called NAME-KIND: overview-light.png, top-160.svg.
"""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.request import urlopen

import click

from common.errors import RookeryError
from common.options import run
from deploy.dashboard import address
from watch.dashboard_command import PORT_OFFSET

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
GAMES = ROOT / "samples" / "games.pgn.zst"
PLACE = Path(tempfile.gettempdir()) / "rookery"
"""Made for the run and removed after it. Its name is seen in the pictures, so it is none of chance."""
RUN = "runs/games"
"""Below that directory, from which all commands are typed."""
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
"""Of Chromium."""
FLAGS = (
    "--dashboard", "--nodes", "1500", "--probe-rate", "0.1", "--publish-every", "10", "--held-out", "0.1",
    "--checkpoint-every", "10", "--games-per-unit", "8",
)  # fmt: skip
"""Of `rookery up`, beside --run and --base-port."""
BASE_PORT = 5850
"""Where ports are looked for; above those of a run with the default settings."""
INTERVALS = 4
"""Points that the learning curves must have."""
WHOLE = frozenset({"overview"})
"""Views of which the picture is as long as they are."""
TOPS = ((80, 24), (160, 45))
"""Columns and lines of the terminals."""
REPORT_HEIGHT = 1400
"""Pixels of the report, from its top."""
SETTLE_MS = 2500
"""For curves and some seconds of rates."""
START_PATIENCE_S, END_PATIENCE_S = 300.0, 1200.0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way of looking at the dashboard, and what is looked at."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]
    views: tuple[str, ...]


KINDS = (
    Kind(name="light", width=1280, height=800, scheme="light", views=("overview", "logs", "timeline", "curves")),
    Kind(name="dark", width=1280, height=800, scheme="dark", views=("overview", "board")),
    Kind(name="phone", width=360, height=740, scheme="light", views=("overview", "board")),
)


class PicturesFailed(RookeryError):
    """The run did not come to where it can be looked at, or ended badly."""


def take_all(folder: Path, tell: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Run the bundled games and take all pictures into `folder`; returns their paths. Raises PicturesFailed."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    base_port = free_base_port()
    with _place() as place, _run_of(place, base_port) as process:
        url = address(base_port + PORT_OFFSET)
        tell("waiting until both agents' curves have begun")
        _wait(lambda: worth_looking_at(_state(url)), START_PATIENCE_S, process)
        tell("taking the dashboard and the terminal")
        taken = capture(url, folder) + [_top(place, folder, columns, lines) for columns, lines in TOPS]
        tell("waiting for the end")
        if process.wait(END_PATIENCE_S):
            raise PicturesFailed(f"the run ended with exit code {process.returncode}")
        _command(place, "report", RUN, "--to", "report.html")
        return [*taken, capture_report(place / "report.html", folder)]


def capture(url: str, folder: Path) -> list[Path]:
    """Take pictures of the dashboard at `url` into `folder`; returns their paths."""
    with _chromium() as browser:
        return [taken for kind in KINDS for taken in _of_kind(browser, url, folder, kind)]


def capture_report(page_file: Path, folder: Path) -> Path:
    """Take a picture of the top of a report into `folder`; returns its path."""
    with _chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": REPORT_HEIGHT}, color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        return _picture(page, folder / "report-light.png", whole=False)


def worth_looking_at(state: dict[str, Any] | None) -> bool:
    """Whether games flow, and both agents have curves and weights, by what /api/state of the dashboard says."""
    state = state or {}
    agents = (state.get("status") or {}).get("agents", [])
    flowing = bool(agents) and state["rates"]["games_per_s"] > 0
    return flowing and all(
        agent["version"] >= 1 and len(state["series"].get(agent["name"], ())) >= INTERVALS for agent in agents
    )


def free_base_port() -> int:
    """Return the first of as many free ports as a run with a dashboard needs."""
    for base in range(BASE_PORT, BASE_PORT + 2000, PORT_OFFSET + 1):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for offset in range(PORT_OFFSET + 1):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", base + offset))
            return base
    raise PicturesFailed("no ports are free")


@contextmanager
def _place() -> Iterator[Path]:
    """Make the run's directory, with the games in it; remove it in the end."""
    try:
        PLACE.mkdir()
    except FileExistsError as error:
        raise PicturesFailed(f"{PLACE}: is there already; remove it") from error
    try:
        shutil.copy(GAMES, PLACE)
        yield PLACE
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


@contextmanager
def _run_of(place: Path, base_port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start the run in `place`; it is stopped if it has not ended."""
    command = ["up", GAMES.name, "--run", RUN, "--base-port", str(base_port), *FLAGS]
    with (place / "up.out").open("wb") as output:
        process = subprocess.Popen(_words(command), cwd=place, stdout=output, stderr=output)
    try:
        yield process
    finally:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30.0)


def _words(command: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name("rookery")), *command]


def _command(place: Path, *words: str) -> None:
    done = subprocess.run(_words(list(words)), cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PicturesFailed(f"rookery {words[0]}: {' '.join(done.stderr.split())}")


def _top(place: Path, folder: Path, columns: int, lines: int) -> Path:
    path = folder / f"top-{columns}.svg"
    _command(place, "top", "--run", RUN, "--screenshot", str(path), "--size", str(columns), str(lines))
    return path


def _state(url: str) -> dict[str, Any] | None:
    """Return what the dashboard knows; None where it does not answer yet."""
    with contextlib.suppress(OSError, ValueError), urlopen(f"{url}/api/state", timeout=5.0) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
    return None


def _wait(condition: Callable[[], bool], patience_s: float, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + patience_s
    while not condition():
        if process.poll() is not None:
            raise PicturesFailed(f"the run ended too soon, with exit code {process.returncode}")
        if time.monotonic() > end_s:
            raise PicturesFailed(f"no agents are trained after {patience_s:.0f} s")
        time.sleep(0.5)


@contextmanager
def _chromium() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def _of_kind(browser: "Browser", url: str, folder: Path, kind: Kind) -> list[Path]:
    context = browser.new_context(
        viewport={"width": kind.width, "height": kind.height}, color_scheme=kind.scheme,
        has_touch=kind.name == "phone",
    )  # fmt: skip
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#agents .card")
    taken = []
    for view in kind.views:
        page.evaluate("view => { location.hash = view; }", view)
        page.wait_for_selector(f"#view-{view}:not([hidden])")
        page.wait_for_timeout(SETTLE_MS)
        page.wait_for_function(
            "view => !document.getElementById(`view-${view}`).innerText.includes('Asking')", arg=view
        )
        taken.append(_picture(page, folder / f"{view}-{kind.name}.png", whole=view in WHOLE))
    context.close()
    return taken


def _picture(page: "Page", path: Path, *, whole: bool) -> Path:
    page.screenshot(path=path, full_page=whole)
    return path


@click.command()
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/images"))
def main(folder: Path) -> None:
    """Run the bundled games and take pictures of the run into a folder.

    Example:  python -m deploy.screenshots --to docs/images
    """
    for path in take_all(folder, lambda what: click.echo(what, err=True)):
        click.echo(path)


if __name__ == "__main__":
    run(main, "deploy.screenshots")

"""The dashboard's page in a real browser: over a made-up run of 200 actors, and over a real one."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import free_base_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

STATIC = Path(__file__).resolve().parents[2] / "watch" / "static"
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "games.pgn.zst"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
VIEWS = ("overview", "curves", "actors", "logs", "board", "timeline")
PHONE = {"width": 360, "height": 740}
ACTORS, RECORDS = 200, 100_000
PATIENCE_S = 60.0
PAGE_PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    if not Path(CHROMIUM).exists():
        pytest.skip("Chromium is not installed")
    if importlib.util.find_spec("playwright") is None:
        if os.environ.get("CI"):
            pytest.fail("playwright is not installed")
        pytest.skip("playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address and the directory of a made-up run of many actors and records."""
    directory = tmp_path_factory.mktemp("page")
    with serving(directory, actors=ACTORS, records=RECORDS) as url:
        yield url, directory


@contextmanager
def serving(directory: Path, *, actors: int, records: int, port: int = 0) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.watch.replayed", str(directory), "--port", str(port)]
    with process([*command, "--actors", str(actors), "--records", str(records)]) as url:
        yield url


@contextmanager
def process(command: list[str], **options: Any) -> Iterator[str]:
    """Run a dashboard; yields its address, and ends it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert line.startswith("dashboard: http"), line
            yield line.removeprefix("dashboard: ").strip() + "/"
        finally:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


@pytest.fixture
def page(browser: "Browser", run: tuple[str, Path]) -> Iterator["Page"]:
    yield from opened(browser, run[0], viewport={"width": 1280, "height": 800})


def opened(browser: "Browser", url: str, **options: Any) -> Iterator["Page"]:
    """A page that is connected; fails the test where a script fails or a request leaves this host."""
    context = browser.new_context(**options)
    found = context.new_page()
    found.set_default_timeout(PAGE_PATIENCE_S * 1000)
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("console", lambda message: errors.append(message.text) if is_refusal(message.text) else None)
    found.on("request", lambda request: errors.append(request.url) if not request.url.startswith(url) else None)
    found.goto(url)
    found.wait_for_selector("#link[data-state=live], #link[data-state=done]")
    yield found
    context.close()
    assert errors == []


def is_refusal(text: str) -> bool:
    """Whether a line on the browser's console tells of something that the page must not do."""
    return "Content Security Policy" in text or "Error: <" in text


def show(page: "Page", view: str) -> None:
    page.evaluate(f"location.hash = '{view}'")
    page.wait_for_selector(f"#view-{view}:not([hidden])")


def test_the_overview_names_the_bottleneck_and_closes_the_accounts(page: "Page") -> None:
    assert "Stockfish-bound" in page.inner_text("#bottleneck")
    page.wait_for_selector("#flow .marked")
    assert page.text_content("#flow .marked .title") == f"{ACTORS - 2} of {ACTORS} actors"
    assert page.locator("#flow .marked .tag").text_content() == "bottleneck"
    assert page.locator("#agents .card h4").all_inner_texts() == ["white", "black"]
    rows = page.locator("#accounts [data-kind=transitions] tbody tr").all_inner_texts()
    numbers = [[int(part.replace(",", "")) for part in re.findall(r"[\d,]+", row)] for row in rows]
    assert all(total == sum(parts) and total > 200_000 for total, *parts in numbers)
    assert page.locator("#accounts .closed").all_inner_texts() == ["✓ closed"] * 4


def test_the_boxes_that_hold_the_run_back_are_those_that_the_status_names(page: "Page") -> None:
    for kind, agents, boxes in (
        *((kind, [], ["actors"]) for kind in ("Stockfish-bound", "actor-bound", "waiting")),
        ("network-bound", [], ["broker", "actors"]),
        ("broker-bound", [], ["broker"]),
        ("learner-bound", ["white"], ["learner:white"]),
        ("waiting", ["white", "black"], ["learner:white", "learner:black"]),
        ("none", [], []),
        (None, [], []),
    ):
        status = {"bottleneck_kind": kind, "bottleneck_agents": agents}
        assert page.evaluate("async (it) => (await import('/static/flow.js')).culprits(it)", status) == boxes, kind


def test_no_view_is_wider_than_a_phone(browser: "Browser", run: tuple[str, Path]) -> None:
    for page in opened(browser, run[0], viewport=PHONE, has_touch=True, color_scheme="dark"):
        for view in VIEWS:
            show(page, view)
            page.wait_for_timeout(150)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], view


def test_the_keyboard_alone_leads_through_the_page(page: "Page") -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for key, view in enumerate(VIEWS, 1):
        page.keyboard.press(str(key))
        page.wait_for_selector(f"#view-{view}:not([hidden])")
        assert page.locator(".views [aria-current=page]").get_attribute("href") == f"#{view}"
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.keyboard.press("?")
    assert page.locator("#keys-dialog").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    page.wait_for_function("document.activeElement.id === 'actors-title'")
    page.keyboard.press("/")
    page.wait_for_function("document.activeElement.id === 'actors-filter'")
    page.evaluate("localStorage.clear()")


def test_actors_are_filtered_and_sorted_with_few_elements(page: "Page") -> None:
    show(page, "actors")
    page.wait_for_selector("#actors-table .grid-body .grid-row")
    assert page.locator("#actors-table .grid").get_attribute("aria-rowcount") == str(ACTORS + 1)
    assert page.locator("#actors-table .grid-body .grid-row").count() < 80
    page.select_option("#actors-sort", "rejected")
    page.wait_for_function(
        "() => document.querySelector('[data-index=\"0\"] [data-column=rejected]').textContent === '4'"
    )
    page.fill("#actors-filter", "host-7")
    page.wait_for_function(
        "() => document.querySelector('#actors-table .grid').getAttribute('aria-rowcount') === '9'"
    )
    page.fill("#actors-filter", "")
    page.select_option("#actors-state", "stuck")
    page.wait_for_function(
        "() => document.querySelector('#actors-table .grid').getAttribute('aria-rowcount') === '5'"
    )


def test_an_order_is_given_after_a_confirmation_and_only_then(page: "Page", run: tuple[str, Path]) -> None:
    show(page, "actors")
    orders = run[1] / "orders"
    page.wait_for_selector("#actors-table .grid-body .grid-row")
    page.focus("#actors-table .grid")
    for key in ("Home", " ", "ArrowDown", " "):
        page.keyboard.press(key)
    page.wait_for_function("() => document.querySelector('#actors-selected').textContent === '2 selected'")
    page.click("#actors-orders [data-action=pause]")
    assert "Pause 2 actors?" in page.inner_text("#confirm")
    assert page.evaluate("document.activeElement.id") == "confirm-no"
    page.keyboard.press("Enter")
    assert not orders.exists()
    page.click("#actors-orders [data-action=pause]")
    page.click("#confirm-yes")
    page.wait_for_function("() => document.querySelector('#toast').textContent.includes('sent to 2 actors')")
    assert json.loads(orders.read_text()) == ["pause", ["actor-0", "actor-1"]]
    page.wait_for_function(
        "() => document.querySelector('[data-index=\"1\"] [data-column=state]').textContent.includes('paused')"
    )


def test_logs_are_filtered_and_an_error_is_found_on_the_curves_and_back(page: "Page") -> None:
    show(page, "logs")
    page.wait_for_selector("#logs-table .grid-body [data-level]")
    page.select_option("#logs-level", "17")
    page.wait_for_selector("#logs-table .grid-body [data-level=ERROR]")
    assert page.locator("#logs-table .grid-body [data-level=INFO]:visible").count() == 0
    page.fill("#logs-text", "engine died")
    page.click("#logs-error-before")
    page.wait_for_selector("#record pre")
    assert "OSError: full" in page.inner_text("#record")
    page.click("#record >> text=Show on the curves")
    page.wait_for_selector("#view-curves:not([hidden]) #mark-bar:not([hidden])")
    assert "engine died" in page.inner_text("#mark-bar")
    page.click("#mark-bar >> text=Back to the log")
    page.wait_for_selector("#view-logs:not([hidden]) #record:not([hidden])")


def test_a_hundred_thousand_records_are_held_in_few_elements(page: "Page") -> None:
    show(page, "logs")
    page.click("#logs-follow")
    page.wait_for_function("() => rookery.store.records.list.length >= 99000", timeout=PATIENCE_S * 1000)
    assert page.locator("#logs-table .grid-body .grid-row").count() < 120
    page.fill("#logs-text", "lease ran")
    summary = "document.querySelector('#logs-summary').textContent"
    found = f"() => /^[0-9]+ of [0-9,]+ records shown, [0-9]+ error/.test({summary})"
    page.wait_for_function(found, timeout=PATIENCE_S * 1000)
    assert 470 <= int(page.inner_text("#logs-summary").split()[0]) <= 480  # each 211th
    frames = page.evaluate(FRAMES)
    assert frames["rows"] > 10
    assert frames["median_ms"] < 250, frames  # a machine at leisure takes 17


FRAMES = """async () => {
  const grid = document.querySelector('#logs-table .grid'), frames = [];
  document.querySelector('#logs-text').value = '';
  document.querySelector('#logs-text').dispatchEvent(new Event('input'));
  let last = performance.now();
  for (let frame = 0; frame < 40; frame += 1) {
    grid.scrollTop = frame * 4000;
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  const rows = grid.querySelectorAll('.grid-body .grid-row:not([hidden])').length;
  return {median_ms: frames.sort((a, b) => a - b)[20], rows};
}"""


def test_curves_are_zoomed_by_wheel_drag_and_keys_and_shown_whole_by_a_double_click(page: "Page") -> None:
    show(page, "curves")
    chart = page.locator(".chart .u-over").first
    chart.wait_for()
    box = chart.bounding_box()
    assert box is not None
    whole = list(page.evaluate("rookery.curves.range"))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=4)
    page.mouse.up()
    dragged = changed(page, whole)
    assert whole[0] < dragged[0] < dragged[1] < whole[1]
    page.mouse.wheel(0, 200)
    wheeled = changed(page, dragged)
    assert wheeled[1] - wheeled[0] > dragged[1] - dragged[0]
    page.keyboard.press("ArrowLeft")
    panned = changed(page, wheeled)
    assert panned[0] < wheeled[0]
    page.mouse.dblclick(x, y)
    assert changed(page, panned) == whole
    page.keyboard.press("+")
    assert changed(page, whole)[0] > whole[0]


def changed(page: "Page", before: list[float]) -> list[float]:
    """What part of the x axis is shown, once it is not `before`."""
    page.wait_for_function("old => rookery.curves.range.join() !== old.join()", arg=before)
    return list(page.evaluate("rookery.curves.range"))


def test_the_board_steps_through_the_latest_game(page: "Page") -> None:
    show(page, "board")
    page.wait_for_selector("#board-layout:not([hidden])")
    page.keyboard.press("Home")
    page.wait_for_function(
        "() => document.querySelector('#board-position').textContent.includes('before the first move')"
    )
    assert page.locator(".square[data-piece]").count() == 32
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#board-position').textContent.includes('2. Nf3')")
    row = page.locator("#board-plies tr[aria-current=step]").inner_text().split()
    assert row[:3] == ["2", "2.", "Nf3"]
    assert "white" in row
    assert page.locator("#board-bar").get_attribute("aria-valuenow") == "52"
    page.keyboard.press("End")
    page.wait_for_function(
        "() => document.querySelector('#board-position').textContent.startsWith('Position 10 of 10')"
    )


def test_the_board_names_the_agent_and_asks_again_once_it_has_other_weights(page: "Page") -> None:
    move = {"uci": "e2e4", "san": "e4", "policy": 0.5, "prior": 0.4, "q": 0.01}
    judged = {"agent": "knightly", "version": 10**9, "weights_time": 0.0, "value": 0.5, "moves": [move]}
    answer = {"fen": "", "side": "white", "agents": [judged], "without": ["late"]}
    asked: list[str] = []

    def fulfil(route: "Route") -> None:
        asked.append(route.request.url)
        route.fulfill(json=answer)

    page.route("**/api/judge*", fulfil)
    show(page, "board")
    page.wait_for_selector("#board-judged table")
    assert "What knightly would play for white" in page.inner_text("#board-judged caption")
    assert page.inner_text("#board-judged p") == "late, too, plays white, and has no weights that can be read yet."
    page.keyboard.press("ArrowRight")
    page.wait_for_function("!document.querySelector('#board-judged.waiting')")
    before = len(asked)
    with page.expect_response("**/api/judge*"):
        page.evaluate("""() => {
          const { store } = rookery;
          const agents = store.status.agents.map((agent) => ({ ...agent, version: agent.version + 1000 }));
          store.takeStatus({ status: { ...store.status, agents }, broker: store.broker, rates: store.rates });
        }""")
    assert len(asked) > before


def test_long_curves_are_thinned_on_the_page_too(page: "Page") -> None:
    lengths = page.evaluate("""() => {
      const { store } = rookery;
      const made = Array.from({ length: 20000 }, (_, at) => ({ agent: "long", step: at, first_unit: at,
        last_unit: at, time: new Date(at * 1000).toISOString(), q_loss: 0.1,
        validation_loss: at % 1000 === 999 ? 0.2 : null }));
      store.takeIntervals(made);
      const list = store.series.get("long");
      const found = [list.length, list.at(-1).step, list.filter((one) => one.validation_loss !== null).length];
      store.series.delete("long");
      return found;
    }""")
    assert 1500 < lengths[0] <= 4000
    assert lengths[1:] == [19_999, 20]


def test_the_timeline_shows_each_process_and_its_shares(page: "Page") -> None:
    show(page, "timeline")
    page.select_option("#timeline-window", "300")
    page.wait_for_selector("#timeline-shares tbody tr")
    assert set(page.locator("#timeline-legend li").all_inner_texts()) == {"engine", "encode", "send"}
    assert "rookery trace" in page.inner_text("#timeline-trace")


def test_a_broker_that_is_away_is_said_and_so_is_its_return(page: "Page", run: tuple[str, Path]) -> None:
    (run[1] / "away").touch()
    try:
        page.wait_for_selector("#trouble:not([hidden])")
        assert "The broker is away" in page.inner_text("#trouble")
    finally:
        (run[1] / "away").unlink()
    page.wait_for_selector("#trouble", state="hidden")
    page.wait_for_selector("#link[data-state=live]")


def test_a_dashboard_that_is_away_is_said_and_found_again(browser: "Browser", tmp_path: Path) -> None:
    port = free_base_port()
    with serving(tmp_path, actors=3, records=20, port=port) as url:
        pages = opened(browser, url)
        page = next(pages)
    page.wait_for_selector("#link[data-state=bad]")
    assert "The dashboard does not answer" in page.inner_text("#trouble")
    with serving(tmp_path, actors=4, records=30, port=port):
        page.wait_for_selector("#link[data-state=live]")
        page.wait_for_function("() => document.querySelector('#nav-actors').textContent === '4'")
        assert list(pages) == []


@pytest.mark.slow
def test_a_real_run_is_shown_from_its_games_to_its_weights(
    browser: "Browser", stockfish: str, tmp_path: Path, base_port: int
) -> None:
    rookery = [str(Path(sys.executable).with_name("rookery"))]
    options = ["--run", str(tmp_path / "run"), "--base-port", str(base_port)]
    command = [
        *rookery,
        "up",
        str(SAMPLE),
        *options,
        "--nodes",
        "5",
        "--limit-games",
        "30",
        "--games-per-unit",
        "2",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quick = ["--engine", stockfish, "--actors", "1", "--samples-per-transition", "1", "--publish-every", "5"]
    with subprocess.Popen(
        [*command, *quick], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as up:
        try:
            wait_for(lambda: (tmp_path / "run" / "logs" / "trace.jsonl").exists())
            entry = "from watch.dashboard_command import dashboard; dashboard()"
            with process([sys.executable, "-c", entry, *options, "--port", "0"]) as url:
                for page in opened(browser, url, viewport={"width": 1280, "height": 800}):
                    page.wait_for_selector("#agents .card")
                    assert up.wait(PATIENCE_S * 3) == 0
                    show(page, "curves")
                    page.wait_for_selector(".chart .u-over")
                    show(page, "board")
                    page.wait_for_selector("#board-judged table")
                    assert page.locator("#board-judged tbody tr").count() > 1
                    show(page, "logs")
                    page.wait_for_selector("#logs-table .grid-body [data-level=INFO]:visible")
        finally:
            up.send_signal(signal.SIGINT)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


THEMES = {"light": r":root \{(.*?)\}", "dark": r':root\[data-theme="dark"\] \{(.*?)\}'}
INKS = ("text", "muted", "accent", "ok", "warn", "bad")


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_contrast_in_both_themes(theme: str) -> None:
    found = re.search(THEMES[theme], (STATIC / "style.css").read_text(), re.DOTALL)
    assert found is not None
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", found[1]))
    for ink in INKS:
        for ground in ("page", "surface", "sunk"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["bad"], colours["bad-back"]) >= 4.5
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    for number in range(6):
        assert contrast(colours[f"agent-{number}"], colours["surface"]) >= 3.0
    assert contrast(colours["edge"], colours["surface"]) >= 3.0


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2: 1 to 21."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_both_ways_to_darkness_have_the_same_colours() -> None:
    text = (STATIC / "style.css").read_text()
    by_system = re.search(r':root:not\(\[data-theme="light"\]\) \{(.*?)\}', text, re.DOTALL)
    by_choice = re.search(THEMES["dark"], text, re.DOTALL)
    assert by_system is not None
    assert by_choice is not None
    assert re.findall(r"--[^;]+", by_system[1]) == re.findall(r"--[^;]+", by_choice[1])


def test_what_others_wrote_comes_with_its_licence() -> None:
    assert "MIT" in (STATIC / "uplot" / "LICENSE").read_text()

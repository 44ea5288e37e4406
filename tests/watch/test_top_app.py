"""`rookery top` by its keys, at its widths, with what a broker says."""

import asyncio
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from common.log_lines import LogLine
from common.messages import Action
from tests.watch.log_files import line
from tests.watch.statuses import Shown, actor, agent, status, view
from watch.top_app import Looked, TopApp
from watch.top_view import STUCK_S

NARROW, WIDE = (80, 24), (160, 50)
Play = Callable[[Pilot[None], TopApp], Awaitable[None]]


def played(source: Shown, play: Play | None = None, size: tuple[int, int] = WIDE) -> list[str]:
    """Show a source, press keys, and return the lines on the screen at the end."""

    async def run() -> list[str]:
        app = TopApp(source, run="runs/first", broker="127.0.0.1:5750", interval_s=60.0)
        async with app.run_test(size=size) as pilot:
            while not app.looks:
                await pilot.pause(0.01)
            await pilot.pause()
            if play is not None:
                await play(pilot, app)
            return text_of(app)

    return asyncio.run(run())


async def look(pilot: Pilot[None], app: TopApp, source: Shown) -> None:
    """Have the app see what the source says now."""
    app.post_message(Looked(source.look(), source.lines()))
    await pilot.pause()


def text_of(app: TopApp) -> list[str]:
    return [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]


def row_of(lines: list[str], name: str) -> str:
    return next(one for one in lines if one.split()[:1] == [name])


def said(event: str, *, level: str = "INFO", **fields: object) -> LogLine:
    return line(0, source="broker.s", event=event, level=level, fields=fields)


def fleet(count: int) -> Shown:
    return Shown(view(status([actor(number) for number in range(count)])), [said("service joined", number=3)])


def test_everything_is_seen_at_160_columns():
    lines = played(fleet(4))
    text = "\n".join(lines)
    for word in (
        "Rookery  runs/first  broker 127.0.0.1:5750  up 1:02:03", "40%  ETA 1:02:03", "1.2k transitions/s",
        "Stockfish-bound: engines are busy 97% of the time", "Accounting  closed", "900 = 800 + 60 + 40",
        "720 = 700 + 0 + 20", "INFO    broker: service joined number=3", "1234 records, 0 missing",
    ):  # fmt: skip
        assert word in text, word
    white = row_of(lines, "white").split()
    assert white[:7] == ["white", "connected", "40/100", "45", "617", "600", "1000"]
    assert white[7:13] == ["0.0412", "█▃▂▂▁▁▁▁▁▁", "0.0561", "█▃▂▂▁▁▁▁▁▁", "31.2%", "▁▂▃▃▄▅▆▆▇█"]
    assert white[13:] == ["19.5%", "▁▂▃▃▄▅▆▆▇█", "12", "2", "12s"]
    assert row_of(lines, "actor-3").split() == [
        "actor-3", "host3", "working", "3.0", "97%", "0%", "2", "0s", "0s", "30", "0", "0", "0", "2", "200M",
    ]  # fmt: skip


def test_at_80_columns_the_dispensable_columns_are_gone_and_nothing_is_wider():
    lines = played(fleet(4), size=NARROW)
    assert max(map(len, lines)) <= 80
    assert len(lines) == 24
    titles = " ".join(lines).split()
    assert {"pos/s", "engine", "units", "progress", "memory", "loss", "trained/s"} <= set(titles)
    assert not {"waits", "cached", "restarts", "seen"} & set(row_of(lines, "actor").split())
    assert lines[-1].strip().startswith("q quit")
    assert lines[-1].endswith("?")


def test_two_hundred_actors_are_scrolled_through_and_the_cursor_is_always_seen():
    async def play(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("end")
        assert app.actors.selected.service.name == "actor-199"
        await pilot.press("home", *["pagedown"] * 3)

    lines = played(fleet(200), play, NARROW)
    shown = [one.split()[0] for one in lines if one.strip().startswith("actor-")]
    assert 5 <= len(shown) <= 20
    assert "actor-0" not in shown
    assert any("Actors  200, by actor ▲" in one for one in lines)


def test_actors_are_sorted_and_the_cursor_stays_with_its_actor():
    async def play(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("down", "greater_than_sign", "greater_than_sign", "greater_than_sign")
        assert app.actors.columns[app.actors.sorted_by].title == "pos/s"
        assert [row.service.name for row in app.actors.rows] == ["actor-3", "actor-2", "actor-1", "actor-0"]
        await pilot.press("i")
        assert app.actors.rows[0].service.name == "actor-0"
        assert app.actors.selected.service.name == "actor-1"
        await pilot.press("less_than_sign")
        assert app.actors.columns[app.actors.sorted_by].title == "state"

    played(fleet(4), play)


def test_actors_are_filtered_while_it_is_typed_and_escape_shows_all():
    async def play(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("slash", *"host3")
        assert {row.service.host for row in app.actors.rows} == {"host3"}
        await pilot.press("enter")
        assert app.focused is app.actors
        assert app.actors.border_title == "Actors  2 of 12 with 'host3', by actor ▲"
        await pilot.press("slash", "escape")
        assert len(app.actors.rows) == 12

    played(fleet(12), play)


ORDERS = [
    ("p", "y", [(Action.PAUSE, ["actor-1"])]),
    ("r", "a", [(Action.RESUME, [])]),
    ("d", "y", [(Action.DRAIN, ["actor-1"])]),
    ("x", "a", [(Action.RESET, [])]),
    ("x", "n", []),
    ("d", "escape", []),
]


def test_an_order_goes_to_whom_the_confirmation_says():
    source = fleet(3)

    async def play(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("down")
        for key, answer, ordered in ORDERS:
            source.orders.clear()
            await pilot.press(key)
            assert "actor-1" in "\n".join(text_of(app))
            assert "all 3 actors" in "\n".join(text_of(app))
            assert source.orders == []
            await pilot.press(answer)
            await app.workers.wait_for_complete()
            assert source.orders == ordered, (key, answer)

    played(source, play)


def test_a_broker_that_is_away_is_said_and_recovered_from():
    source = fleet(2)

    async def play(pilot: Pilot[None], app: TopApp) -> None:
        source.view = view(source.view.status, trouble="no broker answers at tcp://127.0.0.1:5750")
        await look(pilot, app, source)
        lines = text_of(app)
        assert "no word from the broker; what is shown is 0s old: no broker answers at" in lines[2]
        assert row_of(lines, "actor-1")
        await pilot.press("p", "a")
        await app.workers.wait_for_complete()
        assert source.orders == []
        source.view = view(source.view.status)
        await look(pilot, app, source)

    assert "Stockfish-bound" in played(source, play)[2]


def test_before_the_first_answer_the_panes_are_empty():
    lines = played(Shown(view(None, trouble="no broker answers")), size=NARROW)
    assert "no word from the broker: no broker answers" in lines[2]


def test_who_is_away_or_stuck_and_what_is_not_closed_is_said_in_words():
    actors = [actor(0, state="away"), actor(1, progress_s=STUCK_S + 1)]
    lines = played(Shown(view(status(actors, agents=[agent("white", closed=False), agent("black")]))))
    assert row_of(lines, "actor-0").split()[2] == "away"
    assert "working, stuck" in row_of(lines, "actor-1")
    assert any("Actors  2, by actor ▲  1 away" in one for one in lines)
    assert any("Accounting  NOT CLOSED: white" in one for one in lines)


def test_the_log_is_filtered_by_level_and_text():
    lines = [said("began", level="DEBUG"), said("joined"), said("lease ran out", level="WARNING", unit=12)]

    async def play(pilot: Pilot[None], app: TopApp) -> None:
        assert not any("began" in one for one in text_of(app))
        await pilot.press("l")
        assert not any("joined" in one for one in text_of(app))
        await pilot.press("l", "l", "tab", "tab", "tab")
        assert app.focused is app.tail
        await pilot.press("slash", *"unit=12", "enter")
        shown = text_of(app)
        assert any("WARNING broker: lease ran out unit=12" in one for one in shown)
        assert not any("joined" in one or "began" in one for one in shown)

    played(Shown(view(status([actor(0)])), lines), play)


def test_without_log_files_on_this_host_it_says_so():
    lines = played(Shown(view(status()), absent="no runs/first/logs/rookery.jsonl on this host"))
    assert any("no runs/first/logs/rookery.jsonl on this host" in one for one in lines)


def test_tab_gives_another_pane_its_room():
    async def play(pilot: Pilot[None], app: TopApp) -> None:
        actors_before = app.actors.size.height
        await pilot.press("tab", "tab", "tab")
        await pilot.pause()
        assert app.focused is app.tail
        assert app.actors.size.height < actors_before
        assert app.tail.size.height > 5

    played(fleet(200), play, NARROW)


def test_the_help_explains_and_any_key_closes_it():
    async def play(pilot: Pilot[None], app: TopApp) -> None:
        await pilot.press("question_mark")
        assert any("pause, resume, drain, reset" in one for one in text_of(app))
        await pilot.press("x")
        assert app.screen is app.screen_stack[0]

    played(fleet(2), play, NARROW)


def test_names_and_records_that_look_like_markup_stand_as_they_are():
    trap = said("[red]x[/]", fields_="[/nothing]", nasty="\x1b[2J")
    lines = played(Shown(view(status([actor(0)], bottleneck="[bold]waiting: [/x]")), [trap]))
    assert any("[red]x[/] fields_=[/nothing] nasty=\\x1b[2J" in one for one in lines)
    assert "[bold]waiting: [/x]" in lines[2]


def test_colour_is_left_out_where_no_colour_is_asked_for(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = TopApp(fleet(2), run="runs/first", broker="b")
    assert app.no_color

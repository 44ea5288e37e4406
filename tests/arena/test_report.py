"""The report card: as JSON, on a terminal of 80 columns, and as a page."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from arena.confidence import Estimate, share
from arena.elo import estimate as elo_estimate
from arena.match import MatchResult
from arena.report_card import (
    Band,
    Contestant,
    Entry,
    PuzzleResult,
    Puzzles,
    ReportCard,
    Way,
    read_card,
    write_card,
)
from arena.report_page import page, write_page
from arena.report_terminal import print_card
from common.errors import StoreError

WAYS = (Way.POLICY, Way.PRIOR, Way.LOOKAHEAD, Way.SEARCH)


def some(mean: float, count: int = 100) -> Estimate:
    estimate = share([mean] * count)
    assert estimate is not None
    return estimate


def card_of(*players: str) -> ReportCard:
    entries = [Entry(player=player, way=way, baseline=False) for player in players for way in WAYS]
    entries.append(Entry(player="random", way=Way.RANDOM, baseline=True))
    results = [
        PuzzleResult(
            entry=entry,
            solved=some(0.3),
            bands=[Band(start=start, estimate=some(0.4)) for start in (400, 600)]
            + [Band(start=None, estimate=some(0.1))],
        )
        for entry in entries
    ]
    match = MatchResult(
        player=players[0], opponent="random", games=10, games_wanted=10, wins=10, draws=0, losses=0,
        pairs=(0, 0, 0, 0, 5), elo=elo_estimate((0, 0, 10), (0, 0, 0, 0, 5)), sprt=None, endings={}, forfeits=0,
        opponent_forfeits=0, plies=100, seconds=1.0,
    )  # fmt: skip
    return ReportCard(
        rookery="0.1",
        made="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        seed=0,
        nodes=200,
        complete=True,
        notes=["no cloning baseline: <script>alert(1)</script>"],
        contestants=[Contestant(name=player, path=player, baseline=False) for player in players],
        puzzles=[Puzzles(file="dir/p.csv", puzzles=100, results=results)],
        matches=[match],
    )


def printed(card: ReportCard) -> str:
    stream = io.StringIO()
    print_card(card, Console(file=stream, width=80))
    return stream.getvalue()


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    card = card_of("first", "second")
    write_card(card, tmp_path / "card.json")
    assert read_card(tmp_path / "card.json") == card
    assert (
        msgspec.json.decode((tmp_path / "card.json").read_bytes())["puzzles"][0]["results"][0]["solved"]["count"]
        == 100
    )


def test_what_is_no_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(StoreError, match="no report card"):
        read_card(tmp_path / "card.json")


@pytest.mark.parametrize(
    "players", [("first",), ("first", "second"), tuple(f"step-{n:010}-unit-00000001" for n in range(7))]
)
def test_the_terminal_shows_every_checkpoint_within_80_columns(players: tuple[str, ...]) -> None:
    text = printed(card_of(*players))
    assert max(map(len, text.splitlines()[:-1])) <= 80
    assert text.count("30.0 (21.9-39.6)") >= len(players) * len(WAYS)
    assert "note: no cloning baseline" in text
    assert "at least" in text


def test_a_baseline_stands_in_the_column_of_each_checkpoint() -> None:
    [line] = [
        line
        for line in printed(card_of("first", "second")).splitlines()
        if line.startswith(" random  ") and "(" in line
    ]
    assert line.count("30.0 (21.9-39.6)") == 2


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    write_page(card_of("first", "second"), tmp_path / "card.html")
    html = (tmp_path / "card.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert not re.search(r"(src|href)=\"(?!#)", html.replace("xlink:href", "href"))
    assert "prefers-color-scheme: dark" in html


def test_each_plot_has_its_figures_in_words_and_as_a_table() -> None:
    html = page(card_of("first"))
    figures = html.split("<figure>")[1:]
    assert len(figures) == 2  # puzzles by rating, games
    for figure in figures:
        assert '<svg aria-hidden="true"' in figure
        assert re.search(r"<figcaption[^>]*>[^<]{10,}", figure)
        assert "<table>" in figure
    assert "policy π: 40.0 % (400-599) to 10.0 % (?)" in html


def test_plots_take_their_colours_from_the_page_and_keep_their_text() -> None:
    html = page(card_of("first"))
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert "var(--series-1)" in svg
    assert not set(re.findall(r"#[0-9a-f]{6}", svg)) - {"#000000", "#ffffff"}
    assert "puzzle rating" in svg
    assert len(set(re.findall(r' id="([^"]*)"', svg))) == len(re.findall(r' id="([^"]*)"', svg))


def test_the_page_is_well_formed() -> None:
    class Balanced(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Balanced()
    parser.feed(page(card_of("first", "second")))
    assert parser.open == []

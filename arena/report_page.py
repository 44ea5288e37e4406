"""A report card as one HTML page that needs nothing else: tables, plots as inline SVG, and each plot in words.

Works offline, in light and dark and on narrow screens. Beside each plot stand what it shows, in a sentence, and
its figures as a table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from arena.calibration import ReliabilityBin
from arena.evaluation import EVEN
from arena.held_out import PLY_BANDS, RATING_BANDS
from arena.page import render
from arena.plots import Point, Series, bands_plot, differences_plot, reliability_plot
from arena.puzzles import BAND
from arena.report_card import Band, Entry, Positions, Puzzles, ReportCard, Way
from arena.report_tables import (
    NOTHING,
    Row,
    Table,
    brier_bands,
    decimal,
    match_bands,
    match_table,
    open_band,
    overview,
    puzzle_bands,
    tables,
    way_label,
)
from common.whole_file import explained, whole_file

_COLOURS = {Way.POLICY: 0, Way.PRIOR: 1, Way.LOOKAHEAD: 2, Way.SEARCH: 3}
_BASELINE_COLOURS = {"random": 0, "cloning": 1, "value": 2, "material": 3}
_UNKNOWN = "?"
_PLOTTED_FROM = 5
"""Puzzles or positions from which on a band is plotted; smaller ones are in the table."""

_ELO_SHOWN = 800
"""How far an Elo difference without a bound is drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A plot, what it shows in words, and its figures."""

    title: str
    svg: str
    text: str
    table: Table


def write_page(card: ReportCard, path: Path) -> None:
    """Write the card as a page, whole or not at all; raises SettingsError where it can't be written."""
    content = page(card).encode()
    with whole_file(path) as file, explained(path):
        file.write(content)


def page(card: ReportCard) -> str:
    """Return the card as HTML."""
    players = [contestant.name for contestant in card.contestants if not contestant.baseline]
    shown = [
        {"title": plot.title, "svg": Markup(plot.svg), "text": plot.text, "table": plot.table}
        for plot in plots(card, players)
    ]
    return render(
        "arena/report_page.html", card=card, players=players, tables=[overview(card), *tables(card)], plots=shown
    )


def plots(card: ReportCard, players: Sequence[str]) -> Iterator[Plot]:
    """Yield the plots of a card."""
    for puzzles in card.puzzles:
        if len(players) > 1:
            yield _across(f"Puzzles of {Path(puzzles.file).name} solved", _solved(puzzles), players, card.nodes)
        for player in players:
            yield _puzzles(puzzles, player, card.nodes)
    for positions in card.positions:
        if len(players) > 1:
            yield _across(f"Moves of {Path(positions.file).name} matched", _matched(positions), players, card.nodes)
        for player in players:
            yield _matches(positions, player, card.nodes, by_rating=False)
            yield _matches(positions, player, card.nodes, by_rating=True)
        if positions.calibrations:
            yield _reliability(positions)
            yield _brier(positions)
    if card.matches:
        yield _games(card)


def _solved(puzzles: Puzzles) -> list[tuple[Entry, Band]]:
    return [(one.entry, Band(start=None, estimate=one.solved)) for one in puzzles.results]


def _matched(positions: Positions) -> list[tuple[Entry, Band]]:
    return [(one.entry, Band(start=None, estimate=one.top_1)) for one in positions.matches]


def _puzzles(puzzles: Puzzles, player: str, nodes: int) -> Plot:
    table = puzzle_bands(puzzles, player, nodes)
    results = [
        (one.entry, one.bands) for one in puzzles.results if one.entry.player == player or one.entry.baseline
    ]
    return _by_band(
        table, results, "puzzle rating", "solved, %", nodes, lambda start: f"{start}-{start + BAND - 1}"
    )


def _matches(positions: Positions, player: str, nodes: int, *, by_rating: bool) -> Plot:
    table = match_bands(positions, player, nodes, by_rating=by_rating)
    results = [
        (one.entry, one.by_rating if by_rating else one.by_ply)
        for one in positions.matches
        if one.entry.player == player or one.entry.baseline
    ]
    starts, what = (RATING_BANDS, "Elo of the player to move") if by_rating else (PLY_BANDS, "ply")
    return _by_band(table, results, what, "matched, %", nodes, lambda start: open_band(start, starts))


def _by_band(
    table: Table,
    results: Sequence[tuple[Entry, list[Band]]],
    x_label: str,
    y_label: str,
    nodes: int,
    name: Callable[[int], str],
) -> Plot:
    starts = sorted(
        {band.start for _, bands in results for band in bands}, key=lambda start: (start is None, start or 0)
    )
    places = {start: place for place, start in enumerate(starts)}
    series = [
        _series(entry, nodes, tuple(_percent_point(places[band.start], band) for band in bands if _plotted(band)))
        for entry, bands in results
    ]
    names = [_UNKNOWN if start is None else name(start) for start in starts]
    # Ticks say where a band begins; the table beside says where it ends.
    ticks = [_UNKNOWN if start is None else str(start) for start in starts]
    svg = bands_plot(series, ticks, x_label=f"{x_label} (from)", y_label=y_label)
    return Plot(title=table.title, svg=svg, text=_in_words(series, names), table=table)


def _plotted(band: Band) -> bool:
    return band.estimate.count >= _PLOTTED_FROM


def _across(title: str, results: Sequence[tuple[Entry, Band]], players: Sequence[str], nodes: int) -> Plot:
    """Return the plot of one figure over the checkpoints."""
    by_way: dict[str, list[tuple[Entry, Point]]] = {}
    for entry, band in results:
        places = range(len(players)) if entry.baseline else [players.index(entry.player)]
        for place in places:
            by_way.setdefault(way_label(entry, nodes), []).append((entry, _percent_point(place, band)))
    series = [_series(points[0][0], nodes, tuple(point for _, point in points)) for points in by_way.values()]
    table = Table(
        title=f"{title}, by checkpoint",
        note="%",
        columns=("checkpoint", *(one.label for one in series)),
        rows=tuple(
            Row(
                label=player,
                cells=tuple(
                    next((f"{point.y:.1f}" for point in one.points if point.x == place), NOTHING) for one in series
                ),
            )
            for place, player in enumerate(players)
        ),
    )
    svg = bands_plot(series, [f"{place + 1}" for place in range(len(players))], x_label="checkpoint", y_label="%")
    return Plot(title=table.title, svg=svg, text=_in_words(series, players), table=table)


def _reliability(positions: Positions) -> Plot:
    shown = [
        (one.source, [each for each in one.reliability if each.result.count >= _PLOTTED_FROM], one.brier.mean)
        for one in positions.calibrations
        if one.source != EVEN
    ]
    series = [
        Series(
            label=source,
            points=tuple(
                Point(x=each.predicted, y=each.result.mean, low=each.result.low, high=each.result.high)
                for each in bins
            ),
            colour=number,
        )
        for number, (source, bins, _) in enumerate(shown)
    ]
    rows = [
        Row(
            label=one.source,
            cells=(f"{each.predicted:.2f}", decimal(each.result, 2), f"{each.result.count:,}"),
        )
        for one in positions.calibrations
        for each in one.reliability
    ]
    table = Table(
        title="Reliability: predicted expected scores against results",
        note="on the dotted diagonal, results are what was predicted",
        columns=("predictions of", "predicted", "result", "positions"),
        rows=tuple(rows),
    )
    text = " ".join(_furthest(source, bins, brier) for source, bins, brier in shown if bins)
    return Plot(title=table.title, svg=reliability_plot(series), text=text, table=table)


def _furthest(source: str, bins: Sequence[ReliabilityBin], brier: float) -> str:
    """Say where a source is furthest off, and its Brier score."""
    worst = max(bins, key=lambda each: abs(each.predicted - each.result.mean))
    return (
        f"{source}: Brier score {brier:.3f}; furthest off where it predicts "
        f"{worst.predicted:.2f} and players made {worst.result.mean:.2f}."
    )


def _games(card: ReportCard) -> Plot:
    """Return the plot of Elo differences; one without a bound is shown to ±_ELO_SHOWN."""
    points = []
    for row, match in enumerate(card.matches):
        elo = match.elo
        bound = _ELO_SHOWN if match.score > 0.5 else -_ELO_SHOWN
        low, high = (elo.low, elo.high) if elo is not None else (None, None)
        shown = elo.elo if elo is not None and elo.elo is not None else bound
        points.append(
            Point(
                x=shown,
                y=row,
                low=min(shown, -_ELO_SHOWN if low is None else low),
                high=max(shown, _ELO_SHOWN if high is None else high),
            )
        )
    names = [f"{match.player} –\n{match.opponent}" for match in card.matches]
    table = match_table(card)
    text = "; ".join(f"{match.player} against {match.opponent}: {match.elo}" for match in card.matches) + "."
    return Plot(title="Elo differences", svg=differences_plot(names, points), text=text, table=table)


def _brier(positions: Positions) -> Plot:
    table = brier_bands(positions)
    starts = sorted({band.start for one in positions.calibrations for band in one.by_ply})
    sources = [one.source for one in positions.calibrations if one.source != EVEN]
    series = [
        Series(
            label=one.source,
            points=tuple(
                Point(x=starts.index(band.start), y=band.brier.mean, low=band.brier.low, high=band.brier.high)
                for band in one.by_ply
            ),
            colour=0 if one.source == EVEN else sources.index(one.source),
            baseline=one.source == EVEN,
        )
        for one in positions.calibrations
    ]
    names = [open_band(start, PLY_BANDS) for start in starts]
    svg = bands_plot(series, [str(start) for start in starts], x_label="ply (from)", y_label="Brier score")
    return Plot(title=table.title, svg=svg, text=_in_words(series, names, percent=False), table=table)


def _series(entry: Entry, nodes: int, points: tuple[Point, ...]) -> Series:
    colours: dict[str, int] = _BASELINE_COLOURS if entry.baseline else {way.value: n for way, n in _COLOURS.items()}
    colour = colours.get(entry.player if entry.baseline else entry.way.value, 0)
    return Series(label=way_label(entry, nodes), points=points, colour=colour, baseline=entry.baseline)


def _percent_point(place: int, band: Band) -> Point:
    estimate = band.estimate
    return Point(x=place, y=estimate.mean * 100, low=estimate.low * 100, high=estimate.high * 100)


def _in_words(series: Sequence[Series], names: Sequence[str], *, percent: bool = True) -> str:
    """Say of each line that is no baseline's where it begins and ends."""
    said = []
    for one in series:
        if one.baseline or not one.points:
            continue
        first, last = one.points[0], one.points[-1]
        figures = [f"{point.y:.1f} %" if percent else f"{point.y:.3f}" for point in (first, last)]
        ends = names[int(first.x)], names[int(last.x)]
        said.append(
            f"{one.label}: {figures[0]} ({ends[0]})"
            + (f" to {figures[1]} ({ends[1]})" if ends[0] != ends[1] else "")
        )
    return "; ".join(said) + "." if said else "Nothing to show."

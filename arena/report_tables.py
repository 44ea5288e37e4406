"""Tables of a report card, as text: the same ones on the terminal and on the page.

Rows are ways of choosing, columns are checkpoints; below them stand the baselines, whose figure is repeated in
each column so that every column can be read by itself. Shares are in per cent, with their 95 % intervals in
brackets; ± is half of the interval.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from arena.confidence import Estimate
from arena.held_out import PLY_BANDS, RATING_BANDS
from arena.puzzles import BAND
from arena.report_card import Band, Entry, Epd, Positions, Puzzles, ReportCard, Way
from common.quantities import counted

T = TypeVar("T")

NOTHING = "–"

_WAYS = {
    Way.POLICY: "policy π",
    Way.PRIOR: "prior μ",
    Way.ACTION_VALUES: "action values Q",
    Way.LOOKAHEAD: "one-ply on value",
    Way.SEARCH: "search",
}
_SHORT = {Way.POLICY: "π", Way.PRIOR: "μ", Way.ACTION_VALUES: "Q", Way.LOOKAHEAD: "one-ply", Way.SEARCH: "search"}
_ORDER = list(Way)
_BASELINES = {"random": "random", "material": "material-greedy", "cloning": "cloning", "value": "one-ply baseline"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of text."""

    label: str
    cells: tuple[str, ...]
    baseline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of text, and what has to be said about it."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def way_label(entry: Entry, nodes: int) -> str:
    """Return how a row is called: its way of choosing, or its baseline."""
    if entry.baseline:
        return _BASELINES.get(entry.player, entry.player)
    return f"search, {nodes} nodes" if entry.way == Way.SEARCH else _WAYS.get(entry.way, entry.way.value)


def percent(estimate: Estimate | None, *, digits: int = 1) -> str:
    """Return a share such as `34.2 (30.9-37.7)`, in per cent, its interval to so many digits."""
    if estimate is None:
        return NOTHING
    low, high = (f"{end * 100:.{digits}f}" for end in (estimate.low, estimate.high))
    return f"{estimate.mean * 100:.1f} ({low}-{high})"


def decimal(estimate: Estimate | None, digits: int = 3) -> str:
    """Return a figure such as `0.083 ±0.004`."""
    if estimate is None:
        return NOTHING
    return f"{estimate.mean:.{digits}f} ±{estimate.half_width:.{digits}f}"


def overview(card: ReportCard) -> Table:
    """Return all that is measured of each way of choosing side by side, without intervals."""
    columns: dict[str, dict[Entry, str]] = {}
    for puzzles in card.puzzles:
        solved = {one.entry: f"{one.solved.mean * 100:.1f}" for one in puzzles.results}
        columns[_column("puzzles", puzzles.file, len(card.puzzles))] = solved
    for positions in card.positions:
        files = len(card.positions)
        matched = {one.entry: _tops(one.top_1, one.top_3, one.top_5).replace(" ", "") for one in positions.matches}
        columns[_column("moves 1/3/5", positions.file, files)] = matched
        if positions.reference is not None:
            lost = {one.entry: f"{one.estimate.mean:.3f}" for one in positions.losses}
            columns[_column("loss/move", positions.file, files)] = lost
            order = {one.entry: f"{one.estimate.mean:.2f}" for one in positions.correlations}
            columns[_column("τ-b", positions.file, files)] = order
    for epd in card.epd:
        columns[_column("tests", epd.file, len(card.epd))] = {
            one.entry: f"{one.right.mean * 100:.1f}" for one in epd.results
        }
    entries = _unique(entry for column in columns.values() for entry in column)
    players = _unique(entry.player for entry in entries)
    entries.sort(key=lambda entry: (entry.baseline, players.index(entry.player), _ORDER.index(entry.way)))
    several = len({entry.player for entry in entries if not entry.baseline}) > 1
    rows = tuple(
        Row(
            label=f"{entry.player}: {_SHORT[entry.way]}" if several and not entry.baseline else label,
            cells=tuple(column.get(entry, NOTHING) for column in columns.values()),
            baseline=entry.baseline,
        )
        for entry in entries
        for label in [way_label(entry, card.nodes)]
    )
    return Table(
        title="Overview",
        note="% of puzzles solved, of moves matched (top 1/3/5), of test positions right; expected score lost a "
        "move and Kendall's τ-b against the engine",
        columns=("chosen by", *columns),
        rows=rows,
    )


def tables(card: ReportCard) -> Iterator[Table]:
    """Yield the tables that hold a card's main figures, with intervals."""
    players = [contestant.name for contestant in card.contestants if not contestant.baseline]
    for puzzles in card.puzzles:
        yield _puzzles(puzzles, players, card.nodes)
    for positions in card.positions:
        yield from _positions(positions, players, card.nodes)
    for epd in card.epd:
        yield _epd(epd, players, card.nodes)
    if card.matches:
        yield match_table(card)


def band_tables(card: ReportCard, *, baselines: bool = True) -> Iterator[Table]:
    """Yield the tables that show the figures by band, of rating or of ply."""
    players = [contestant.name for contestant in card.contestants if not contestant.baseline]
    for puzzles in card.puzzles:
        for player in players:
            yield puzzle_bands(puzzles, player, card.nodes, baselines=baselines)
    for positions in card.positions:
        for player in players:
            yield match_bands(positions, player, card.nodes, by_rating=False, baselines=baselines)
            yield match_bands(positions, player, card.nodes, by_rating=True, baselines=baselines)
        yield brier_bands(positions)


def puzzle_bands(puzzles: Puzzles, player: str, nodes: int, *, baselines: bool = True) -> Table:
    """Return the share solved of each band of puzzle ratings, by one checkpoint and the baselines."""
    results = [
        (one.entry, one.bands)
        for one in puzzles.results
        if one.entry.player == player or (baselines and one.entry.baseline)
    ]
    title = f"Puzzles of {Path(puzzles.file).name} solved by rating, {player}"
    return _by_band(title, "puzzle rating", results, nodes, lambda start: f"{start}-{start + BAND - 1}")


def match_bands(positions: Positions, player: str, nodes: int, *, by_rating: bool, baselines: bool = True) -> Table:
    """Return the share of moves matched (top 1) of each band of plies or of Elo."""
    results = [
        (one.entry, one.by_rating if by_rating else one.by_ply)
        for one in positions.matches
        if one.entry.player == player or (baselines and one.entry.baseline)
    ]
    starts, what = (RATING_BANDS, "Elo") if by_rating else (PLY_BANDS, "ply")
    title = f"Moves of {Path(positions.file).name} matched by {what}, {player}"
    return _by_band(title, what, results, nodes, lambda start: open_band(start, starts))


def brier_bands(positions: Positions) -> Table:
    """Return the Brier score by ply of everybody who predicts results."""
    starts = sorted({band.start for one in positions.calibrations for band in one.by_ply})
    rows = []
    for start in starts:
        briers = [
            next((band.brier for band in one.by_ply if band.start == start), None) for one in positions.calibrations
        ]
        rows.append(Row(label=open_band(start, PLY_BANDS), cells=tuple(decimal(brier) for brier in briers)))
    return Table(
        title="Brier score by ply",
        note="mean squared difference of the predicted score and the result; lower is better",
        columns=("ply", *(one.source for one in positions.calibrations)),
        rows=tuple(rows),
    )


def open_band(start: int, starts: Sequence[int]) -> str:
    """Return the name of the band that begins at `start`: `10-19`, or `80+` of the last."""
    place = list(starts).index(start)
    return f"{start}+" if place == len(starts) - 1 else f"{start}-{starts[place + 1] - 1}"


def _puzzles(puzzles: Puzzles, players: Sequence[str], nodes: int) -> Table:
    tried = max((one.solved.count for one in puzzles.results), default=0)
    return _by_way(
        f"Puzzles solved, % ({Path(puzzles.file).name})",
        f"every move of the solver's right; {counted(tried, 'puzzle')}",
        [(one.entry, percent(one.solved)) for one in puzzles.results],
        players,
        nodes,
    )


def _positions(positions: Positions, players: Sequence[str], nodes: int) -> Iterator[Table]:
    tried = max((one.top_1.count for one in positions.matches), default=0)
    widest = max((one.top_1.half_width for one in positions.matches), default=0.0)
    yield _by_way(
        f"Moves of held-out games matched, top 1 / 3 / 5, % ({Path(positions.file).name})",
        f"{counted(tried, 'position')} of {counted(positions.games, 'game')}; top 1 within ±{widest * 100:.1f}",
        [(one.entry, _tops(one.top_1, one.top_3, one.top_5)) for one in positions.matches],
        players,
        nodes,
    )
    if positions.reference is not None:
        facts = positions.reference
        by = (
            f"by {facts.engine}, {facts.nodes:,} nodes over all legal moves; {counted(facts.positions, 'position')}"
        )
        yield _by_way(
            "Expected score lost a move",
            f"{by}; 0 is the engine's own move, lower is better",
            [(one.entry, decimal(one.estimate)) for one in positions.losses],
            players,
            nodes,
        )
        yield _by_way(
            "Kendall τ-b of the order of the legal moves",
            f"{by}; 1 is the engine's own order, 0 is none",
            [(one.entry, decimal(one.estimate, 2)) for one in positions.correlations],
            players,
            nodes,
        )
    if positions.calibrations:
        yield _calibration(positions)


def _calibration(positions: Positions) -> Table:
    sampled = max((one.brier_sampled.count for one in positions.calibrations if one.brier_sampled), default=0)
    everything = max(one.brier.count for one in positions.calibrations)
    engine = positions.reference.engine if positions.reference is not None else None
    rows = [
        Row(
            label=one.source,
            cells=(NOTHING if one.source == engine else decimal(one.brier), decimal(one.brier_sampled)),
            baseline=one.source not in _players_of(positions),
        )
        for one in positions.calibrations
    ]
    return Table(
        title="Calibration: Brier score of the value against the results",
        note="mean squared difference of the predicted score and the result; lower is better",
        columns=("value of", f"{everything:,} positions", f"{sampled:,} that {engine or 'no engine'} scored"),
        rows=tuple(rows),
    )


def _players_of(positions: Positions) -> set[str]:
    return {one.entry.player for one in positions.matches if not one.entry.baseline}


def _epd(epd: Epd, players: Sequence[str], nodes: int) -> Table:
    with_points = any(one.points is not None for one in epd.results)
    tried = max((one.right.count for one in epd.results), default=0)
    return _by_way(
        f"Test positions right{', and points,' if with_points else ','} % ({Path(epd.file).name})",
        f"{counted(tried, 'position')}",
        [
            (one.entry, percent(one.right) + (f" | {one.points.mean * 100:.1f}" if one.points else ""))
            for one in epd.results
        ],
        players,
        nodes,
    )


def match_table(card: ReportCard) -> Table:
    """Return the results of the games, with SPRT where there was one."""
    tested = any(one.sprt for one in card.matches)
    rows = tuple(
        Row(
            label=f"{one.player} – {one.opponent}",
            cells=(
                f"+{one.wins} ={one.draws} -{one.losses}",
                f"{one.score * 100:.1f} %",
                str(one.elo or NOTHING),
                *((str(one.sprt or NOTHING),) if tested else ()),
            ),
        )
        for one in card.matches
    )
    columns = ("players", "result", "score", "difference", *(("SPRT",) if tested else ()))
    return Table(title="Games", note="from fixed openings, each with both colours", columns=columns, rows=rows)


def _column(what: str, file: str, files: int) -> str:
    return what if files == 1 else f"{what}, {Path(file).name.partition('.')[0]}"


def _tops(*tops: Estimate) -> str:
    return " / ".join(f"{top.mean * 100:.1f}" for top in tops)


def _by_way(
    title: str, note: str, figures: Sequence[tuple[Entry, str]], players: Sequence[str], nodes: int
) -> Table:
    """Return a table of one figure: rows are ways, columns are checkpoints."""
    cells = {(way_label(entry, nodes), entry.player): text for entry, text in figures if not entry.baseline}
    rows = [
        Row(label=label, cells=tuple(cells.get((label, player), NOTHING) for player in players))
        for label in _unique(label for label, _ in cells)
    ]
    for entry, text in figures:
        if entry.baseline:
            rows.append(Row(label=way_label(entry, nodes), cells=(text,) * len(players), baseline=True))
    return Table(title=title, note=note, columns=("chosen by", *players), rows=tuple(rows))


def _by_band(
    title: str,
    what: str,
    results: Sequence[tuple[Entry, list[Band]]],
    nodes: int,
    name: Callable[[int], str],
) -> Table:
    """Return a table of shares: rows are bands, columns are ways."""
    starts = _unique(band.start for _, bands in results for band in bands)
    starts.sort(key=lambda start: (start is None, start or 0))
    rows = []
    for start in starts:
        found = [next((band.estimate for band in bands if band.start == start), None) for _, bands in results]
        count = max(estimate.count for estimate in found if estimate is not None)
        label = "not known" if start is None else name(start)
        rows.append(Row(label=label, cells=(f"{count:,}", *(percent(estimate, digits=0) for estimate in found))))
    return Table(
        title=title,
        note="%, with the 95 % interval",
        columns=(what, "n", *(way_label(entry, nodes) for entry, _ in results)),
        rows=tuple(rows),
    )


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))

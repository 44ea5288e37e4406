"""A report card on the terminal, within 80 columns."""

from collections.abc import Iterator
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from arena.report_card import ReportCard
from arena.report_tables import Table, band_tables, overview, tables

WIDTH = 80
"""Characters that a table may be wide."""

_HEADER_CHARACTERS = 15
"""What a column's header may be wide before it is folded."""

_GAP = 2

_BANDS_UP_TO = 1
"""Checkpoints up to which tables by band are printed too; of more, they are on the page."""


def print_card(card: ReportCard, console: Console) -> None:
    """Print what was measured, for a single checkpoint by band too, then an overview and the notes."""
    players = {contestant.name for contestant in card.contestants if not contestant.baseline}
    for table in tables(card):
        _print(table, console)
    for table in band_tables(card, baselines=False) if len(players) <= _BANDS_UP_TO else ():
        _print(table, console)
    _print(overview(card), console)
    for note in card.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)


def _print(table: Table, console: Console) -> None:
    console.print(Text(table.title, style="bold"), width=WIDTH)
    console.print(Text(table.note, style="dim"), width=WIDTH)
    for part in _parts(table):
        console.print(_rich(part))


def _parts(table: Table) -> Iterator[Table]:
    """Yield a table in parts that are narrow enough, each with the first column."""
    start = 0
    for end in _ends(table):
        chosen = slice(start, end)
        yield replace(
            table,
            columns=(table.columns[0], *table.columns[1:][chosen]),
            rows=tuple(replace(row, cells=row.cells[chosen]) for row in table.rows),
        )
        start = end


def _ends(table: Table) -> Iterator[int]:
    """Yield after which columns of figures a table is cut."""
    first = max(len(table.columns[0]), *(len(row.label) for row in table.rows), 0)
    used, columns = first, table.columns[1:]
    for number, column in enumerate(columns):
        width = max(_cells(table, number), min(len(column), _HEADER_CHARACTERS)) + _GAP
        if number and used + width > WIDTH:
            yield number
            used = first
        used += width
    yield len(columns)


def _cells(table: Table, number: int) -> int:
    """Return the characters of the widest cell of a column of figures."""
    return max((len(row.cells[number]) for row in table.rows), default=0)


def _rich(table: Table) -> RichTable:
    rich = RichTable(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    rich.add_column(Text(table.columns[0]), overflow="fold")
    for number, column in enumerate(table.columns[1:]):
        width = max(_HEADER_CHARACTERS, _cells(table, number))
        rich.add_column(Text(column), justify="right", overflow="fold", max_width=width)
    for row in table.rows:
        rich.add_row(*map(Text, (row.label, *row.cells)), style="dim" if row.baseline else None)
    return rich

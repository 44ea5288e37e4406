"""Columns of the tables of `rookery top`: what they show, how wide, and which go first where there is no room."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")

GAP = 1
"""Cells between two columns."""


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    """One column. Its width is that of its longest text, `width` at least and `most` at most."""

    title: str
    text: Callable[[Row], str]
    priority: int
    """Where there is no room, the columns of the highest number go first; 0 stays."""
    width: int
    most: int = 0
    """0: exactly `width`, whatever the rows hold."""
    left: bool = False
    """Whether text is at the left, as names are; figures are at the right."""
    key: Callable[[Row], Any] | None = None
    """What rows are sorted by; None: by the text, its numbers as numbers."""
    style: Callable[[Row], str] | str = ""
    """A style of Rich's, or what gives a row's."""

    def sort_key(self, row: Row) -> Any:
        """Return what `row` is sorted by in this column."""
        return natural(self.text(row)) if self.key is None else self.key(row)

    def style_of(self, row: Row) -> str:
        """Return the style of a row's cell."""
        return self.style if isinstance(self.style, str) else self.style(row)

    def cell(self, text: str, width: int) -> str:
        """Return a text cut and padded to `width`."""
        cut = text if len(text) <= width else text[: width - 1] + "…"
        return cut.ljust(width) if self.left else cut.rjust(width)


def natural(text: str) -> list[tuple[str, int]]:
    """Return what orders texts as people do: actor-9 before actor-10."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", text)]


@dataclass(frozen=True)
class Placed(Generic[Row]):
    """A column that is shown, and how wide."""

    column: Column[Row]
    width: int


def fitting(columns: Sequence[Column[Row]], rows: Sequence[Row], width: int) -> list[Placed[Row]]:
    """Return the columns that `width` cells have room for, in their order; the dispensable ones are left out."""
    placed = [Placed(column, _width(column, rows)) for column in columns]
    while len(placed) > 1 and sum(one.width + GAP for one in placed) - GAP > width:
        placed.remove(max(placed, key=lambda one: one.column.priority))
    return placed


def _width(column: Column[Row], rows: Sequence[Row]) -> int:
    if not column.most:
        return max(column.width, len(column.title))
    longest = max((len(column.text(row)) for row in rows), default=0)
    return min(max(longest, column.width, len(column.title)), max(column.most, len(column.title)))


def sort(rows: Sequence[Row], column: Column[Row], *, falling: bool) -> list[Row]:
    """Return the rows in a column's order; those without a figure last, whichever way."""
    known = [row for row in rows if column.sort_key(row) is not None]
    unknown = [row for row in rows if column.sort_key(row) is None]
    return sorted(known, key=column.sort_key, reverse=falling) + unknown

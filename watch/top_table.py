"""A table of `rookery top`: rows under columns that come and go with the width; a cursor, an order and a filter.

It draws the rows that are seen and no others, so that two hundred actors cost what thirty do.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from watch.top_columns import GAP, Column, Placed, Row, fitting, sort

FALLING, RISING = "▼", "▲"


class Table(Widget, Generic[Row], can_focus=True):
    """Rows under columns. `name_of` names a row: the cursor stays with its row when the order changes.

    Without a cursor the rows stay in the order that they are given in.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "move(-1000000)", "first", show=False),
        Binding("end", "move(1000000)", "last", show=False),
    ]

    class Reordered(Message):
        """The rows that are shown, or their order, have changed."""

    def __init__(
        self, columns: Sequence[Column[Row]], *, name_of: Callable[[Row], str], cursor: bool = True, **options: Any
    ) -> None:
        super().__init__(**options)
        self.columns, self._name_of, self._has_cursor = columns, name_of, cursor
        self.sorted_by, self.falling = 0, False
        self.filter = ""
        self.rows: list[Row] = []
        """Those that pass the filter, in order."""
        self._all: Sequence[Row] = ()
        self._at: str | None = None
        self._top = 0

    @property
    def selected(self) -> Row | None:
        """The row at the cursor; None where there are no rows."""
        at = self._index
        return self.rows[at] if at is not None else None

    @property
    def total(self) -> int:
        """How many rows there are, with those that the filter leaves out."""
        return len(self._all)

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows from now on."""
        self._all = rows
        needle = self.filter.casefold()
        kept = [row for row in rows if not needle or needle in self._searched(row)]
        self.rows = sort(kept, self.columns[self.sorted_by], falling=self.falling) if self._has_cursor else kept
        if self._index is None and self.rows:
            self._at = self._name_of(self.rows[0])
        self.post_message(self.Reordered())
        self.refresh()

    def search(self, text: str) -> None:
        """Show only rows in whose names, texts at the left, `text` stands."""
        self.filter = text
        self.show(self._all)

    def sort_beside(self, step: int) -> None:
        """Sort by the column `step` columns further right, of those that are shown."""
        shown = [self.columns.index(one.column) for one in self._placed()]
        at = shown.index(self.sorted_by) if self.sorted_by in shown else 0
        self.sorted_by = shown[(at + step) % len(shown)]
        self.falling = not self.columns[self.sorted_by].left
        self.show(self._all)

    def turn_order(self) -> None:
        """Sort the other way round."""
        self.falling = not self.falling
        self.show(self._all)

    def action_move(self, by: int) -> None:
        """Move the cursor; where there is none, scroll."""
        at = (self._index or 0) if self._has_cursor else self._top
        if self.rows:
            self._go(max(0, min(len(self.rows) - 1, at + by)))

    def action_page(self, by: int) -> None:
        """Move by as many rows as are seen."""
        self.action_move(by * max(1, self._seen - 1))

    def on_click(self, event: events.Click) -> None:
        """Take the cursor to the row, or sort by the column, that is clicked at."""
        x, y = event.x - self.gutter.left, event.y - self.gutter.top
        if y == 0:
            self._sort_at(x)
        elif 0 < y <= len(self.rows) - self._top and self._has_cursor:
            self._go(self._top + y - 1)

    def on_mouse_scroll_down(self) -> None:
        """Move on by three rows."""
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        """Move back by three rows."""
        self.action_move(-3)

    @property
    def _seen(self) -> int:
        """Rows that there is room for below the titles."""
        return max(1, self.content_size.height - 1)

    @property
    def _index(self) -> int | None:
        return next((at for at, row in enumerate(self.rows) if self._name_of(row) == self._at), None)

    def _searched(self, row: Row) -> str:
        return "\n".join(column.text(row) for column in self.columns if column.left).casefold()

    def _go(self, index: int) -> None:
        self._at = self._name_of(self.rows[index])
        if not self._has_cursor:
            self._top = index
        self.refresh()

    def _sort_at(self, x: int) -> None:
        begin = 0 if self._has_cursor else x + 1
        for one in self._placed():
            if begin <= x < begin + one.width + GAP:
                number = self.columns.index(one.column)
                self.falling = not self.falling if number == self.sorted_by else not one.column.left
                self.sorted_by = number
                self.show(self._all)
            begin += one.width + GAP

    def _placed(self) -> list[Placed[Row]]:
        return fitting(self.columns, self._all, self.content_size.width)

    def _scrolled(self) -> int:
        """Return the number of the first row that is seen: the cursor is always among them."""
        most = max(0, len(self.rows) - self._seen)
        if self._has_cursor:
            at = self._index or 0
            self._top = min(max(self._top, at - self._seen + 1), at)
        self._top = min(self._top, most)
        return self._top

    def render(self) -> Text:
        """Return the titles and the rows that are seen."""
        placed, top = self._placed(), self._scrolled()
        lines = [self._titles(placed)]
        for row in self.rows[top : top + self._seen]:
            lines.append(self._line(placed, row))
        return Text("\n", no_wrap=True, end="").join(lines)

    def _titles(self, placed: Sequence[Placed[Row]]) -> Text:
        text = Text(no_wrap=True)
        for one in placed:
            sorts = self._has_cursor and one.column is self.columns[self.sorted_by]
            text.append(one.column.cell(one.column.title, one.width), "bold underline" if sorts else "bold")
            text.append(" " * GAP)
        return text

    def _line(self, placed: Sequence[Placed[Row]], row: Row) -> Text:
        text = Text(no_wrap=True)
        for one in placed:
            text.append(one.column.cell(one.column.text(row), one.width), one.column.style_of(row))
            text.append(" " * GAP)
        if self._has_cursor and self._name_of(row) == self._at:
            text.pad_right(max(0, self.content_size.width - len(text)))
            text.stylize("reverse" if self.has_focus else "bold")
        return text

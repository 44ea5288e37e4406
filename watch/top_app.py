"""The app behind `rookery top`: lays out the panes, takes the keys, and shows one view after another."""

import threading
from collections.abc import Sequence
from typing import ClassVar, Protocol

from rich.segment import Segment
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.filter import LineFilter
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from common.errors import RookeryError
from common.log_lines import LogLine
from common.messages import Action, AgentStatus, ServiceStatus
from watch.top_dialogs import Confirm, Help
from watch.top_header import LINES, Header
from watch.top_layout import Wish, heights
from watch.top_log import LogTail
from watch.top_table import FALLING, RISING, Table
from watch.top_tables import ACCOUNTING, ACTORS, AGENTS, SERVICES
from watch.top_view import ActorRow, AgentRow, View, actor_rows, agent_rows, service_rows

KEYS = "q quit tab pane / filter <>i sort l level p pause r resume d drain x reset ?"
FRAME_LINES = 2
"""Of a table: its pane's title and its columns'."""


class Source(Protocol):
    """Where views come from; used from one thread, but for `order`."""

    @property
    def absent(self) -> str:
        """Why there are no log records, in a sentence; empty where there are."""

    def look(self) -> View:
        """Return how things stand now, after at most a second or two."""

    def lines(self) -> Sequence[LogLine]:
        """Return the log records that came since the last time, the oldest first."""

    def order(self, action: Action, names: Sequence[str]) -> str:
        """Order actors, all where no names are given; return whom it went to. Raises RookeryError."""


class Looked(Message):
    """A new view has come."""

    def __init__(self, view: View, lines: Sequence[LogLine]) -> None:
        super().__init__()
        self.view, self.lines = view, lines


class Colourless(LineFilter):
    """Takes the colours off; bold, underline and reverse stay."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments without colours."""
        del background
        return [Segment(text, style and style.without_color, control) for text, style, control in segments]


class TopApp(App[None]):
    """Looks at a source about once a second, in a thread of its own, and shows what it sees."""

    CSS_PATH = "top.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,ctrl+c", "quit", "quit"),
        Binding("slash", "search", "filter"),
        Binding("less_than_sign", "sort(-1)", "sort by the column before"),
        Binding("greater_than_sign", "sort(1)", "sort by the column after"),
        Binding("i", "turn", "turn the order"),
        Binding("l", "level", "level"),
        Binding("p", "order('pause')", "pause"),
        Binding("r", "order('resume')", "resume"),
        Binding("d", "order('drain')", "drain"),
        Binding("x", "order('reset')", "reset"),
        Binding("question_mark", "help", "help"),
    ]

    def __init__(self, source: Source, *, run: str, broker: str, interval_s: float = 1.0) -> None:
        super().__init__()
        self._source, self._interval_s = source, interval_s
        self.view = View()
        self.looks = 0
        """Views shown so far."""
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._looking = threading.Thread(target=self._look, name="looking", daemon=True)
        self.header = Header(run=run, broker=broker)
        self.agents: Table[AgentRow] = Table(AGENTS, name_of=lambda row: row.agent.name, cursor=False, id="agents")
        self.actors: Table[ActorRow] = Table(ACTORS, name_of=lambda row: row.service.name, id="actors")
        self.services: Table[ServiceStatus] = Table(
            SERVICES, name_of=lambda row: row.name, cursor=False, id="services"
        )
        self.accounting: Table[AgentStatus] = Table(
            ACCOUNTING, name_of=lambda row: row.name, cursor=False, id="accounting"
        )
        self.tail = LogTail(id="log")
        self._searched: Table[ActorRow] | LogTail = self.actors
        """The pane that is filtered by what is typed."""

    @property
    def panes(self) -> list[Widget]:
        """The panes, from top to bottom."""
        return [self.agents, self.actors, self.services, self.accounting, self.tail]

    def compose(self) -> ComposeResult:
        """Lay out the panes."""
        yield self.header
        yield from self.panes
        yield Static(KEYS, id="keys")
        yield Input(placeholder="filter; enter keeps it, esc shows all", id="filter")

    def on_mount(self) -> None:
        """Begin to look."""
        self._show_filter(False)
        self.actors.focus()
        self._looking.start()

    def on_unmount(self) -> None:
        """End the looking."""
        self._ended.set()

    def join(self) -> None:
        """Wait until nobody looks at the source any more, once the app has ended; raises what looking did."""
        self._ended.set()
        if self._looking.is_alive():
            self._looking.join()
        if self._failure is not None:
            raise self._failure

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what lines go through: with NO_COLOR no colours are left, where Textual would send greys."""
        return [Colourless()] if self.no_color else super().get_line_filters()

    def _fatal_error(self) -> None:
        # Not Textual's page of traceback: `join` raises what happened, and the command makes a line of it.
        self._failure = self._exception
        self._close_messages_no_wait()

    def _look(self) -> None:
        try:
            while not self._ended.is_set():
                self.post_message(Looked(self._source.look(), self._source.lines()))
                self._ended.wait(self._interval_s)
        except Exception as error:
            self._failure = error
            self.call_from_thread(self.exit)

    def on_looked(self, message: Looked) -> None:
        """Show a new view."""
        if self.screen_stack:  # else it is about to end
            self.show(message.view, message.lines)

    def show(self, view: View, lines: Sequence[LogLine] = ()) -> None:
        """Show this view, and append log records."""
        self.view = view
        self.looks += 1
        self.header.show(view)
        self.agents.show(agent_rows(view))
        self.actors.show(actor_rows(view))
        self.services.show(service_rows(view))
        self.accounting.show(view.status.agents if view.status is not None else [])
        self.tail.absent = self._source.absent
        self.tail.take(lines)
        self._arrange()

    def on_resize(self) -> None:
        """Share the room out anew."""
        self._arrange()

    def on_descendant_focus(self) -> None:
        """Give the focused pane its room."""
        self._arrange()

    def _arrange(self) -> None:
        below = self.screen_stack[0].focused  # a dialog changes nothing
        focused = below.id if below is not None and below in self.panes else "actors"
        room = self.size.height - LINES - 1
        by_weight = (self.agents, self.actors, self.tail, self.services, self.accounting)
        shared = heights(room, [self._wish(pane) for pane in by_weight], focused or "actors")
        for pane in self.panes:
            if pane.styles.height is None or pane.styles.height.value != shared[str(pane.id)]:
                pane.styles.height = shared[str(pane.id)]
        self._entitle()

    def _wish(self, pane: Widget) -> Wish:
        if isinstance(pane, Table):
            lines = FRAME_LINES + max(1, pane.total)
            return Wish(name=str(pane.id), least=min(lines, FRAME_LINES + 3), most=lines)
        return Wish(name=str(pane.id), least=5, most=1000)

    def _entitle(self) -> None:
        self.agents.border_title = "Agents"
        self.actors.border_title = self._actors_title()
        self.services.border_title = _with_away("Services", [row.state for row in self.services.rows])
        opened = [row.name for row in self.accounting.rows if not row.closed]
        self.accounting.border_title = "Accounting  " + (f"NOT CLOSED: {', '.join(opened)}" if opened else "closed")
        self.tail.border_title = self.tail.title

    def _actors_title(self) -> str:
        table = self.actors
        column = table.columns[table.sorted_by].title
        rows = f"{len(table.rows)} of {table.total}" if table.filter else f"{table.total}"
        searched = f" with {table.filter!r}" if table.filter else ""
        states = [row.service.state for row in table.rows]
        return _with_away(f"Actors  {rows}{searched}, by {column} {FALLING if table.falling else RISING}", states)

    # Keys

    def action_search(self) -> None:
        """Ask for a filter: of the log where that is focused, else of the actors."""
        self._searched = self.tail if self.focused is self.tail else self.actors
        field = self.query_one("#filter", Input)
        field.value = self._searched.filter
        self._show_filter(True)
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.input.display:
            self._searched.search(event.value)
            self._entitle()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._show_filter(False)
        self._searched.focus()

    def key_escape(self) -> None:
        """Show everything again."""
        self._searched.search("")
        self.on_input_submitted()
        self._entitle()

    def _show_filter(self, shown: bool) -> None:
        self.query_one("#filter").display = shown
        self.query_one("#keys").display = not shown

    def action_sort(self, step: int) -> None:
        """Sort the actors by another column."""
        self.actors.sort_beside(step)
        self._entitle()

    def action_turn(self) -> None:
        """Sort the actors the other way round."""
        self.actors.turn_order()
        self._entitle()

    def action_level(self) -> None:
        """Show other levels of the log."""
        self.tail.next_level()
        self._entitle()

    def action_help(self) -> None:
        """Explain."""
        self.push_screen(Help())

    def action_order(self, name: str) -> None:
        """Ask whom an order is for, and give it."""
        action = Action(name)
        selected = self.actors.selected

        def give(names: list[str] | None) -> None:
            if names is not None:
                self.run_worker(lambda: self._give(action, names), thread=True)

        if self.actors.total:
            self.push_screen(Confirm(action, selected.service.name if selected else None, self.actors.total), give)
        else:
            self.notify("no actors are connected")

    def _give(self, action: Action, names: list[str]) -> None:
        try:
            said, severity = self._source.order(action, names), "information"
        except RookeryError as error:
            said, severity = str(error), "error"
        self.call_from_thread(self.notify, said, severity=severity, markup=False)


def _with_away(title: str, states: Sequence[str]) -> str:
    away = states.count("away")
    return f"{title}  {away} away" if away else title

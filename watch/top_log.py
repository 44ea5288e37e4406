"""The log pane of `rookery top`: the newest records of every service, of a level and with a text."""

from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget

from common.log_lines import SEVERITY_NUMBERS, LogLine
from common.log_text import without_controls

KEPT = 5_000
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


class LogTail(Widget, can_focus=True):
    """The last records, the newest at the bottom; it follows them unless it is scrolled back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "back(1)", "up", show=False),
        Binding("down,j", "back(-1)", "down", show=False),
        Binding("pageup", "back_page(1)", "page up", show=False),
        Binding("pagedown", "back_page(-1)", "page down", show=False),
        Binding("home", "back(1000000)", "first", show=False),
        Binding("end", "back(-1000000)", "last", show=False),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.level = "INFO"
        self.filter = ""
        self.absent = ""
        """Why there are no records here, in a sentence; empty where there are."""
        self._lines: deque[LogLine] = deque(maxlen=KEPT)
        self._kept: list[LogLine] = []
        self._back = 0

    def take(self, lines: Iterable[LogLine]) -> None:
        """Append records, the oldest first."""
        new = list(lines)
        if not new:
            return
        self._lines.extend(new)
        kept = [line for line in new if self._passes(line)]
        self._kept = (self._kept + kept)[-KEPT:]
        if self._back:  # what is looked at stays where it is
            self._back = min(self._back + len(kept), len(self._kept))
        self.refresh()

    def search(self, text: str) -> None:
        """Show only records in which `text` stands."""
        self.filter = text
        self._refilter()

    def next_level(self) -> None:
        """Show records of the next level and worse, or of all again."""
        self.level = LEVELS[(LEVELS.index(self.level) + 1) % len(LEVELS)]
        self._refilter()

    @property
    def title(self) -> str:
        """What is shown, in short."""
        searched = f" with {self.filter!r}" if self.filter else ""
        back = f", {self._back} back" if self._back else ""
        return f"Log  {self.level.lower()} and worse{searched}{back}"

    def action_back(self, by: int) -> None:
        """Scroll back by so many records, or forth."""
        most = max(0, len(self._kept) - self.content_size.height)
        self._back = max(0, min(most, self._back + by))
        self.refresh()

    def action_back_page(self, by: int) -> None:
        """Scroll by as many records as are seen."""
        self.action_back(by * max(1, self.content_size.height - 1))

    def on_mouse_scroll_up(self) -> None:
        """Scroll back by three records."""
        self.action_back(3)

    def on_mouse_scroll_down(self) -> None:
        """Scroll forth by three records."""
        self.action_back(-3)

    def render(self) -> Text:
        """Return the records that are seen."""
        if self.absent and not self._lines:
            return Text(self.absent, "dim")
        if not self._kept:
            return Text(f"no records, {self.title.partition('  ')[2]}", "dim")
        end = len(self._kept) - self._back
        seen = self._kept[max(0, end - self.content_size.height) : end]
        return Text("\n", no_wrap=True, end="").join(self._line(line) for line in seen)

    def _line(self, line: LogLine) -> Text:
        clock = line.time.astimezone().strftime("%H:%M:%S")
        text = Text(no_wrap=True)
        text.append(f"{clock} ", "dim")
        text.append(f"{line.severity:<7} ", STYLES.get(line.severity, ""))
        text.append(f"{line.service}: ", "cyan")
        text.append(without_controls(_said(line)))
        text.truncate(self.content_size.width, overflow="ellipsis")
        return text

    def _refilter(self) -> None:
        self._kept = [line for line in self._lines if self._passes(line)]
        self._back = 0
        self.refresh()

    def _passes(self, line: LogLine) -> bool:
        if line.severity_number < SEVERITY_NUMBERS[self.level]:
            return False
        needle = self.filter.casefold()
        return not needle or needle in f"{line.service}: {_said(line)}".casefold()


def _said(line: LogLine) -> str:
    """Return what a record says: its event and fields, and the last line of its stack trace."""
    fields = "".join(f" {key}={_plain(value)}" for key, value in line.fields.items())
    trace = (line.error or "").strip().rpartition("\n")[2]
    return f"{line.event}{fields}" + (f" ({trace})" if trace else "")


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

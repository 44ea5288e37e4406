"""The head of `rookery top`: the run, how far it is, and what holds it back; or that the broker is away."""

from rich.text import Text
from textual.widget import Widget

from common.quantities import counted, duration
from watch.top_cells import bar, rate, share, span
from watch.top_view import View

BAR_CELLS = 16
LINES = 3


class Header(Widget):
    """Three lines, whatever the width."""

    def __init__(self, *, run: str, broker: str) -> None:
        super().__init__()
        self._run, self._broker = run, broker
        self._view = View()

    def show(self, view: View) -> None:
        """Show this moment from now on."""
        self._view = view
        self.refresh()

    def render(self) -> Text:
        """Return the lines."""
        lines = (self._identity(), self._progress(), self._bottleneck())
        for line in lines:
            line.truncate(self.content_size.width, overflow="ellipsis")
        return Text("\n", no_wrap=True, end="").join(lines)

    def _identity(self) -> Text:
        status = self._view.status
        text = Text.assemble(("Rookery", "bold"), f"  {self._run}  broker {self._broker}")
        if status is not None:
            text.append(f"  up {duration(status.uptime_s)}  busy {status.broker_share:.0%}")
        return text

    def _progress(self) -> Text:
        pace, status = self._view.pace, self._view.status
        if status is None:
            return Text("")
        left = "done" if status.finished else "ETA " + (duration(pace.left_s) if pace.left_s is not None else "-")
        text = Text.assemble(
            (bar(pace.done, BAR_CELLS), "green"), (f" {share(pace.done)}  {left}", "bold"),
            f"  {rate(pace.rates.transitions_per_s)} transitions/s  {rate(pace.rates.positions_per_s)} positions/s",
        )  # fmt: skip
        games = f"{status.games_cut:,} of {status.games_total:,}" if status.games_total else f"{status.games_cut:,}"
        text.append(f"  {games} games")
        return text

    def _bottleneck(self) -> Text:
        view = self._view
        if view.trouble:
            seen = f"; what is shown is {span(view.age_s)} old" if view.status is not None else ""
            return Text(f"no word from the broker{seen}: {view.trouble}", "bold red")
        if view.status is None:
            return Text("asking the broker …")
        text = Text(view.status.bottleneck, "bold cyan")
        dropped = sum(view.status.dropped.values())
        if dropped:
            text.append(f"  {counted(dropped, 'message')} dropped", "yellow")
        return text

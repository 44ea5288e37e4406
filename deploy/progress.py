"""What a person sees while a run goes on: a live table on a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from common.messages import Status
from watch.forecast import fraction_trained

PLAIN_INTERVAL_S = 5.0
RATE_WINDOW_S = 30.0


class Progress:
    """Shows status after status. A context manager; `note` prints a line that stays."""

    def __init__(self, console: Console, on_show: Callable[[], None] = lambda: None) -> None:
        """`on_show` is called before each status that is shown."""
        self._console, self._on_show = console, on_show
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._history: deque[tuple[float, int, float]] = deque()
        """(clock, transitions stored, fraction trained) of the last half minute."""
        self._plain_s = time.monotonic()
        self._restarts = 0

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._on_show()
        if self._live is not None:
            self._live.stop()

    def note(self, line: str) -> None:
        """Print a line above what is live."""
        self._console.print(line, highlight=False, soft_wrap=True)

    def show(self, status: Status, restarts: int) -> None:
        """Show how things stand now."""
        self._on_show()
        now_s = time.monotonic()
        self._restarts = restarts
        self._history.append((now_s, sum(agent.stored for agent in status.agents), fraction_trained(status)))
        while len(self._history) > 2 and now_s - self._history[0][0] > RATE_WINDOW_S:
            self._history.popleft()
        if self._live is not None:
            self._live.update(self._render(status), refresh=True)
        elif now_s - self._plain_s >= PLAIN_INTERVAL_S:
            self._plain_s = now_s
            self.note(self._line(status))

    @property
    def _rate(self) -> float:
        """Transitions stored per second, of all agents."""
        (first_s, first, _), (last_s, last, _) = self._history[0], self._history[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    @property
    def _eta(self) -> str:
        (first_s, _, first), (last_s, _, last) = self._history[0], self._history[-1]
        if last <= first:
            return "-"
        left_s = round((1.0 - last) * (last_s - first_s) / (last - first))
        return f"{left_s // 3600}:{left_s // 60 % 60:02}:{left_s % 60:02}"

    def _line(self, status: Status) -> str:
        total = _total(status)
        agents = "; ".join(
            f"{agent.name} stored {agent.units_stored} trained {agent.units_trained} of {total} units, "
            f"v{agent.version}, loss {_number(agent.loss)}"
            for agent in status.agents
        )
        restarts = f"; {self._restarts} restarts" if self._restarts else ""
        return (
            f"{fraction_trained(status):4.0%}  {status.games_cut} games, {self._rate:.0f} transitions/s, "
            f"ETA {self._eta}; {agents}; {status.bottleneck}{restarts}"
        )

    def _render(self, status: Status) -> RenderableType:
        done = fraction_trained(status)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text("Rookery", style="bold"), ProgressBar(total=1.0, completed=done, width=40), f"{done:4.0%}",
            f"ETA {self._eta}",
        )  # fmt: skip
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("agent", "leased", "stored", "trained", "of", "step", "version", "loss"):
            table.add_column(column, justify="left" if column == "agent" else "right")
        for agent in status.agents:
            table.add_row(
                agent.name, str(agent.leased), str(agent.units_stored), str(agent.units_trained), _total(status),
                str(agent.step), str(agent.version), _number(agent.loss),
            )  # fmt: skip
        rejected = sum(status.agents[0].totals.rejected.values())
        facts = f"{status.games_cut} games ({rejected} rejected), {self._rate:.0f} transitions/s" + (
            f", {self._restarts} restarts" if self._restarts else ""
        )
        return Group(bar, table, Text(facts), Text(status.bottleneck, style="cyan"))


def _total(status: Status) -> str:
    return "?" if status.units_total is None else str(status.units_total)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

"""What a person sees of a status: a table on a terminal, plain lines elsewhere."""

import io
import re

import pytest
from rich.console import Console

from common.messages import AgentStatus, Status, StoreTotals
from deploy import progress
from deploy.progress import Progress, fraction_trained


def agent(name: str, trained: int, stored: int) -> AgentStatus:
    return AgentStatus(
        name=name, learner="connected", leased=2, units_stored=stored, units_trained=trained, produced=900,
        stored=800, duplicates=60, in_flight=40, step=123_456, version=617, loss=0.01234, closed=True,
        totals=StoreTotals(games_read=16 * stored, rejected={"illegal-move": 3}),
    )  # fmt: skip


def status(*agents: AgentStatus, units_total: int | None = 2000, fraction_read: float = 1.0) -> Status:
    return Status(
        broker="b", software="0.1.0", uptime_s=60.0, units_total=units_total, games_total=32_000, games_cut=32_000,
        fraction_read=fraction_read, services=[], agents=list(agents), dropped={}, broker_share=0.01,
        memory_bytes=2**25, finished=False, bottleneck="Stockfish-bound: engines are busy 97% of the time",
    )  # fmt: skip


BOTH = status(agent("white", 500, 600), agent("black", 480, 590))


def shown_on_a_terminal(*statuses: Status) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    with Progress(console) as shown:
        for found in statuses:
            shown.show(found, restarts=1)
    return out.getvalue()


def test_the_table_fits_80_columns_and_names_what_matters() -> None:
    text = shown_on_a_terminal(BOTH)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()
    assert all(len(line) <= 80 for line in lines)
    for word in (" 24% ", "600", "590", "500", "480", "617", "0.0123", "Stockfish-bound", "1 restart"):
        assert any(word in line for line in lines), word


def test_lines_are_plain_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    out = io.StringIO()
    with Progress(Console(file=out)) as shown:
        shown.note("learner-white was started again after signal SIGKILL")
        shown.show(BOTH, restarts=0)
    note, line = out.getvalue().splitlines()
    assert note == "learner-white was started again after signal SIGKILL"
    assert "\x1b" not in line
    for words in ("24%", "white stored 600 trained 500", "black stored 590 trained 480", "Stockfish-bound"):
        assert words in line


def test_lines_come_only_now_and_then() -> None:
    out = io.StringIO()
    with Progress(Console(file=out)) as shown:
        shown.show(BOTH, restarts=0)
    assert out.getvalue() == ""


def test_the_share_done_is_that_of_the_slowest_agent() -> None:
    assert fraction_trained(BOTH) == 480 / 2000


def test_the_share_done_is_estimated_until_the_total_is_known() -> None:
    unknown = status(agent("white", 30, 60), agent("black", 40, 50), units_total=None, fraction_read=0.1)
    assert fraction_trained(unknown) == pytest.approx(0.1 * (30 * 16) / 32_000)
    nothing = status(agent("white", 0, 0), agent("black", 0, 0), units_total=None, fraction_read=0.1)
    assert fraction_trained(nothing) == 0.0


def test_no_units_at_all_are_all_done() -> None:
    assert fraction_trained(status(agent("white", 0, 0), units_total=0)) == 1.0

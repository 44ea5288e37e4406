"""The pure parts of `rookery top`: cells, columns, heights, rows, curves, and the forecast."""

from dataclasses import dataclass

import pytest

from tests.watch.statuses import actor, agent, status, view
from watch import top_cells
from watch.forecast import Forecast, fraction_trained
from watch.top_columns import GAP, Column, fitting, sort
from watch.top_layout import Wish, heights
from watch.top_view import actor_rows, agent_rows


@dataclass
class Row:
    name: str
    figure: int | None = 0


NAME = Column[Row](title="name", text=lambda row: row.name, priority=0, width=4, most=8, left=True)
FIGURE = Column[Row](
    title="figure", text=lambda row: str(row.figure), priority=2, width=5, key=lambda row: row.figure
)
OTHER = Column[Row](title="other", text=lambda row: "-", priority=1, width=5)


@pytest.mark.parametrize(
    ("value", "count", "rate"),
    [
        (None, "-", "-"),
        (0, "0", "0"),
        (4.26, "4", "4.3"),
        (950, "950", "950"),
        (999.7, "1.0k", "1.0k"),
        (34_000, "34k", "34k"),
        (5_600_000, "5.6M", "5.6M"),
        (7.2e12, "7T", "7T"),
    ],
)
def test_counts_and_rates_are_short(value, count, rate):
    assert (top_cells.count(value), top_cells.rate(value)) == (count, rate)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.2, "0s"), (119, "119s"), (120, "2m"), (7200, "2h00m"), (12_345, "3h25m"), (300_000, "3d")],
)
def test_spans_are_short(seconds, text):
    assert top_cells.span(seconds) == text


def test_a_sparkline_runs_from_the_least_to_the_greatest_of_a_curve_however_long():
    assert top_cells.sparkline([], 5) == ""
    assert top_cells.sparkline([3.0, 3.0], 5) == "▅▅"
    assert top_cells.sparkline([0.0, 1.0], 5) == "▁█"
    assert top_cells.sparkline(range(1000), 8) == "▁▂▃▄▅▆▇█"


def test_a_bar_is_never_longer_than_it_may_be():
    assert [top_cells.bar(share, 4) for share in (-1, 0, 0.5, 1, 2)] == ["░░░░", "░░░░", "██░░", "████", "████"]


def test_columns_go_by_priority_and_names_are_cut_to_their_room():
    rows = [Row("a-name-that-is-long", 3), Row("b", 12)]
    assert [one.column.title for one in fitting([NAME, FIGURE, OTHER], rows, 8 + 6 + 5 + 2 * GAP)] == [
        "name",
        "figure",
        "other",
    ]
    assert [one.column.title for one in fitting([NAME, FIGURE, OTHER], rows, 8 + 5 + 2 * GAP)] == ["name", "other"]
    (name,) = fitting([NAME, FIGURE, OTHER], rows, 3)
    assert name.column.cell("a-name-that-is-long", name.width) == "a-name-…"


def test_rows_are_sorted_by_number_and_those_without_a_figure_come_last():
    rows = [Row("actor-10", 3), Row("actor-9", None), Row("actor-1", 5)]
    assert [row.name for row in sort(rows, NAME, falling=False)] == ["actor-1", "actor-9", "actor-10"]
    assert [row.figure for row in sort(rows, FIGURE, falling=False)] == [3, 5, None]
    assert [row.figure for row in sort(rows, FIGURE, falling=True)] == [5, 3, None]


WISHES = [
    Wish(name="agents", least=4, most=4),
    Wish(name="actors", least=5, most=202),
    Wish(name="log", least=5, most=1000),
    Wish(name="services", least=5, most=5),
    Wish(name="accounting", least=4, most=4),
]


@pytest.mark.parametrize("total", [5, 8, 12, 20, 24, 46, 300])
@pytest.mark.parametrize("focused", ["agents", "actors", "log", "accounting"])
def test_panes_share_all_of_the_height_and_none_has_less_than_its_title(total, focused):
    shared = heights(total, WISHES, focused)
    assert sum(shared.values()) == total
    assert min(shared.values()) >= 1
    assert shared[focused] >= min(4, 1 + (total - 5) // 2)


def test_the_focused_pane_has_the_most_of_a_small_terminal():
    assert heights(20, WISHES, "actors") == {"agents": 4, "actors": 9, "log": 5, "services": 1, "accounting": 1}
    assert heights(20, WISHES, "log")["log"] >= 8


def test_weights_of_actors_are_as_old_as_the_oldest_and_those_that_are_away_do_not_count():
    actors = [
        actor(0, weights={"white": 11}, weights_age_s={"white": 3.0}),
        actor(1, weights={"white": 7}, weights_age_s={"white": 90.0}),
        actor(2, state="away", weights={"white": 1}, weights_age_s={"white": 900.0}),
    ]
    seen = view(status(actors))
    white, black = agent_rows(seen)
    assert (white.lag, white.weights_age_s) == (5, 90.0)
    assert (black.lag, black.weights_age_s) == (None, None)
    assert [row.lag for row in actor_rows(seen)] == [1, 5, 11]


def test_the_share_that_is_trained_is_that_of_the_slowest_agent():
    found = status(agents=[agent("white", trained=40), agent("black", trained=25)])
    assert fraction_trained(found) == 0.25


def test_the_end_is_foretold_from_the_last_minute_and_anew_after_a_broker_that_knows_less():
    forecast = Forecast(window_s=60.0)
    assert forecast.take(0.0, 0.0) is None
    assert forecast.take(10.0, 0.1) == pytest.approx(90.0)
    for second in range(20, 200, 10):
        left_s = forecast.take(second, 0.1 + (second - 10) / 1000)
    assert left_s == pytest.approx((1.0 - 0.28) * 1000)
    assert forecast.take(210.0, 0.1) is None
    assert forecast.take(220.0, 0.2) == pytest.approx(80.0)

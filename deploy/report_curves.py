"""The curves of runs, by gradient step and by wall time, those of all runs in the same plots.

One run has a colour for each agent; of several each has a colour, and each agent a way of dashing. A line of many
intervals is drawn through means of some of them, so that it can be read, and the page stays small.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from arena.plots import Line, Span, lines_plot, spans_plot
from arena.report_page import Plot
from arena.report_tables import NOTHING, Row, Table
from deploy.report_run import Run
from learner.metrics import MetricsLine

POINTS = 150
"""Most points of a line."""
MAX_ROWS = 40
"""Most services in the plot of who was up when."""
_ROLES = {"actor": 0, "learner": 1, "broker": 2}
_OTHERS = 3

Curve = list[tuple[float, float, float]]
"""Points in order: x, y, and the weight of y in a mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A figure of each interval."""

    title: str
    y_label: str
    value: Callable[[MetricsLine], float | None]
    weight: Callable[[MetricsLine], int]
    """How much the figure counts in a mean of several intervals."""
    from_zero: bool = False


def _rows(line: MetricsLine) -> int:
    return line.transitions


def _steps(line: MetricsLine) -> int:
    return line.steps


def _one(line: MetricsLine) -> int:
    del line
    return 1


def _percent(value: float | None) -> float | None:
    return None if value is None else value * 100


MEASURES = (
    Measure(
        title="TD error, before training on the games", y_label="expected score",
        value=lambda line: line.td_error, weight=_rows, from_zero=True,
    ),
    Measure(
        title="Moves matched, before training on the games", y_label="first choice, %",
        value=lambda line: _percent(line.match_top1), weight=_rows, from_zero=True,
    ),
    Measure(
        title="Moves matched among the first three", y_label="%",
        value=lambda line: _percent(line.match_top3), weight=_rows, from_zero=True,
    ),
    Measure(
        title="Moves matched in games kept out of training", y_label="first choice, %",
        value=lambda line: _percent(line.validation.match_top1) if line.validation else None, weight=_one,
        from_zero=True,
    ),
    Measure(
        title="Loss on games kept out of training", y_label="loss",
        value=lambda line: line.validation.loss if line.validation else None, weight=_one,
    ),
    Measure(title="Loss of Q", y_label="loss", value=lambda line: line.q_loss, weight=_steps),
    Measure(title="Loss of the value", y_label="loss", value=lambda line: line.value_loss, weight=_steps),
    Measure(title="Loss of the prior", y_label="loss", value=lambda line: line.prior_loss, weight=_steps),
    Measure(title="Norm of the gradient", y_label="norm", value=lambda line: line.gradient_norm, weight=_steps),
    Measure(
        title="Rank correlation of estimate and outcome", y_label="Spearman's ρ",
        value=lambda line: line.rank_correlation, weight=_rows,
    ),
)  # fmt: skip
PROBE_LAG = Measure(
    title="Age of the probes' weights", y_label="versions behind the learner",
    value=lambda line: line.probe_lag_mean, weight=lambda line: line.probes, from_zero=True,
)  # fmt: skip


def plots(runs: Sequence[Run]) -> Iterator[Plot]:
    """Yield the plots of the runs; those without a single point are left out."""
    for measure in (*MEASURES, PROBE_LAG):
        yield from _plot(measure, runs, _step, "gradient step", "")
    name, length_s = _unit_of_time(runs)
    by_time = f"{name} since the first start"

    def elapsed(run: Run, agent: str, line: MetricsLine) -> float | None:
        moment_s = _trained_at(run, agent, line)
        return None if moment_s is None else (moment_s - _begin_s(run)) / length_s

    yield from _plot(PROBE_LAG, runs, elapsed, by_time, ", over time")
    yield from _throughput(runs, by_time, length_s)
    steps = Measure(
        title="Gradient steps", y_label="steps", value=lambda line: line.step, weight=_one, from_zero=True
    )
    yield from _plot(steps, runs, elapsed, by_time, " over time")


def _step(run: Run, agent: str, line: MetricsLine) -> float:
    del run, agent
    return line.step


def presence(run: Run) -> Plot | None:
    """Return the plot of which service was up when; None where there are no logs."""
    sessions = run.logs.sessions
    services = sorted({session.service for session in sessions}, key=lambda name: (_role(name), name))[:MAX_ROWS]
    if not services:
        return None
    name, length_s = _unit_of_time([run])
    begin_s = _begin_s(run)
    shown = [session for session in sessions if session.service in services]
    spans = [
        Span(
            row=services.index(session.service),
            begin=(session.first_s - begin_s) / length_s,
            end=(session.last_s - begin_s) / length_s,
            colour=_role(session.service),
            broken=session.broken,
        )
        for session in shown
    ]
    rows = tuple(
        Row(
            label=session.service,
            cells=(f"{span.begin:.1f}", f"{span.end:.1f}", session.host or NOTHING, "yes" if span.broken else "no"),
        )
        for session, span in zip(shown, spans, strict=True)
    )
    killed = sum(span.broken for span in spans)
    title = f"Who was up when: {run.facts.name}"
    table = Table(title=title, note=name, columns=("service", "from", "to", "host", "killed"), rows=rows)
    text = f"{len(shown)} processes of {len(services)} services; {killed} ended without a word (×)."
    return Plot(
        title=title,
        svg=spans_plot(services, spans, x_label=f"{name} since the first start"),
        text=text,
        table=table,
    )


def _plot(
    measure: Measure,
    runs: Sequence[Run],
    place: Callable[[Run, str, MetricsLine], float | None],
    x_label: str,
    added: str,
) -> Iterator[Plot]:
    curves = {}
    for run in runs:
        for agent, lines in run.metrics.items():
            points = [
                (x, y, float(max(1, measure.weight(line))))
                for line in lines
                if (x := place(run, agent, line)) is not None and (y := measure.value(line)) is not None
            ]
            if points:
                curves[run.facts.name, agent] = reduced(points)
    yield from _drawn(measure.title + added, measure.y_label, curves, runs, x_label, from_zero=measure.from_zero)


def _throughput(runs: Sequence[Run], by_time: str, length_s: float) -> Iterator[Plot]:
    curves = {}
    for run in runs:
        begin_s = _begin_s(run)
        for agent, stored in run.stored.items():
            rates = _rates([(moment_s - begin_s, count) for moment_s, count in stored])
            if rates:
                curves[run.facts.name, agent] = [(x / length_s, y, 1.0) for x, y in rates]
    yield from _drawn("Transitions stored", "transitions/s", curves, runs, by_time, from_zero=True)


def _rates(counts: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    """Return what came per second in each of equal spans of time, at its middle; `counts` are (second, count)."""
    if len(counts) < 2 or counts[-1][0] <= counts[0][0]:
        return []
    first_s, last_s = counts[0][0], counts[-1][0]
    bins = max(1, min(60, len(counts) // 4))
    width_s = (last_s - first_s) / bins
    sums = [0] * bins
    for moment_s, count in counts[1:]:  # what came first was made before the first moment
        sums[min(bins - 1, int((moment_s - first_s) / width_s))] += count
    return [(first_s + (number + 0.5) * width_s, total / width_s) for number, total in enumerate(sums)]


def reduced(points: Curve, most: int = POINTS) -> Curve:
    """Return at most so many points: weighted means of runs of neighbours, each as long as the others."""
    if len(points) <= most:
        return points
    size = math.ceil(len(points) / most)
    return [_mean(points[start : start + size]) for start in range(0, len(points), size)]


def _mean(points: Curve) -> tuple[float, float, float]:
    total = sum(weight for _, _, weight in points)
    return (
        sum(x for x, _, _ in points) / len(points),
        sum(y * weight for _, y, weight in points) / total,
        total,
    )


def _drawn(
    title: str,
    y_label: str,
    curves: dict[tuple[str, str], Curve],
    runs: Sequence[Run],
    x_label: str,
    *,
    from_zero: bool,
) -> Iterator[Plot]:
    """Yield the plot of the curves, by run and agent; none where there is no curve."""
    if not curves:
        return
    names = [run.facts.name for run in runs]
    agents = list(dict.fromkeys(agent for run in runs for agent in run.metrics))
    several = len(names) > 1
    lines = [
        Line(
            label=_label(run, agent, several, len(agents) > 1),
            xs=[x for x, _, _ in points],
            ys=[y for _, y, _ in points],
            colour=names.index(run) if several else agents.index(agent),
            dash=agents.index(agent) if several else 0,
        )
        for (run, agent), points in curves.items()
    ]
    rows = tuple(Row(label=line.label, cells=_figures(line)) for line in lines)
    columns = ("line", "first", "last", "least", "most", "points")
    said = "; ".join(
        f"{line.label}: {_figure(line.ys[0])}" + (f" to {_figure(line.ys[-1])}" if len(line.ys) > 1 else "")
        for line in lines
    )
    yield Plot(
        title=title,
        svg=lines_plot(lines, x_label=x_label, y_label=y_label, from_zero=from_zero),
        text=f"{said}.",
        table=Table(title=title, note=f"{y_label}, by {x_label}", columns=columns, rows=rows),
    )


def _label(run: str, agent: str, several_runs: bool, several_agents: bool) -> str:
    if not several_runs:
        return agent
    return f"{run}: {agent}" if several_agents else run


def _figures(line: Line) -> tuple[str, ...]:
    ys = line.ys
    return (*map(_figure, (ys[0], ys[-1], min(ys), max(ys))), f"{len(ys):,}")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _trained_at(run: Run, agent: str, line: MetricsLine) -> float | None:
    """Return when an interval was trained, seconds since 1970, as its line or else the logs say."""
    if line.time_ns is not None:
        return line.time_ns / 1e9
    return run.logs.trained_at.get(agent, {}).get((line.step, line.last_unit))


def _begin_s(run: Run) -> float:
    """Return when a run was first started, or first seen, seconds since 1970."""
    moments = [session.first_s for session in run.logs.sessions]
    moments += [stored[0][0] for stored in run.stored.values() if stored]
    if run.facts.starts:
        moments.append(datetime.fromisoformat(run.facts.starts[0].started).timestamp())
    moments += [
        moment_s
        for agent, lines in run.metrics.items()
        for line in lines[:1]
        if (moment_s := _trained_at(run, agent, line)) is not None
    ]
    return min(moments, default=0.0)


def _unit_of_time(runs: Sequence[Run]) -> tuple[str, float]:
    """Return the unit that spans of the runs are best told in, and its length in seconds."""
    longest_s = 0.0
    for run in runs:
        ends = [session.last_s for session in run.logs.sessions]
        ends += [stored[-1][0] for stored in run.stored.values() if stored]
        longest_s = max(longest_s, max(ends, default=0.0) - _begin_s(run) if ends else 0.0)
    if longest_s < 300:
        return "seconds", 1.0
    return ("minutes", 60.0) if longest_s < 4 * 3600 else ("hours", 3600.0)


def _role(service: str) -> int:
    return _ROLES.get(service.partition("-")[0], _OTHERS)

"""The report of one run, or of several side by side, as one HTML page that needs nothing else."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from markupsafe import Markup

from arena.page import render
from arena.report_page import Plot
from arena.report_tables import overview, tables
from common.run_files import EVALUATION_FILE
from common.whole_file import explained, whole_file
from deploy import report_curves, report_figures
from deploy.report_run import Run


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write the report of `runs` as a page, whole or not at all; raises SettingsError where it can't be written."""
    content = page(runs).encode(errors="replace")
    with whole_file(path) as file, explained(path):
        file.write(content)


def page(runs: Sequence[Run]) -> str:
    """Return the report of `runs` as HTML."""
    settings, alike = report_figures.settings(runs)
    return render(
        "deploy/report_page.html",
        title=("Report: " if len(runs) == 1 else "Runs compared: ") + ", ".join(run.facts.name for run in runs),
        made=datetime.now(UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00"),
        rookery=version("rookery"),
        runs=[run.facts for run in runs],
        headlines={run.facts.name: report_figures.headline(run.facts) for run in runs},
        summary=report_figures.summary(runs),
        accounting=list(report_figures.accounting(runs)),
        plots=[_shown(plot) for plot in report_curves.plots(runs)],
        presence=[_shown(plot) for run in runs if (plot := report_curves.presence(run)) is not None],
        faults=report_figures.faults(runs),
        warnings=[report_figures.warnings(run) for run in runs if run.facts.faults and run.facts.faults.events],
        starts=report_figures.starts(runs),
        cost=report_figures.cost(runs),
        settings=settings,
        alike=alike,
        software=report_figures.software(runs),
        sources=report_figures.sources(runs),
        cards=[
            {"run": run.facts.name, "card": run.card, "tables": [overview(run.card), *tables(run.card)]}
            for run in runs
            if run.card is not None
        ],
        evaluation_file=EVALUATION_FILE,
    )


def _shown(plot: Plot) -> dict[str, object]:
    """Return a plot for the template: its SVG is ours, all else is escaped."""
    return {"title": plot.title, "svg": Markup(plot.svg), "text": plot.text, "table": plot.table}

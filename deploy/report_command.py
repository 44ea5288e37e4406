"""`rookery report`: looking back at a run, or at several side by side."""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from common.errors import OperatorError, SettingsError
from common.progress_line import ProgressLine
from deploy.report_run import Run, read_run
from deploy.services_settings import services_settings_option

COMPARISON = "comparison.html"
"""What a report of several runs is called, in the current directory, unless --to says otherwise."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Where to write the page. [default: report.html in DIR; {COMPARISON} here for several]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of writing a page.")
@services_settings_option
def report(directories: tuple[Path, ...], to: Path | None, as_json: bool, settings_file: Path | None) -> None:
    """Write one HTML page that looks back at the run in DIR, or compares several runs side by side.

    Figures, accounting, curves, faults survived, cost, settings, software and sources, and the report card if the
    run was evaluated. The page needs no network and no other file. Runs that still go on can be looked at, too.

    Example:  rookery report runs/first runs/second --to comparison.html
    """
    if to is not None or not as_json:
        _check_installed()
    with ProgressLine(plain=False) as progress:
        runs = read_runs(directories, progress, settings_file)
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode([run.facts for run in runs])))
        if as_json and to is None:
            return
        progress.show("drawing the page")
        page = _write(runs, to or (directories[0] / "report.html" if len(runs) == 1 else Path(COMPARISON)))
    click.echo(f"report written to {page}", err=as_json)


def read_runs(directories: Sequence[Path], progress: ProgressLine, settings_file: Path | None = None) -> list[Run]:
    """Return the runs, each with a name of its own; `settings_file` holds for those that keep no settings.

    Raises RunDirectoryError for a directory that is no run's, SettingsError for a mistake in `settings_file`.
    """
    runs = []
    for path, name in zip(directories, names_of(directories), strict=True):
        progress.show(f"reading {path}")
        runs.append(read_run(path, name, settings_file))
    return runs


def names_of(directories: Sequence[Path]) -> list[str]:
    """Return a short name for each directory: as much of the ends of their paths as tells them apart."""
    paths = [path.resolve().parts for path in directories]
    if len(set(paths)) < len(paths):
        raise SettingsError("the same DIR is named twice")
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in directories]


def _check_installed() -> None:
    """Raise OperatorError, which says what to install, where what draws the page is missing."""
    try:
        import deploy.report_page  # noqa: F401
    except ModuleNotFoundError as error:
        name = (error.name or "a package").partition(".")[0]
        raise OperatorError(f"the page needs {name}: pip install 'rookery[arena]' (--json needs it not)") from error


def _write(runs: Sequence[Run], path: Path) -> Path:
    from deploy.report_page import write_page  # with matplotlib, for which --json needs not to wait

    write_page(runs, path)
    return path

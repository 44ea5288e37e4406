"""`rookery export`: an agent's experience as a table in a file."""

import difflib
from pathlib import Path

import click

from common.errors import RunDirectoryError, SettingsError, StoreError
from common.progress_line import ProgressLine
from common.quantities import size
from common.settings import AgentSettings, Settings, read_file
from common.tables import check_suffix
from learner.directory import AgentDirectory
from learner.export import export as write_table
from learner.store import ExperienceReader

SETTINGS_FILE = "settings.toml"
"""What makes a directory a run directory: the settings that `rookery up` keeps there."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--agent", "name", metavar="NAME", required=True, help="Whose experience.")
@click.option(
    "--to",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to: .parquet, .csv or .jsonl. An old file stays until the new one is whole.",
)
def export(directory: Path, name: str, to: Path) -> None:
    """Write the experience of an agent of the run in DIR as a table, one row per transition.

    Columns: game, ply, fen, move (UCI), reward, terminated, truncated, next_fen, next_move (null at the end),
    expected_score (of fen, from the agent's side), unit. A run may be going on in DIR.

    Example:  rookery export runs/first --agent white --to white.parquet
    """
    check_suffix(to)
    settings = _settings_of(directory)
    agent = settings.agent(name)
    home = AgentDirectory.of(directory, agent.name)
    total = _stored(home, agent, directory)
    with ProgressLine(plain=False) as line:
        rows = write_table(
            home.path,
            to,
            settings,
            lambda done: line.show(f"{done:,} of {total:,} rows ({done / max(1, total):.0%})"),
        )
    click.echo(f"{rows:,} rows of {agent.name} in {to} ({size(to.stat().st_size)})")


def _settings_of(directory: Path) -> Settings:
    """Return the settings of the run in `directory`; raise RunDirectoryError if there is none."""
    if not directory.is_dir():
        what = "not a directory" if directory.exists() else "no such directory"
        raise RunDirectoryError(f"{directory}: {what}{_near(directory)}")
    if not (directory / SETTINGS_FILE).exists():
        above = [parent for parent in directory.absolute().parents if (parent / SETTINGS_FILE).exists()]
        hint = f"; did you mean {above[0]}?" if above else "; name the --run of a `rookery up`"
        raise RunDirectoryError(f"{directory}: not a run directory, for it holds no {SETTINGS_FILE}{hint}")
    try:
        return read_file(directory / SETTINGS_FILE)
    except SettingsError as error:
        raise RunDirectoryError(f"{error}; is that a run directory of another release?") from error


def _near(directory: Path) -> str:
    try:
        names = [entry.name for entry in directory.absolute().parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(directory.name, names, n=1)
    return f"; did you mean {directory.with_name(near[0])}?" if near else ""


def _stored(home: AgentDirectory, agent: AgentSettings, directory: Path) -> int:
    """Return how many transitions are stored; raise StoreError if no unit is."""
    if home.experience.exists():
        with ExperienceReader(home.experience, agent) as store:
            totals = store.totals()
        if totals.units:
            return totals.transitions
    raise StoreError(f"{directory}: nothing is stored yet for {agent.name}; see how the run stands: rookery status")

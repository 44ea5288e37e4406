"""`rookery export`: an agent's experience as a table in a file."""

from pathlib import Path

import click

from common.errors import StoreError
from common.options import to_option
from common.progress_line import ProgressLine
from common.quantities import size
from common.run_files import settings_of
from common.settings import AgentSettings
from common.tables import check_suffix
from learner.directory import AgentDirectory
from learner.export import export as write_table
from learner.store import ExperienceReader


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--agent", "name", metavar="NAME", required=True, help="Whose experience.")
@to_option(".parquet, .csv or .jsonl")
def export(directory: Path, name: str, to: Path) -> None:
    """Write the experience of an agent of the run in DIR as a table, one row per transition.

    Columns: game, ply, fen, move (UCI), reward, terminated, truncated, next_fen, next_move (null at the end),
    expected_score (of fen, from the agent's side), unit. A run may be going on in DIR.

    Example:  rookery export runs/first --agent white --to white.parquet
    """
    check_suffix(to)
    settings = settings_of(directory)
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


def _stored(home: AgentDirectory, agent: AgentSettings, directory: Path) -> int:
    """Return how many transitions are stored; raise StoreError if no unit is."""
    if home.experience.exists():
        with ExperienceReader(home.experience, agent) as store:
            totals = store.totals()
        if totals.units:
            return totals.transitions
    raise StoreError(f"{directory}: nothing is stored yet for {agent.name}; see how the run stands: rookery status")

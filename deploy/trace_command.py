"""`rookery trace`: what each process did when, and where a unit, a game or a transition came from."""

from pathlib import Path

import click
import msgspec

from common.errors import RunDirectoryError, SettingsError
from common.log_lines import TRACE_FILE, rotated_files
from common.progress_line import ProgressLine
from common.quantities import counted
from deploy.services_settings import services_settings_option
from deploy.trace_what import FORMS, what_of


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("what", metavar="[WHAT]...", nargs=-1)
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the timeline. [default: trace.json in DIR]",
)
@click.option("--json", "as_json", is_flag=True, help="Print what is known of WHAT as JSON.")
@services_settings_option
def trace(
    directory: Path, what: tuple[str, ...], to: Path | None, as_json: bool, settings_file: Path | None
) -> None:
    """Say where WHAT came from in the run in DIR, or write the run's timeline.

    WHAT is game:N, unit:N, or AGENT:GAME:PLY for a transition: file, line and headers of the game, the move, its
    engine, actor and host, when it was stored and when it was trained on. Without WHAT the timeline of all
    processes is written as a file that opens in https://ui.perfetto.dev.

    Example:  rookery trace runs/first white:12:40
    """
    if what:
        if to is not None:
            raise SettingsError("--to is for the timeline, which is written without WHAT")
        _tell(directory, what, as_json, settings_file)
    elif as_json:
        raise SettingsError(f"--json is for WHAT: {FORMS}")
    else:
        _write(directory, to if to is not None else directory / "trace.json")


def _tell(directory: Path, what: tuple[str, ...], as_json: bool, settings_file: Path | None) -> None:
    asked = [what_of(text) for text in what]
    # With numpy, chess and the learner's code, for which the timeline needs not to wait.
    from deploy.trace_origin import Tracer
    from deploy.trace_text import text_of

    with ProgressLine(plain=False) as progress:
        tracer = Tracer(
            directory, lambda games: progress.show(f"{games:,} games passed over"), settings_file=settings_file
        )
        found = [tracer.trace(one) for one in asked]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        click.echo("\n\n".join(map(text_of, found)))


def _write(directory: Path, to: Path) -> None:
    from deploy.trace_timeline import write_timeline

    logs = directory / "logs"
    if not rotated_files(logs / TRACE_FILE):
        raise RunDirectoryError(
            f"{logs / TRACE_FILE}: no such file; name the --run of a `rookery up` that had the setting trace on"
        )
    with ProgressLine(plain=False) as progress:
        try:
            counts = write_timeline(logs, to, lambda spans: progress.show(f"{spans:,} spans"))
        except OSError as error:
            raise RunDirectoryError(f"{logs}: can't be read: {error.strerror or error}") from error
    damaged = f"; {counted(counts['damaged'], 'line')} could not be read" if counts["damaged"] else ""
    click.echo(f"{counted(counts['spans'], 'span')} written to {to}: open it in https://ui.perfetto.dev{damaged}")

"""`rookery logs`: find log records in a run's files, follow them, and put the files of several hosts in order."""

import heapq
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path

import click

from common.colour import coloured
from common.errors import SettingsError
from common.log_lines import SEVERITY_NUMBERS, LogLine, encode_line, line_or_none
from common.log_text import clock_of, text_of, without_controls
from common.progress_line import ProgressLine
from common.whole_file import explained as writing
from common.whole_file import whole_file
from watch.log_merge import LogMerge
from watch.log_query import LEVELS, LogQuery, moment
from watch.log_sources import LogSource, compressed, explained, log_sources
from watch.tail import Tail

FOLLOW_INTERVAL_S = 0.25
PROGRESS_LINES = 10_000
_COLOURS = {"DEBUG": "bright_black", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_CONTEXT = {"help_option_names": ["-h", "--help"]}


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    try:
        return None if value is None else moment(value, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.group(context_settings=_CONTEXT)
def logs() -> None:
    """Find log records of a run, or put the log files of several hosts in order.

    Example:  rookery logs query runs/first --level warning --since 2h
    """


@logs.command(context_settings=_CONTEXT)
@click.argument("names", nargs=-1, required=True, metavar="DIR|FILE...", type=click.Path(path_type=Path))
@click.option(
    "--since", callback=_moment, metavar="T", help="Not before T: 30s, 10m, 2h, 7d ago, or ISO 8601 (UTC)."
)
@click.option("--until", callback=_moment, metavar="T", help="Before T.")
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), metavar="LEVEL",
              help=f"This level or worse: {', '.join(LEVELS)}.")  # fmt: skip
@click.option("--service", "services", multiple=True, metavar="NAME",
              help="Of this service, such as learner-white or 'actor-*'; may be given again.")  # fmt: skip
@click.option("--game", type=click.IntRange(min=0), metavar="N", help="About this game.")
@click.option("--unit", type=click.IntRange(min=0), metavar="N", help="About this unit.")
@click.option("--agent", metavar="NAME", help="About this agent, or by its learner.")
@click.option("--text", metavar="TEXT", help="With this text in the event or a field, in upper or lower case.")
@click.option("--trace", is_flag=True, help="Spans and game samples of a DIR, too.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N of them.")
@click.option("--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object a line.")
def query(
    names: tuple[Path, ...],
    since: datetime | None,
    until: datetime | None,
    level: str | None,
    services: tuple[str, ...],
    game: int | None,
    unit: int | None,
    agent: str | None,
    text: str | None,
    trace: bool,
    tail: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Print the log records that are asked for, of runs (DIR) or of files, also compressed ones (.zst, .gz).

    Options narrow it down together. Times are shown in UTC.

    Example:  rookery logs query runs/first --unit 12 --since 10m --follow
    """
    asked = LogQuery(
        since=since, until=until, least=SEVERITY_NUMBERS[level.upper()] if level else None, services=services,
        game=game, unit=unit, agent=agent, text=text,
    )  # fmt: skip
    sources = log_sources(names, trace=trace)
    show = _printer(as_json=as_json)
    if follow:
        _follow(sources, asked, show, tail)
        return
    damaged = _Damaged()
    found: Iterable[LogLine] = heapq.merge(
        *(_found(source, asked, damaged) for source in sources), key=attrgetter("time")
    )
    for line in found if tail is None else deque(found, tail):
        show(line)
    damaged.tell()


@logs.command(context_settings=_CONTEXT)
@click.argument("names", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--to", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Where to, also compressed (.zst, .gz); an old file stays until the new one is whole. [default: printed]",
)  # fmt: skip
def merge(names: tuple[Path, ...], to: Path | None) -> None:
    """Put log files of several hosts, or of runs (DIR), in order of time; a record that is in several comes once.

    Example:  rookery logs merge north.jsonl south.jsonl.zst --to all.jsonl
    """
    sources = [source.lines() for source in log_sources(names)]
    merged = LogMerge(sources)
    texts = _read(merged, ", ".join(map(str, names)))
    if to is not None:
        _write(texts, to)
    else:
        sys.stdout.buffer.writelines(text + b"\n" for text in texts)
        sys.stdout.buffer.flush()
    told = [(merged.damaged, "damaged lines were"), (merged.duplicates, "records that were there twice were")]
    for count, what in told:
        if count:
            click.echo(f"{count} {what} left out", err=True)


def _read(merged: LogMerge, names: str) -> Iterator[bytes]:
    with explained(names):
        yield from merged


def _write(texts: Iterable[bytes], path: Path) -> None:
    with (
        whole_file(path) as file,
        writing(path),
        compressed(file, path.suffix) as target,
        ProgressLine() as progress,
    ):
        for count, text in enumerate(texts, 1):
            target.write(text + b"\n")
            if count % PROGRESS_LINES == 0:
                progress.show(f"{count} lines written to {path}")


class _Damaged:
    """Counts lines that are none."""

    def __init__(self) -> None:
        self.lines = 0

    def tell(self) -> None:
        if self.lines:
            click.echo(f"{self.lines} damaged lines were passed over", err=True)


def _found(source: LogSource, asked: LogQuery, damaged: _Damaged) -> Iterator[LogLine]:
    lines = source.lines(asked.glance())
    with explained(source.path):
        yield from filter(asked.matches, lines)
    damaged.lines += lines.damaged


def _follow(sources: list[LogSource], asked: LogQuery, show: Callable[[LogLine], None], tail: int | None) -> None:
    for source in sources:
        if source.path.suffix in (".zst", ".gz"):
            raise SettingsError(f"{source.path}: is compressed, and nothing more comes to it; leave --follow out")
    tails = [Tail(source.path, history_bytes=2**63 if source.rotated else _size(source.path)) for source in sources]
    before = heapq.merge(*(_lines(each, asked) for each in tails), key=attrgetter("time"))
    for line in before if tail is None else deque(before, tail):
        show(line)
    while True:
        sys.stdout.flush()
        time.sleep(FOLLOW_INTERVAL_S)
        for line in sorted((line for each in tails for line in _lines(each, asked)), key=attrgetter("time")):
            show(line)


def _size(path: Path) -> int:
    return path.stat().st_size


def _lines(tail: Tail, asked: LogQuery) -> Iterator[LogLine]:
    """Yield what is asked for of what has come."""
    while texts := tail.read():
        for text in texts:
            if (line := line_or_none(text)) is not None and asked.matches(line):
                yield line


def _printer(*, as_json: bool) -> Callable[[LogLine], None]:
    write, text = sys.stdout.write, _in_colour if coloured(sys.stdout) else text_of

    def show_json(line: LogLine) -> None:
        write(encode_line(line).decode() + "\n")

    def show(line: LogLine) -> None:
        write(text(line) + _stack(line) + "\n")

    return show_json if as_json else show


def _in_colour(line: LogLine) -> str:
    clock, level, service = clock_of(line), f"{line.severity:<7}", without_controls(line.service)
    rest = text_of(line)[len(f"{clock} {level} {service}") :]
    shown = click.style(
        level, fg=_COLOURS.get(line.severity), bold=line.severity_number >= SEVERITY_NUMBERS["ERROR"]
    )
    return f"{click.style(clock, dim=True)} {shown} {click.style(service, fg='cyan')}{rest}"


def _stack(line: LogLine) -> str:
    return "".join(f"\n    {without_controls(each)}" for each in (line.error or "").splitlines())

"""`rookery annotate`: the evaluations of games as a table, without broker and learners."""

import logging
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click
import msgspec

from actor.annotations import COLUMNS
from actor.annotator import Annotator
from actor.engine import Engine
from actor.evaluations import Evaluations
from actor.labels import Labels, LabelStats
from broker.sources import STDIN, check, keep_stdin
from broker.units import UnitReader
from common.errors import SettingsError, SourceError
from common.messages import RawGame
from common.options import settings_from, to_option
from common.progress_line import ProgressLine
from common.quantities import duration, size
from common.rejections import Rejection
from common.settings import EvaluationSource, Settings, help_of
from common.signals import StopSignal
from common.tables import check_suffix, open_table
from common.whole_file import explained, whole_file
from common.words import Unit

F = TypeVar("F", bound=Callable[..., Any])

GAMES_PER_UNIT = 16
POLL_S = 0.1
REJECTIONS_LISTED = 10
INTERRUPTED = 130


def _setting(name: str, metavar: str, default: str) -> Callable[[F], F]:
    flag = "--" + name.replace("_", "-")
    return click.option(flag, metavar=metavar, help=f"{help_of(name)} [default: {default}]")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("games", nargs=-1, type=click.Path())
@to_option(".parquet, .csv or .jsonl")
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with any of these settings (names with _ for -).",
)
@_setting("nodes", "N", "1000")
@_setting("engine", "PATH", "stockfish")
@_setting("evals", "engine|pgn|auto", "engine")
@_setting("limit_games", "N", "all")
@click.option(
    "--evaluations",
    metavar="PATH",
    help="Store of evaluations, which a run may share. [default: evaluations.db beside FILE]",
)
def annotate(games: tuple[str, ...], to: Path, **flags: Any) -> None:
    """Write the evaluations of GAMES... (.pgn, .pgn.zst, .pgn.gz, .pgn.bz2, or -) as a table, a row per position.

    Columns: game and ply (from 0), fen, move (UCI, null at the end), score_cp (from the side to move, null for a
    mate), mate (in moves, positive where the side to move mates), expected_score (from white's side), side (to
    move), source (engine, comment, rules or assumed). Games that can't be used are listed on standard error and in
    FILE.rejected.jsonl. No game is evaluated twice: an interrupted command goes on where it stopped.

    Example:  rookery annotate games.pgn.zst --to values.parquet --nodes 200
    """
    logging.getLogger().addHandler(logging.NullHandler())  # the engine logs; this command talks
    check_suffix(to)
    settings = settings_from(flags, games=games or None)
    if not settings.games:
        raise SourceError("no games: name PGN files, for example `rookery annotate games.pgn --to values.parquet`")
    if settings.evaluations is None:
        settings = msgspec.structs.replace(settings, evaluations=str(to.with_name("evaluations.db")))
    try:
        with _terminable(), ExitStack() as stack:
            names = [_readable(name, stack, to) for name in settings.games]
            for name in names:
                check(name)
            Annotation(settings, names, to).run(StopSignal())
    except KeyboardInterrupt:
        kept = "" if settings.evals is EvaluationSource.PGN else "; the same command goes on where it stopped"
        click.echo(f"interrupted: {to} is not written{kept}", err=True)
        sys.exit(INTERRUPTED)


class Annotation:
    """One run of the command: from sources to a table and a file of rejected games."""

    def __init__(self, settings: Settings, sources: Sequence[str], to: Path) -> None:
        self._settings, self._to = settings, to
        self._rejected_file = to.with_name(f"{to.name}.rejected.jsonl")
        self._reader = UnitReader(sources, GAMES_PER_UNIT, settings.limit_games)
        self._begun_s = time.monotonic()
        self._games = 0
        self._reasons: Counter[str] = Counter()
        self._listed: list[Rejection] = []

    def run(self, stopping: StopSignal) -> None:
        """Annotate all games, write the files, and say what came of it; told to stop, raise KeyboardInterrupt.

        Signals set a flag here: an exception raised by one could be swallowed by whoever is at work just then.
        """
        with ExitStack() as stack:
            table = stack.enter_context(open_table(self._to, COLUMNS))  # first in, so that it is there last
            rejected = stack.enter_context(whole_file(self._rejected_file))
            line = stack.enter_context(ProgressLine())
            engine, labels = self._open_labels(stack)
            comments = self._settings.evals is not EvaluationSource.ENGINE
            annotator = Annotator(self._units(), labels, comments=comments)
            while not annotator.done:
                if stopping:
                    raise KeyboardInterrupt
                for unit in annotator.poll(POLL_S):
                    table.write(unit.rows)
                    self._games += unit.games
                    for rejection in unit.rejections:
                        self._note(rejection, rejected)
                line.show(self._progress(labels.stats(), engine))
            stats, restarts = labels.stats(), engine.stats().restarts if engine else 0
        if not self._reasons:
            self._rejected_file.unlink()
        self._say(table.rows, stats, restarts)

    def _open_labels(self, stack: ExitStack) -> tuple[Engine | None, Labels]:
        if self._settings.evals is EvaluationSource.PGN:
            return None, Labels(self._settings.evals)
        engine = stack.enter_context(Engine(self._settings.engine, nodes=self._settings.nodes))
        store = stack.enter_context(Evaluations.open(self._settings.evaluations_path, engine.fingerprint))
        return engine, Labels(self._settings.evals, engine, store)

    def _units(self) -> Iterator[Sequence[RawGame]]:
        number = 0
        while (raw := self._reader.get(Unit(number))) is not None:
            yield raw.games
            number += 1

    def _note(self, rejection: Rejection, file: BinaryIO) -> None:
        with explained(self._rejected_file):
            file.write(msgspec.json.encode(msgspec.structs.asdict(rejection)) + b"\n")
        self._reasons[rejection.reason.value] += 1
        if len(self._listed) < REJECTIONS_LISTED:
            self._listed.append(rejection)

    def _progress(self, stats: LabelStats, engine: Engine | None) -> str:
        """Return how far things are; what is left is reckoned by the share of the sources read so far."""
        passed_s = max(1e-3, time.monotonic() - self._begun_s)
        read = self._reader.fraction_read
        done = read * self._games / max(1, self._reader.games_cut)
        left = f"ETA {duration(passed_s * (1 - done) / done)}" if done else "ETA -"
        evaluated = f", engine {engine.stats().positions / passed_s:.0f}/s" if engine else ""
        return (
            f"{done:4.0%}  {self._games:,} games ({self._reasons.total()} rejected), "
            f"{stats.positions:,} positions{evaluated}, {left}"
        )

    def _say(self, rows: int, stats: LabelStats, restarts: int) -> None:
        self._list_rejected()
        origins = {
            "by the engine": stats.engine_games,
            "from the store": stats.stored_games,
            "from comments": stats.commented_games,
        }
        by = ", ".join(f"{count:,} {origin}" for origin, count in origins.items() if count)
        games = self._games - self._reasons.total()
        click.echo(
            f"{rows:,} rows of {games:,} games{f' ({by})' if by else ''} in {self._to} "
            f"({size(self._to.stat().st_size)}), {duration(time.monotonic() - self._begun_s)}"
            + (f", {restarts} restarts of the engine" if restarts else "")
        )

    def _list_rejected(self) -> None:
        for rejection in self._listed:
            click.echo(
                f"rejected: game {rejection.number} at {rejection.source}:{rejection.line}: "
                f"{rejection.reason.value}{f' ({rejection.detail})' if rejection.detail else ''}",
                err=True,
            )
        total = self._reasons.total()
        if total:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._reasons.most_common())
            click.echo(
                f"rejected {total} of {self._games:,} games ({reasons}), see {self._rejected_file}", err=True
            )


def _readable(name: str, stack: ExitStack, to: Path) -> str:
    """Return the name of a file for a source: standard input is kept beside the table while it is needed."""
    if name != STDIN:
        return name
    try:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent))
    except OSError as error:
        raise SettingsError(f"{to}: can't be written: {error.strerror}") from error
    return str(keep_stdin(Path(directory)))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that neither leaves a half file."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

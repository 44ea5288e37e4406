"""`rookery evaluate`: how good checkpoints are, as a report card."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from agent.player import Player
from arena.entrants import BASELINE_WAYS, NETWORK_WAYS, load_entrants
from arena.evaluation_session import EvaluationSession
from arena.game_record import PgnFile
from arena.games import DEFAULT_OPPONENTS, Fixture, check_opponents
from arena.material import read_material
from arena.options_text import read_options
from arena.reference import Reference
from arena.report_card import ReportCard, Way, write_card
from arena.report_page import write_page
from arena.report_terminal import print_card
from arena.sprt import Sprt
from arena.work import Work
from common.errors import SettingsError
from common.progress_line import ProgressLine
from common.quantities import duration
from common.run_files import EVALUATION_FILE, is_run
from common.signals import StopSignal

NODES = 200
"""Nodes of the search, unless told otherwise."""

PLAY_NODES = 50
"""Nodes of a search that plays games: a game takes as long as fifty puzzles."""

INTERRUPTED = 130

_FILE = click.Path(path_type=Path, dir_okay=False)
_WAYS = click.Choice([way.value for way in NETWORK_WAYS])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", metavar="DIR|CHECKPOINT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--puzzles", metavar="FILE", multiple=True, type=_FILE, help="Lichess CSV, may be .zst.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Draw so many puzzles. [default: all]")
@click.option("--positions", metavar="PGN", multiple=True, type=_FILE, help="Held-out games, may be .zst.")
@click.option("--sample", metavar="N", type=click.IntRange(1), default=2000, show_default=True,
              help="Draw so many positions of the games.")  # fmt: skip
@click.option("--epd", metavar="FILE", multiple=True, type=_FILE, help="Test positions with bm or am.")
@click.option("--way", "ways", multiple=True, type=_WAYS,
              help="Choose moves in this way; may be repeated. [default: all of them]")  # fmt: skip
@click.option("--nodes", metavar="N", type=click.IntRange(0),
              help=f"Nodes of the search, 0: no search. [default: {NODES}, on held-out games 0]")  # fmt: skip
@click.option("--engine", metavar="TEXT", default="stockfish", show_default=True,
              help="Reference for held-out positions.")  # fmt: skip
@click.option("--engine-nodes", metavar="N", type=click.IntRange(1), default=20_000, show_default=True,
              help="Its nodes a position, over all legal moves.")  # fmt: skip
@click.option("--engine-positions", metavar="N", type=click.IntRange(0), default=200, show_default=True,
              help="How many positions it is asked about; 0: no engine.")  # fmt: skip
@click.option("--games", metavar="N", type=click.IntRange(1), help="Play so many games against each opponent.")
@click.option("--against", metavar="PLAYER", multiple=True,
              help="An opponent, as `rookery match` names it: random, material, stockfish:skill=0,nodes=1000, "
                   "uci:PROGRAM, or a checkpoint. Baselines with networks are played too. "
                   f"[default: {' and '.join(DEFAULT_OPPONENTS)}]")  # fmt: skip
@click.option("--play", "play_way", type=_WAYS, default=Way.POLICY.value, show_default=True,
              help="How moves of games are chosen.")  # fmt: skip
@click.option("--play-nodes", metavar="N", type=click.IntRange(1), default=PLAY_NODES, show_default=True,
              help="Nodes of the search that plays games.")  # fmt: skip
@click.option("--sprt", metavar="elo0=0,elo1=10", help="End a match once it is plain which difference is nearer.")
@click.option("--pgn", metavar="FILE", type=_FILE,
              help="Add every game to FILE. [default: evaluation.pgn in DIR of a single run, or here]")  # fmt: skip
@click.option("--baseline", "baselines", metavar="NAME=PATH", multiple=True,
              help="A network to stand beside: cloning (plays its prior), value (one-ply) or another (its policy). "
                   "[default: DIR/baselines/cloning and DIR/baselines/value]")  # fmt: skip
@click.option("--tau", metavar="X", type=click.FloatRange(0, min_open=True), help="Temperature τ of the policy.")
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Draws the samples.")
@click.option("--json", "json_file", metavar="FILE", type=_FILE,
              help="Write the card as JSON. [default: DIR/evaluation.json of a single run]")  # fmt: skip
@click.option("--html", "html_file", metavar="FILE", type=_FILE,
              help="Write the card as a page. [default: DIR/evaluation.html of a single run]")  # fmt: skip
def evaluate(
    paths: tuple[Path, ...],
    puzzles: tuple[Path, ...],
    limit: int | None,
    positions: tuple[Path, ...],
    sample: int,
    epd: tuple[Path, ...],
    ways: tuple[str, ...],
    nodes: int | None,
    engine: str,
    engine_nodes: int,
    engine_positions: int,
    games: int | None,
    against: tuple[str, ...],
    play_way: str,
    play_nodes: int,
    sprt: str | None,
    pgn: Path | None,
    baselines: tuple[str, ...],
    tau: float | None,
    seed: int,
    json_file: Path | None,
    html_file: Path | None,
) -> None:
    """Measure how good the runs in DIR, checkpoints or weights are, and print a report card.

    Puzzles: the share solved with every move of the solver's right. Held-out games: how often the move played is
    the first, among the first 3 or 5; the expected score lost a move and the order of the legal moves against
    Stockfish; predictions against results. Test positions: the share right, and points. Each by the policy π and
    the prior μ of the network, by one ply of lookahead on its value, and by a search; beside baselines. Games:
    score and Elo difference.

    Ctrl-C ends it in good order: the card then holds what was done.

    \b
    Example:  rookery evaluate runs/first --puzzles puzzles.csv --positions held-out.pgn --limit 1000
    """
    fixture = _fixture(games, play_way, play_nodes, against, sprt, seed)
    outputs = _Outputs.of(paths, json_file, html_file, pgn)
    material = read_material(puzzles=puzzles, limit=limit, positions=positions, sample=sample, epd=epd, seed=seed)
    if material.empty and fixture is None:
        raise SettingsError("nothing to evaluate by: give --puzzles, --positions, --epd or --games")
    chosen = [way for way in NETWORK_WAYS if (not ways or way in ways) and not (nodes == 0 and way == Way.SEARCH)]
    entrants, notes = load_entrants(paths, _named(baselines), chosen, lambda path: _load(path, tau))
    with ExitStack() as stack:
        asked = bool(positions) and engine_positions > 0
        reference = stack.enter_context(Reference(engine, engine_nodes)) if asked else None
        stop = stack.enter_context(_stopping())
        session = EvaluationSession(
            entrants=entrants,
            nodes=NODES if nodes is None else nodes,
            search_positions=bool(nodes),
            reference=reference,
            reference_positions=engine_positions,
            work=Work(stack.enter_context(ProgressLine()), lambda: bool(stop)),
            seed=seed,
            notes=[*notes, *material.notes],
        )
        session.measure(material)
        if fixture is not None:
            session.play(fixture, stack.enter_context(PgnFile(outputs.pgn)))
    card = session.card()
    print_card(card, Console())
    outputs.write(card)
    if not card.complete:
        sys.exit(INTERRUPTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outputs:
    """Where the card and the games are written to."""

    json_file: Path | None
    html_file: Path | None
    pgn: Path

    @classmethod
    def of(
        cls, paths: Sequence[Path], json_file: Path | None, html_file: Path | None, pgn: Path | None
    ) -> "_Outputs":
        """Return the files asked for, or those in a single run's directory."""
        single = paths[0] if len(paths) == 1 and is_run(paths[0]) else None
        return cls(
            json_file=json_file or (single / EVALUATION_FILE if single else None),
            html_file=html_file or (single / "evaluation.html" if single else None),
            pgn=pgn or (single or Path()) / "evaluation.pgn",
        )

    def write(self, card: ReportCard) -> None:
        """Write the card and say where everything is."""
        if self.json_file is not None:
            write_card(card, self.json_file)
        if self.html_file is not None:
            write_page(card, self.html_file)
        written = [str(path) for path in (self.json_file, self.html_file) if path is not None]
        written += [str(self.pgn)] if card.matches else []
        where = f"; see {', '.join(written)}" if written else ""
        click.echo(f"{'evaluated' if card.complete else 'interrupted'} in {duration(card.seconds)}{where}")


def _fixture(
    games: int | None, way: str, nodes: int, against: tuple[str, ...], sprt: str | None, seed: int
) -> Fixture | None:
    """Return how games are played, if they are; whoever can't play is told now."""
    if games is None:
        if against or sprt:
            raise SettingsError("--against and --sprt are about games: say how many with --games")
        return None
    fixture = Fixture(
        games=games,
        way=Way(way),
        nodes=nodes,
        against=against or DEFAULT_OPPONENTS,
        sprt=read_options(sprt, Sprt, "--sprt") if sprt is not None else None,
        seed=seed,
    )
    check_opponents(fixture)
    return fixture


def _load(path: Path, tau: float | None) -> Player:
    from agent.loading import load_player

    return load_player(path, tau=tau)


def _named(baselines: Sequence[str]) -> dict[str, Path]:
    named = {}
    for given in baselines:
        name, equals, path = given.partition("=")
        if not equals or not name or not path:
            raise SettingsError(
                f"--baseline {given}: takes NAME=PATH, NAME one of {', '.join(BASELINE_WAYS)} or other"
            )
        if name in ("random", "material") or name in named:
            raise SettingsError(f"--baseline {given}: there is a baseline {name} already")
        named[name] = Path(path)
    return named


@contextmanager
def _stopping() -> Iterator[StopSignal]:
    """Give a flag that Ctrl-C and SIGTERM set; afterwards they do what they did before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield StopSignal()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

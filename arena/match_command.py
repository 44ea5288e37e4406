"""`rookery match`: games between two players, and which of them is the stronger."""

import sys
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from arena.adjudication import Adjudication
from arena.game_record import PgnFile, PlayedGame
from arena.match import CONCURRENCY, MatchResult, play_match
from arena.mover_specs import open_mover
from arena.movers import Mover
from arena.openings import load_openings
from arena.options_text import read_options
from arena.sprt import Sprt
from common.progress_line import ProgressLine
from common.quantities import duration
from common.signals import StopSignal
from common.whole_file import explained, whole_file

INTERRUPTED = 130
_PAIRS = ("lost both", "lost and drew", "level", "won and drew", "won both")
_ENDINGS_LISTED = 8


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("player")
@click.argument("opponent")
@click.option("--games", metavar="N", type=click.IntRange(min=1), default=200, show_default=True, help="How many.")
@click.option(
    "--openings",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PGN or EPD, plain or .zst; each is played with both colours. [default: 500 that come with Rookery]",
)
@click.option(
    "--pgn",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add every game to FILE as it ends.",
)
@click.option(
    "--json",
    "to_json",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the result there as JSON.",
)
@click.option(
    "--sprt",
    metavar="elo0=0,elo1=10",
    help="Stop once it is plain which difference is nearer; also alpha=, beta=, model=logistic|normalized.",
)
@click.option(
    "--adjudicate",
    metavar="resign_cp=600,…",
    default="",
    help="End decided games early: resign_cp=, resign_moves=3, draw_cp=, draw_moves=8, draw_after=40, max_moves=.",
)
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    default=CONCURRENCY,
    show_default=True,
    help="Games in progress at once.",
)
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="For players that draw.")
def match(
    player: str,
    opponent: str,
    games: int,
    openings: Path | None,
    pgn: Path | None,
    to_json: Path | None,
    sprt: str | None,
    adjudicate: str,
    concurrency: int,
    seed: int,
) -> None:
    """Let PLAYER and OPPONENT play, and say how much stronger PLAYER is (Elo, with 95 % error bars).

    A player is one of

    \b
      PATH                            a run, a checkpoint or a weights file: the move its policy ranks first
      policy:PATH,temperature=0.5     the same, drawn at a temperature
      prior:PATH                      what people would most likely play (a behavioural clone)
      one-ply:PATH                    the best value after one move
      search:PATH,nodes=200           a search by the network
      stockfish:skill=3,nodes=1000    Stockfish; also elo=1500, depth=, movetime=SECONDS and its UCI options
      uci:PROGRAM,nodes=1000          any UCI engine
      random, material                any legal move; whatever takes the most

    \b
    Example:  rookery match runs/first stockfish:skill=0,nodes=1000 --games 200 --pgn games.pgn
    """
    test = read_options(sprt, Sprt, "--sprt") if sprt is not None else None
    rules = read_options(adjudicate, Adjudication, "--adjudicate")
    beginnings = load_openings(openings)
    with ExitStack() as stack:
        movers = _named(open_mover(player, stack, seed=seed), open_mover(opponent, stack, seed=seed + 1))
        record = stack.enter_context(PgnFile(pgn)) if pgn else None
        line = stack.enter_context(ProgressLine())

        def on_game(game: PlayedGame, result: MatchResult) -> None:
            if record:
                record.add(game)
            line.show(_progress(result))

        stopping = StopSignal()
        result = play_match(
            *movers,
            games=games,
            openings=beginnings,
            adjudication=rules,
            sprt=test,
            concurrency=concurrency,
            on_game=on_game,
            stopping=lambda: stopping,
        )
    _say(result, pgn, len(beginnings))
    if to_json:
        _write(result, to_json)
    if stopping:
        sys.exit(INTERRUPTED)


def _named(player: Mover, opponent: Mover) -> tuple[Mover, Mover]:
    """Tell two players of one name apart."""
    if player.name == opponent.name:
        opponent.name += " (2)"
    return player, opponent


def _progress(result: MatchResult) -> str:
    per_minute = 60 * result.games / max(1e-3, result.seconds)
    left_s = (result.games_wanted - result.games) * result.seconds / max(1, result.games)
    return f"{result}, {per_minute:.0f} games/min, ETA {duration(left_s)}"


def _say(result: MatchResult, pgn: Path | None, openings: int) -> None:
    click.echo(str(result))
    if result.elo is None:
        return
    normalized = result.elo.normalized_elo
    click.echo(
        "pairs: " + ", ".join(f"{count} {name}" for count, name in zip(result.pairs, _PAIRS, strict=True))
        + (f"; normalized Elo {normalized:+.0f}" if normalized is not None else "")
        + f"; likelihood of superiority {result.elo.superiority:.1%}"
    )  # fmt: skip
    endings = list(result.endings.items())
    shown = ", ".join(f"{count} {reason}" for reason, count in endings[:_ENDINGS_LISTED])
    click.echo(f"ended by: {shown}{', …' if len(endings) > _ENDINGS_LISTED else ''}")
    for name, count in ((result.player, result.forfeits), (result.opponent, result.opponent_forfeits)):
        if count:
            click.echo(f"{name} gave no legal move in {count} games and lost them by that")
    if result.games_wanted > 2 * openings:
        click.echo(f"the {openings} openings were used more than once: players that never vary repeat their games")
    minutes = max(1e-3, result.seconds) / 60
    speed = f"{result.games / minutes:,.0f} games and {result.plies / minutes:,.0f} moves a minute"
    click.echo(f"{duration(result.seconds)}, {speed}{f'; games in {pgn}' if pgn else ''}")


def _write(result: MatchResult, path: Path) -> None:
    content = msgspec.json.format(msgspec.json.encode(result), indent=2)
    with whole_file(path) as file, explained(path):
        file.write(content + b"\n")

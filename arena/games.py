"""Games of an evaluation: each checkpoint against opponents by name, and baselines that have networks."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from arena.entrants import Entrant
from arena.game_record import PgnFile, PlayedGame
from arena.match import MatchResult, play_match
from arena.mover_specs import open_mover
from arena.movers import Mover, OnePlyMover, PolicyMover, PriorMover, SearchMover
from arena.report_card import Way
from arena.sprt import Sprt
from arena.work import Work

DEFAULT_OPPONENTS = ("random", "material")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixture:
    """How games are played."""

    games: int
    """Games of each checkpoint against each opponent."""
    way: Way
    """How checkpoints choose their moves."""
    nodes: int
    """Nodes of their searches."""
    against: tuple[str, ...]
    """Opponents, as arena.mover_specs names them."""
    sprt: Sprt | None
    seed: int


def check_opponents(fixture: Fixture) -> None:
    """Raise SettingsError or EngineNotUsable now for an opponent that could not play later."""
    for spec in fixture.against:
        with ExitStack() as stack:
            open_mover(spec, stack, seed=fixture.seed)


def evaluate_games(
    entrants: Sequence[Entrant], fixture: Fixture, record: PgnFile, work: Work
) -> Iterator[MatchResult]:
    """Yield what came of the games against each opponent; each game is added to `record` as it ends.

    Stopped, it yields what was played until then. Raises SettingsError for an opponent that is none, and
    EngineNotUsable or EngineDied for an engine.
    """
    baselines = [entrant for entrant in entrants if entrant.contestant.baseline]
    for entrant in entrants:
        if entrant.contestant.baseline:
            continue
        player = _mover(entrant, fixture.way, fixture.nodes)
        for spec in fixture.against:
            with ExitStack() as stack:
                yield from _play(player, open_mover(spec, stack, seed=fixture.seed), fixture, record, work)
        for baseline in baselines:
            opponent = _mover(baseline, baseline.ways[0], fixture.nodes)
            yield from _play(player, opponent, fixture, record, work)


def _play(player: Mover, opponent: Mover, fixture: Fixture, record: PgnFile, work: Work) -> Iterator[MatchResult]:
    """Yield the result of a match, unless no game of it ended."""

    def on_game(game: PlayedGame, result: MatchResult) -> None:
        record.add(game)
        work.show(str(result))

    result = play_match(
        player, opponent, games=fixture.games, sprt=fixture.sprt, on_game=on_game, stopping=work.stopping
    )
    if result.games:
        yield result


def _mover(entrant: Entrant, way: Way, nodes: int) -> Mover:
    match way:
        case Way.PRIOR:
            return PriorMover(entrant.player, name=f"{entrant.name} (prior)")
        case Way.LOOKAHEAD:
            return OnePlyMover(entrant.player, name=f"{entrant.name} (one-ply)")
        case Way.SEARCH:
            return SearchMover(entrant.player, nodes, name=f"{entrant.name} ({nodes} nodes)")
        case _:
            return PolicyMover(entrant.player, name=f"{entrant.name} (policy)")

"""Entrants: who is evaluated, by which ways of choosing, and the baselines that stand beside them.

Random and material-greedy need no network. The other baselines are networks trained on the same games: a
behavioural clone, which plays its prior, and a value, which plays by one-ply lookahead. They are looked for in
`baselines/cloning` and `baselines/value` of the run directory, or named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import chess

from agent.player import Judgement, Player
from arena.rankings import (
    JudgementRanker,
    LookaheadRanker,
    MaterialRanker,
    RandomRanker,
    Ranker,
    Ranking,
    Remembering,
    SearchRanker,
)
from arena.report_card import Contestant, Entry, Way
from common.run_files import is_run

CLONING, VALUE = "cloning", "value"
BASELINE_WAYS = {CLONING: Way.PRIOR, VALUE: Way.LOOKAHEAD}
"""How the baselines that have networks choose."""

NETWORK_WAYS = (Way.POLICY, Way.PRIOR, Way.LOOKAHEAD, Way.SEARCH)
"""How a checkpoint may choose."""

Loader = Callable[[Path], Player]


class Entrant:
    """A player with networks, its name on the card, and the ways in which it chooses."""

    def __init__(self, *, name: str, path: Path, player: Player, baseline: bool, ways: Sequence[Way]) -> None:
        self.contestant = Contestant(name=name, path=str(path), baseline=baseline)
        self.ways = tuple(ways)
        self.player = player
        self._remembering = Remembering(player)

    @property
    def name(self) -> str:
        """Its name on the card."""
        return self.contestant.name

    @property
    def source(self) -> str:
        """Its name where its predictions are meant."""
        return f"{self.name} baseline" if self.contestant.baseline else self.name

    @property
    def has_value(self) -> bool:
        """Whether its values were trained: a clone's were not."""
        return not self.contestant.baseline or Way.LOOKAHEAD in self.ways

    def judge(self, boards: Sequence[chess.Board]) -> list[Judgement]:
        """Return the judgement of each of n boards; asked again of the same ones, it remembers."""
        return self._remembering.judge(boards)

    def ranker(self, way: Way, nodes: int) -> Ranker:
        """Return what ranks moves by `way`; searches make so many nodes."""
        match way:
            case Way.POLICY:
                return JudgementRanker(self, lambda judgement: judgement.policy)
            case Way.PRIOR:
                return JudgementRanker(self, lambda judgement: judgement.priors)
            case Way.ACTION_VALUES:
                return JudgementRanker(self, lambda judgement: judgement.action_values)
            case Way.LOOKAHEAD:
                return LookaheadRanker(self.player)
            case Way.SEARCH:
                return SearchRanker(self.player, nodes)
            case _:
                raise ValueError(f"{way} is no way of a network's")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One row of the tables: who chooses, and how."""

    entry: Entry
    ranker: Ranker

    def rank(self, boards: Sequence[chess.Board]) -> list[Ranking]:
        """Return the ranking of the moves of each of n boards."""
        return self.ranker.rank(boards)


def contenders(
    entrants: Sequence[Entrant], nodes: int, *, without: Sequence[Way] = (), action_values: bool = False
) -> list[Contender]:
    """Return every entrant in each of its ways but some, then those that need no network.

    `action_values` adds Q of each checkpoint.
    """
    rows = []
    for entrant in entrants:
        extra = (Way.ACTION_VALUES,) if action_values and not entrant.contestant.baseline else ()
        for way in (*extra, *entrant.ways):
            if way not in without:
                entry = Entry(player=entrant.name, way=way, baseline=entrant.contestant.baseline)
                rows.append(Contender(entry=entry, ranker=entrant.ranker(way, nodes)))
    for way, ranker in ((Way.RANDOM, RandomRanker()), (Way.MATERIAL, MaterialRanker())):
        rows.append(Contender(entry=Entry(player=way.value, way=way, baseline=True), ranker=ranker))
    return rows


def load_entrants(
    paths: Sequence[Path], named: dict[str, Path], ways: Sequence[Way], load: Loader
) -> tuple[list[Entrant], list[str]]:
    """Return the checkpoints at `paths` and their baselines, and a note for each baseline that is missing.

    `named` gives baselines by name. Raises what `load` raises: StoreError or RunDirectoryError.
    """
    entrants = [
        Entrant(name=name, path=path, player=load(path), baseline=False, ways=ways)
        for name, path in zip(_names(paths), paths, strict=True)
    ]
    notes = []
    for kind in BASELINE_WAYS:
        if kind in named:
            continue
        found = _baselines(paths, kind)
        if not found:
            notes.append(
                f"no {kind} baseline: there is no {_expected(paths[0], kind)}; name one with --baseline {kind}=PATH"
            )
        # Runs may have baselines of their own: the first goes by its plain name.
        for number, path in enumerate(found):
            name = kind if number == 0 else f"{kind} ({path.parent.parent.name})"
            entrants.append(_baseline(name, kind, path, load))
    entrants.extend(_baseline(name, name, path, load) for name, path in named.items())
    return entrants, notes


def _baseline(name: str, kind: str, path: Path, load: Loader) -> Entrant:
    ways = (BASELINE_WAYS.get(kind, Way.POLICY),)
    return Entrant(name=name, path=path, player=load(path), baseline=True, ways=ways)


def _baselines(paths: Sequence[Path], kind: str) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        place = _expected(path, kind)
        if place.is_dir() and place not in found:
            found.append(place)
    return found


def _expected(path: Path, kind: str) -> Path:
    """Return where the baseline of the run that `path` belongs to is kept."""
    for directory in (path, *path.absolute().parents):
        if (directory / "baselines").is_dir() or is_run(directory):
            return directory / "baselines" / kind
    return path / "baselines" / kind


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: as few of its last parts as tell it from the others."""
    parts = [path.absolute().parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path} #{number}" for number, path in enumerate(paths, 1)]

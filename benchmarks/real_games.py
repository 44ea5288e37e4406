"""Real games for every bench: the shared data beside the checkout, or else the project's own sample.

Batches are made by the actor's own code; their evaluations (Stockfish, 100 nodes) are kept under build/, so
that only the first run waits for them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from actor.work import open_desk
from benchmarks.scale import ROOT, Scale
from broker.sources import Games
from common.batch import Batch
from common.messages import RawGame
from common.settings import Settings

SHARED = ROOT.parent / "shared" / "data" / "games" / "games-a.pgn.zst"
SAMPLE = ROOT / "samples" / "games.pgn.zst"
NODES = 100


def games_file() -> Path:
    """Return the file that the games are taken from."""
    return SHARED if SHARED.exists() else SAMPLE


def raw_games(count: int) -> list[RawGame]:
    """Return `count` games as the broker cuts them; a file with fewer is gone through again."""
    found: list[RawGame] = []
    while len(found) < count:
        with Games([games_file()]) as games:
            found += itertools.islice(games, count - len(found))
    return [msgspec.structs.replace(game, number=number) for number, game in enumerate(found)]


def units(raw: list[RawGame], games_per_unit: int) -> list[list[RawGame]]:
    """Return the games cut into units."""
    return [raw[start : start + games_per_unit] for start in range(0, len(raw), games_per_unit)]


def settings(scale: Scale, **others: object) -> Settings:
    """Return settings whose evaluations are those kept for the benches."""
    values = {"nodes": NODES, "engine": scale.engine, "evaluations": str(scale.work / "evaluations.db"), **others}
    return msgspec.convert(values, Settings)


def batches(scale: Scale, unit_count: int, games_per_unit: int) -> list[tuple[Batch, ...]]:
    """Return the batches of `unit_count` units, for white and for black, in unit order."""
    waiting = list(enumerate(units(raw_games(unit_count * games_per_unit), games_per_unit)))[::-1]
    chosen = settings(scale, games_per_unit=games_per_unit)
    done: dict[int, tuple[Batch, ...]] = {}
    with open_desk(chosen) as desk:
        while len(done) < unit_count:
            while waiting and desk.hungry:
                unit, raw = waiting.pop()
                desk.begin(unit, chosen.agents, raw)
            done |= {finished.unit: finished.batches for finished in desk.poll(0.5)}
    return [done[unit] for unit in range(unit_count)]


def repeated(batches_: list[Batch], count: int) -> Iterator[Batch]:
    """Yield `count` batches numbered 0 on, going round `batches_`."""
    for unit, batch in zip(range(count), itertools.cycle(batches_)):
        yield replace(batch, unit=unit)

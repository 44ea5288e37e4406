"""Plies a second from PGN text to finished, encoded batches, the evaluations being in the store already,
against python-chess parsing the same text and nothing more."""

import io
import time
from collections.abc import Iterator

import chess.pgn

from actor.work import open_desk
from benchmarks.figure import Figure, interleaved, rate_figure
from benchmarks.real_games import batches, raw_games, settings, units
from benchmarks.scale import Scale
from common.batch import encode
from common.messages import RawGame
from common.settings import Settings


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure units of the default size, both agents' batches."""
    games_per_unit = Settings().games_per_unit
    count = scale.of(64, 8)
    cut = units(raw_games(count * games_per_unit), games_per_unit)
    batches(scale, count, games_per_unit)  # puts the evaluations into the store
    plies = sum(parsed(unit) for unit in cut)
    chosen = settings(scale)
    with open_desk(chosen) as desk:

        def replayed() -> float:
            begun_s = time.perf_counter()
            for number, raw in enumerate(cut):
                desk.begin(number, chosen.agents, raw)
                for finished in desk.poll(0.0):
                    for batch in finished.batches:
                        encode(batch)
            assert not desk.units, "a unit's evaluations are not in the store"
            return plies / (time.perf_counter() - begun_s)

        def alone() -> float:
            begun_s = time.perf_counter()
            for raw in cut:
                parsed(raw)
            return plies / (time.perf_counter() - begun_s)

        taken = interleaved(scale.of(5, 1), {"ours": replayed, "python-chess": alone})
    yield rate_figure(
        "plies/s from PGN to batch, evaluations in the store",
        "plies/s",
        taken["ours"],
        taken["python-chess"],
        against="python-chess parsing alone",
        at_least=5.0,
        note=f"{plies} plies",
    )


def parsed(raw: list[RawGame]) -> int:
    """Parse games with python-chess and return their plies."""
    plies = 0
    for game in raw:
        found = chess.pgn.read_game(io.StringIO(game.text.decode("latin-1")))
        plies += found.end().ply() if found is not None else 0
    return plies

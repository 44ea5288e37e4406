"""Wall time of `rookery up` from a PGN file to two trained agents: on NATS, its own server included, and ZeroMQ."""

from collections.abc import Iterator
from functools import partial

from benchmarks.figure import Figure
from benchmarks.nats_figures import Measured, beside, in_turns
from benchmarks.nats_sites import NATS, ZMQ, about_server
from benchmarks.pipeline import ACTORS, GAMES, SAMPLE_GAMES, timed_up
from benchmarks.real_games import NODES, SAMPLE, games_file
from benchmarks.scale import Scale

FLAGS = {ZMQ: (), NATS: ("--transport", "nats")}


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure the whole, and one game."""
    count = min(scale.of(GAMES, 20), SAMPLE_GAMES if games_file() == SAMPLE else GAMES)
    found = in_turns(scale.of(3, 1), tuple(FLAGS), partial(wall, scale, count))
    note = f"{ACTORS} actors, {NODES} nodes; {about_server()}"
    yield from beside(found, "all", f"wall time from PGN to trained agents, {count} games", "s", note=note)
    yield from beside(found, "one", "of that, start and stop of the services", "s", note="the same with one game")


def wall(scale: Scale, games: int, name: str) -> Measured:
    """Return the wall times on one transport."""
    return {"all": timed_up(scale, games, *FLAGS[name])[0], "one": timed_up(scale, 1, *FLAGS[name])[0]}

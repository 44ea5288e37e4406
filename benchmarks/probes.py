"""What probes cost an actor: transitions and searches a second at several probe rates, side by side.

`python -m benchmarks.probes GAMES.pgn.zst [--games N] [--nodes N] [--rates R …] [--rounds N] [--network NAME]`:
each round runs all rates one after another on the same games, for white's agent and black's, their network of
random weights; the table gives medians. CPU seconds tell the cost where other programs share the machine.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import torch

from actor.engine import Engine
from actor.judges import Judges
from actor.labels import Labels
from actor.prober import Prober
from actor.work import Desk
from agent.loading import NETWORKS
from agent.networks import Network
from broker.units import RawUnit, UnitReader
from common.settings import Settings
from common.words import Unit

UNITS_AT_ONCE = 3
"""Units that an actor has in hand with 16 games each."""
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """Figures of one run."""

    transitions: int
    searches: int
    probes: int
    took_s: float
    busy_share: float
    engine_cpu_s: float
    own_cpu_s: float
    longest_turn_s: float


def random_network(name: str) -> Network:
    """Return a network of that name whose moves have nothing to do with chess."""
    torch.manual_seed(1)
    network = NETWORKS[name]()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.02)
    return network.requires_grad_(False).eval()


def run(settings: Settings, network: Network, units: Sequence[RawUnit]) -> Run:
    """Work on `units` as an actor does."""
    with Engine(settings.engine, nodes=settings.nodes) as engine:
        labels = Labels(settings.evals, engine)
        judges = Judges(lambda _name, _arrays: network)
        for agent in settings.agents:
            judges.renew(agent.name, 1, settings.network, {})
        prober = Prober(settings, labels, judges) if settings.probe_rate > 0 else None
        desk = Desk(labels, engine, settings.evals, prober)
        waiting, longest_s = list(units)[::-1], 0.0
        own, began = time.process_time(), time.perf_counter()
        while waiting or desk.units:
            while waiting and desk.hungry and len(desk.units) < UNITS_AT_ONCE:
                unit = waiting.pop()
                desk.begin(unit.unit, settings.agents, unit.games)
            turn = time.perf_counter()
            for _ in desk.poll(POLL_S):
                pass
            longest_s = max(longest_s, time.perf_counter() - turn)
        took_s = time.perf_counter() - began
        cpu = psutil.Process(engine.pid).cpu_times()
        stats = desk.stats()
        return Run(
            transitions=stats.transitions,
            searches=stats.engine_positions,
            probes=stats.probes,
            took_s=took_s,
            busy_share=stats.engine_busy_s / took_s,
            engine_cpu_s=cpu.user + cpu.system,
            own_cpu_s=time.process_time() - own,
            longest_turn_s=longest_s,
        )


def row(rate: float, runs: Sequence[Run]) -> str:
    """Return one line of the table: medians over the rounds."""

    def median(of: Callable[[Run], float]) -> float:
        return statistics.median(map(of, runs))

    figures = (
        f"{rate:5.2f}",
        f"{median(lambda run: run.transitions / run.took_s):14.0f}",
        f"{median(lambda run: run.searches / run.took_s):11.0f}",
        f"{median(lambda run: run.probes / run.took_s):9.0f}",
        f"{median(lambda run: run.busy_share):8.1%}",
        f"{median(lambda run: run.engine_cpu_s / run.transitions * 1e3):13.2f}",
        f"{median(lambda run: run.own_cpu_s / run.transitions * 1e3):8.2f}",
        f"{median(lambda run: run.longest_turn_s) * 1e3:8.0f}",
    )
    return " ".join(figures)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", type=Path)
    parser.add_argument("--games", dest="count", type=int, default=64)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 0.1, 0.5])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", choices=NETWORKS, default="mlp")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(
        games=(str(given.games),), limit_games=given.count, nodes=given.nodes, network=given.network
    )
    reader = UnitReader(settings.games, settings.games_per_unit, settings.limit_games)
    units = [
        unit for number in range(-(-given.count // settings.games_per_unit)) if (unit := reader.get(Unit(number)))
    ]
    network = random_network(given.network)
    runs: dict[float, list[Run]] = {rate: [] for rate in given.rates}
    for _ in range(given.rounds):
        for rate in given.rates:
            runs[rate].append(run(msgspec.structs.replace(settings, probe_rate=rate), network, units))
    print(f"{given.nodes} nodes, {given.network}, {given.count} games, {given.rounds} rounds")
    print(" rate  transitions/s  searches/s  probes/s  engine  engine CPU ms  own ms  longest")
    print("                                            busy     a transition          turn ms")
    for rate in given.rates:
        print(row(rate, runs[rate]))


if __name__ == "__main__":
    main()

"""Experiments on learning: one row of a table of docs/learning.md for each call.

    python -m benchmarks.learning RUN --puzzles FILE... [--set NAME=VALUE]... --name ROW [--to results.jsonl]

Trains a network anew on the experience of a finished run with an agent that plays both sides (with probes, for
rows that use them), by settings changed for this row alone, for a fixed number of gradient steps, and prints how
good it is on held-out games, puzzles, and positions of held-out games that Stockfish has judged move by move. Seeds
are fixed: a row can be repeated. Unlike the pipeline, which trains as the games come in, it draws from all games at
once, with a learning rate that falls along a cosine: what is compared is objective and network, not the schedule.
"""

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import chess
import msgspec
import numpy as np
import torch

from agent.loading import NETWORKS
from agent.player import Player
from arena.puzzles import read_puzzles, solved
from arena.rankings import JudgementRanker, LookaheadRanker, Ranker, SearchRanker
from arena.reference import Reference, kendall_tau_b
from common.settings import Objective, Sampling, Settings, Side, read_file
from common.transitions import END, Transitions, probe_transitions, transitions
from learner import neural
from learner.evaluation import validate
from learner.neural import NeuralSarsa
from learner.probe_buffer import ProbeBuffer
from learner.replay import ReplayBuffer
from learner.store import ExperienceReader
from learner.trainer import WARM_UP_STEPS, held_out_rows

HELD_OUT = 1 / 32
TAUS = (0.01, 0.02, 0.1, 0.2)
"""Temperatures of the policy that are measured beside the player's own."""
JUDGED_POSITIONS, JUDGED_NODES = 500, 10_000
VALIDATION_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a row may change."""

    name: str = "base"
    network: str = "mlp"
    steps: int = 1500
    batch: int = 1024
    learning_rate: float = 2e-3
    sampling: str = "distinct"
    probes: float = 0.5
    discount: float = 0.0
    trace: float = 0.0
    """λ of the returns that Q is trained towards: 0 the score after the reply, 1 the result of the game."""
    objective: str = "sarsa"
    q_weight: float = neural.Q_WEIGHT
    value_weight: float = neural.VALUE_WEIGHT
    average_decay: float = neural.AVERAGE_DECAY
    """Share of the averaged weights that each update keeps; 0: what is trained itself."""
    games: int = 1_000_000
    seed: int = 0
    nodes: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--puzzles", type=Path, action="append", default=[])
    parser.add_argument("--to", type=Path, default=Path("build/learning.jsonl"))
    for field in fields(Row):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    given = vars(parser.parse_args())
    row = Row(**{field.name: given[field.name] for field in fields(Row)})
    torch.set_num_threads(1)
    settings = read_file(given["run"] / "settings.toml")
    replay, probes = buffers(given["run"], settings, row)
    model, seconds = train(row, replay, probes)
    figures = measure(model, row, replay, given["run"] / "judged.json", given["puzzles"])
    figures["samples_per_cpu_second"] = round(row.steps * row.batch / seconds)
    line = {**asdict(row), **figures}
    print(json.dumps(line))
    given["to"].parent.mkdir(parents=True, exist_ok=True)
    with given["to"].open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def buffers(run: Path, settings: Settings, row: Row) -> tuple[ReplayBuffer, ProbeBuffer]:
    """Return the experience of the run's first agent, of at most `row.games` games."""
    agent = settings.agents[0]
    replay = ReplayBuffer(settings.buffer_size, sampling=Sampling(row.sampling))
    probes = ProbeBuffer(settings.buffer_size)
    total = games = 0
    with ExperienceReader(run / "agents" / agent.name / "experience.db", agent) as store:
        for batch in store.batches(0):
            if games >= row.games:
                break
            games += len(set(batch.game_numbers.tolist()))
            rows = traced(transitions(batch, settings.reward), row.trace)
            kept_out = held_out_rows(rows, HELD_OUT, 0)
            replay.append(rows, kept_out)
            if len(batch.probes):
                tried = probe_transitions(batch, settings.reward)
                probes.append(tried, ~kept_out[tried.rows], total, total + len(rows))
            total += len(rows)
    return replay, probes


def traced(rows: Transitions, trace: float) -> Transitions:
    """Return `rows` with shaped rewards that, with w(s), make the λ-returns of the scores to come in a game."""
    if trace == 0.0:
        return rows
    returns = rows.rewards + rows.expected_scores
    for index in np.flatnonzero(rows.next_rows != END)[::-1]:
        returns[index] = (1.0 - trace) * returns[index] + trace * returns[rows.next_rows[index]]
    return replace(rows, rewards=returns - rows.expected_scores)


def train(row: Row, replay: ReplayBuffer, probes: ProbeBuffer) -> tuple[NeuralSarsa, float]:
    """Return the trained model and the processor's seconds that it took."""
    make = NETWORKS[row.network]
    neural._WEIGHTS[Objective.SARSA] = (row.q_weight, row.value_weight, 1.0)
    neural.AVERAGE_DECAY = row.average_decay
    model = NeuralSarsa(
        make(), make(), seed=row.seed, discount=row.discount, learning_rate=row.learning_rate,
        device=torch.device("cpu"), objective=Objective(row.objective),
    )  # fmt: skip
    generator = np.random.default_rng(row.seed)
    begun_s = time.process_time()
    for step in range(row.steps):
        sample = replay.take(
            replay.draw(generator, row.batch), probes.sample(generator, round(row.batch * row.probes))
        )
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / row.steps)
        model.step(model.prepare(sample), min(1.0, (step + 1) / WARM_UP_STEPS) * cosine)
        if (step + 1) % 250 == 0:
            losses = model.take_losses()
            print(f"{row.name} step {step + 1}: {losses}", flush=True)
    return model, time.process_time() - begun_s


def measure(
    model: NeuralSarsa, row: Row, replay: ReplayBuffer, judged: Path, puzzle_files: list[Path]
) -> dict[str, Any]:
    """Return the figures of the trained model."""
    slots = replay.held_out(VALIDATION_ROWS)
    found = validate(model, replay.take(slots))
    assert found is not None
    figures: dict[str, Any] = {"match_top1": found.match_top1, "match_top3": found.match_top3}
    network = NETWORKS[row.network]()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in model.weights().items()})
    player = Player.of(white=network.eval(), black=network)
    figures |= against_stockfish(player, positions_judged(replay, judged))
    for way, ranker in rankers(player, row).items():
        for file in puzzle_files:
            puzzles, _ = read_puzzles(file)
            figures[f"{file.name.partition('.')[0]} {way}"] = sum(solved(puzzles, ranker)) / len(puzzles)
    return figures


def rankers(player: Player, row: Row) -> dict[str, Ranker]:
    """Return the ways of choosing that are measured."""

    def policy(tau: float) -> Ranker:
        return JudgementRanker(player, lambda found: np.log(found.priors + 1e-9) + found.action_values / tau)

    ways: dict[str, Ranker] = {
        "prior": JudgementRanker(player, lambda found: found.priors),
        "policy": JudgementRanker(player, lambda found: found.policy),
        "one_ply": LookaheadRanker(player),
    }
    ways |= {f"policy_{tau}": policy(tau) for tau in TAUS}
    return ways | ({f"search_{row.nodes}": SearchRanker(player, row.nodes)} if row.nodes else {})


def positions_judged(replay: ReplayBuffer, path: Path) -> list[tuple[str, dict[str, float]]]:
    """Return held-out positions with the expected score after each legal move, by Stockfish; kept in `path`."""
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=list[tuple[str, dict[str, float]]])
    slots = replay.held_out(10**9)
    drawn = np.random.default_rng(11).choice(slots, JUDGED_POSITIONS, replace=False)
    positions = replay.take(drawn).positions
    judged = []
    with Reference("stockfish", JUDGED_NODES) as stockfish:
        for row in range(len(positions)):
            board = chess.Board(positions.to_fen(row, Side.WHITE, 1))
            moves = list(board.legal_moves)
            worth = stockfish.expected_scores(board, moves)
            if len(moves) > 1 and worth is not None:
                judged.append((board.fen(), {m.uci(): w for m, w in zip(moves, worth.tolist(), strict=True)}))
    path.write_bytes(msgspec.json.encode(judged))
    return judged


def against_stockfish(player: Player, judged: list[tuple[str, dict[str, float]]]) -> dict[str, float]:
    """Return how far each way agrees with Stockfish (Kendall's τ-b), and what the moves that it chooses lose."""
    boards = [chess.Board(fen) for fen, _ in judged]
    ways = rankers(player, Row()) | {"q": JudgementRanker(player, lambda found: found.action_values)}
    figures = {}
    for way, ranker in ways.items():
        taus, losses = [], []
        for ranking, (_, worth) in zip(ranker.rank(boards), judged, strict=True):
            truth = np.array([worth[move.uci()] for move in ranking.moves])
            taus.append(kendall_tau_b(ranking.scores, truth) or 0.0)
            losses.append(float(truth.max() - truth[int(ranking.scores.argmax())]))
        figures[f"tau {way}"], figures[f"loss {way}"] = float(np.mean(taus)), float(np.mean(losses))
    return figures


if __name__ == "__main__":
    main()

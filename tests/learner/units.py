"""Units for the learner's tests: random positions in whole games, the same for the same numbers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from agent.networks import Mlp
from common.batch import GAME_SIDES, NO_RESULT, Batch, encode
from common.moves import MOVES
from common.positions import Positions
from common.rejections import Rejection, RejectionReason
from common.settings import AgentSettings, Settings, Side
from learner.probe_buffer import NO_PROBES, ProbeSample
from learner.replay import Sample
from learner.store import ExperienceStore
from learner.trainer import Trainer
from learner.unit_record import UnitRecord
from tests.common.batches import noisy_probes

WHITE = AgentSettings(name="white", side=Side.WHITE)
BLACK = AgentSettings(name="black", side=Side.BLACK)
CPU = torch.device("cpu")

NO_MOVES = RejectionReason.NO_MOVES


def random_positions(generator: np.random.Generator, count: int) -> Positions:
    boards = generator.integers(1, 13, (count, 64)) * (generator.random((count, 64)) < 0.4)
    return Positions(
        boards=boards.astype(np.uint8),
        castling=generator.integers(0, 16, count).astype(np.uint8),
        en_passant=generator.integers(-1, 8, count).astype(np.int8),
        halfmove_clock=generator.integers(0, 150, count).astype(np.uint16),
        repetitions=generator.integers(0, 4, count).astype(np.uint8),
    )


def random_batch(unit: int, games: int = 4, agent: AgentSettings = WHITE, longest: int = 20) -> Batch:
    """A batch of `games` games of 0 to `longest` rows, one game in four without a result."""
    generator = np.random.default_rng([unit, games])
    game_rows = generator.integers(0, longest + 1, games).astype(np.uint32)
    rows = int(game_rows.sum())
    return Batch(
        unit=unit,
        agent=agent.name,
        side=agent.side,
        games_read=games + 3,
        unselected=1,
        rejections=tuple(
            Rejection(number=unit * 1000 + 900 + at, source="a.pgn", line=1, reason=NO_MOVES, detail="empty")
            for at in range(2)
        ),
        positions=random_positions(generator, rows),
        actions=generator.integers(0, MOVES, rows).astype(np.uint16),
        scores=generator.integers(-800, 800, rows).astype(np.int16),
        game_numbers=(unit * 1000 + np.arange(games)).astype(np.uint64),
        game_sides=np.full(games, GAME_SIDES.index(agent.side), np.uint8),
        game_rows=game_rows,
        first_plies=np.zeros(games, np.uint32),
        start_fullmoves=np.ones(games, np.uint32),
        results=generator.choice([0, 1, 2, NO_RESULT], games).astype(np.uint8),
        final_scores=generator.integers(-800, 800, games).astype(np.int16),
    )


def probed_batch(unit: int, versions: Sequence[int] = (0,), **others: int) -> Batch:
    """The batch of random_batch with about half of its rows probed, by weights of one or the other version."""
    batch = random_batch(unit, **others)  # type: ignore[arg-type]
    generator = np.random.default_rng([unit, 99])
    probes = noisy_probes(generator, batch.positions)
    chosen = generator.choice(np.array(versions, np.uint64), len(probes))
    return dataclasses.replace(batch, probes=dataclasses.replace(probes, versions=chosen))


def small_mlp() -> Mlp:
    """The mlp, but so small that a step takes hardly any time."""
    return Mlp(accumulator=32, width=64)


def chain(count: int = 32, probes: ProbeSample = NO_PROBES) -> Sample:
    """`count` positions, each followed by the next one; the last of them ends the game."""
    generator = np.random.default_rng(0)
    positions = random_positions(generator, count)
    actions = generator.integers(0, MOVES, count)
    return Sample(
        positions=positions,
        actions=actions,
        rewards=generator.uniform(-0.15, 0.15, count).astype(np.float32),
        expected_scores=generator.uniform(0.35, 0.65, count).astype(np.float32),
        has_next=np.arange(count) < count - 1,
        next_positions=positions.take(np.roll(np.arange(count), -1)),
        next_actions=np.roll(actions, -1),
        probes=probes,
    )


def record(batch: Batch) -> UnitRecord:
    return UnitRecord.of(batch, encode(batch))


def store_with(path: Path, batches: Sequence[Batch], agent: AgentSettings = WHITE) -> ExperienceStore:
    store = ExperienceStore(path, agent)
    store.put_many([record(batch) for batch in batches])
    return store


def small_settings(network: str = "mlp", **changes: object) -> Settings:
    values = {
        "batch_size": 16,
        "buffer_size": 100,
        "publish_every": 10,
        "samples_per_transition": 2.0,
        "seed": 5,
    } | changes
    return Settings(network=network, **values)  # type: ignore[arg-type]


def trained(settings: Settings, batches: Sequence[Batch], agent: AgentSettings = WHITE) -> Trainer:
    trainer = Trainer(settings, agent, CPU)
    for batch in batches:
        trainer.train_unit(batch)
    return trainer

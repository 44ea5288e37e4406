"""The trainer: one agent's training, unit after unit, as a pure function of settings, agent and units.

    trainer = Trainer(settings, agent, device, on_publish=...)
    for batch in units:             # in unit order, none left out
        trainer.train_unit(batch)   # figures before training, then into the buffer, then gradient steps

Neither sockets nor files nor clocks: the service feeds it, publishes, and saves `state()` between units.
How many gradient steps a unit is followed by depends on nothing but the transitions so far, and every
random draw comes from one generator; so the same units give the same bits.
"""

import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from common.batch import Batch
from common.errors import StoreDamaged, StoreError, TrainingError
from common.settings import AgentSettings, Settings
from common.transitions import transitions
from learner.evaluation import held_out
from learner.metrics import UnitMetrics
from learner.models import Losses
from learner.registry import make_model
from learner.replay import ReplayBuffer, ReplayStats
from learner.state import RandomState, TrainerState
from learner.store import ExperienceReader

TD_ERROR_WEIGHT = 0.02
"""Weight of the newest unit in the exponential mean of held-out TD errors."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Publication:
    """Weights to be published."""

    version: int
    step: int
    """Gradient steps behind them."""
    weights: dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerStats:
    """Where the training stands."""

    next_unit: int
    """Units 0 to this one (excluded) are trained."""
    transitions: int
    """Transitions trained on."""
    step: int
    """Gradient steps taken."""
    samples: int
    """Samples drawn since this process began."""
    version: int
    """Version of the latest weights published; 0 for none."""
    td_error: float | None
    """Exponential mean of the units' held-out TD errors."""
    replay: ReplayStats


class Trainer:
    """Trains one agent. Use it in one thread; `stats` may be called from any, between two units."""

    def __init__(
        self,
        settings: Settings,
        agent: AgentSettings,
        device: torch.device,
        on_publish: Callable[[Publication], None] = lambda _: None,
    ) -> None:
        """Make the untrained agent; raise SettingsError for an unknown network.

        `on_publish` is called every `publish_every` gradient steps, within `train_unit`.
        """
        self._settings, self._agent, self._on_publish = settings, agent, on_publish
        seed = agent_seed(settings.seed, agent.name)
        self._model = make_model(settings, seed, device)
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._buffer = ReplayBuffer(settings.buffer_size)
        self._next_unit = self._transitions = self._step = self._samples = 0
        self._td_error: float | None = None

    @property
    def next_unit(self) -> int:
        """The unit to be trained next."""
        return self._next_unit

    @property
    def step(self) -> int:
        """Gradient steps taken."""
        return self._step

    def train_unit(self, batch: Batch) -> UnitMetrics:
        """Train on the unit `next_unit`, and return its figures.

        Raises TrainingError when a loss is no finite number; the trainer is then of no further use.
        """
        if batch.unit != self._next_unit or batch.agent != self._agent.name:
            raise ValueError(
                f"unit {self._next_unit} of {self._agent.name} is due, not {batch.unit} of {batch.agent}"
            )
        rows = transitions(batch, self._settings.reward)
        figures = held_out(self._model, rows, self._settings.reward, self._settings.discount)
        self._note(figures.td_error)
        self._model.observe(rows)
        self._buffer.append(rows)
        self._transitions += len(rows)
        sums = [self._take_steps(count) for count in self._bursts()]
        self._next_unit += 1
        return UnitMetrics(unit=batch.unit, step=self._step, held_out=figures, losses=_mean(sums))

    def final_weights(self) -> Publication:
        """Return the weights after the last unit; their version is new unless they were published already."""
        version = -(-self._step // self._settings.publish_every)
        return Publication(version=version, step=self._step, weights=self._model.weights())

    def state(self) -> TrainerState:
        """Return a copy of all that training goes on from, the replay buffer aside: that is in the store."""
        return TrainerState(
            agent=self._agent.name,
            network=self._settings.network,
            step=self._step,
            version=self._version,
            next_unit=self._next_unit,
            transitions=self._transitions,
            td_error=self._td_error,
            random_state=RandomState.of(self._generator),
            arrays=self._model.state(),
        )

    def restore(self, state: TrainerState, store: ExperienceReader) -> None:
        """Go on from `state`, the replay buffer filled from `store` as it was then.

        Raises StoreError when the state is another agent's or network's, or the store is not the one that
        it was trained from; StoreDamaged where the store is not as it was written.
        """
        if (state.agent, state.network) != (self._agent.name, self._settings.network):
            raise StoreError(
                f"the checkpoint is of the agent {state.agent} with network {state.network}, "
                f"not of {self._agent.name} with {self._settings.network}"
            )
        stored = store.transitions_before(state.next_unit)
        if stored != state.transitions:
            recounted = sum(len(batch) for batch in store.batches(0, state.next_unit))
            if recounted == state.transitions:
                raise StoreDamaged(f"the store counts {stored} transitions where its units hold {recounted}")
            raise StoreError(
                f"the checkpoint of {state.agent} was trained on {state.transitions} transitions, but the "
                f"store holds {recounted} in the same units: one of the two is from another run"
            )
        self._model.restore(state.arrays)
        self._generator = state.random_state.generator()
        self._next_unit, self._transitions, self._step = state.next_unit, state.transitions, state.step
        self._td_error = state.td_error
        first, held = store.latest_before(state.next_unit, self._settings.buffer_size)
        self._buffer = ReplayBuffer(self._settings.buffer_size, first=state.transitions - held)
        for batch in store.batches(first, state.next_unit):
            self._buffer.append(transitions(batch, self._settings.reward))

    def stats(self) -> TrainerStats:
        """Return where the training stands."""
        return TrainerStats(
            next_unit=self._next_unit,
            transitions=self._transitions,
            step=self._step,
            samples=self._samples,
            version=self._version,
            td_error=self._td_error,
            replay=self._buffer.stats(),
        )

    @property
    def _version(self) -> int:
        return self._step // self._settings.publish_every

    def _bursts(self) -> list[int]:
        """Return the gradient steps that are due, cut where weights are to be published."""
        settings = self._settings
        due = int(self._transitions * settings.samples_per_transition / settings.batch_size)
        every = settings.publish_every
        cuts = [self._step, *range((self._step // every + 1) * every, due, every), due]
        return [end - start for start, end in itertools.pairwise(cuts) if end > start]

    def _take_steps(self, count: int) -> Losses:
        """Take `count` gradient steps, check that all went well, and publish if it is time to."""
        settings = self._settings
        for _ in range(count):
            self._model.step(self._buffer.sample(self._generator, settings.batch_size))
            self._step += 1
            if self._step % settings.target_every == 0:
                self._model.update_target()
        self._samples += count * settings.batch_size
        losses = self._model.take_losses()
        if not math.isfinite(losses.q + losses.prior + losses.gradient_norm):
            raise TrainingError(
                f"{self._agent.name}: training broke down within {count} steps before step {self._step} "
                f"(loss of Q {losses.q}, of the prior {losses.prior}, gradient {losses.gradient_norm}); "
                f"the last checkpoint is kept: start anew with a smaller learning_rate "
                f"than {settings.learning_rate}"
            )
        if self._step % settings.publish_every == 0:
            self._on_publish(Publication(version=self._version, step=self._step, weights=self._model.weights()))
        return losses

    def _note(self, td_error: float | None) -> None:
        if td_error is None:
            return
        mean = td_error if self._td_error is None else self._td_error
        self._td_error = mean + TD_ERROR_WEIGHT * (td_error - mean)


def agent_seed(seed: int, agent: str) -> int:
    """Return the seed of one agent: 64 bits of SHA-256 of the run's seed and the agent's name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{agent}".encode()).digest()[:8], "big")


def _mean(parts: list[Losses]) -> Losses:
    """Return the mean over all steps of `parts`."""
    steps = sum(part.steps for part in parts)
    if not steps:
        return Losses(q=math.nan, prior=math.nan, gradient_norm=math.nan, steps=0)
    return Losses(
        q=sum(part.q * part.steps for part in parts) / steps,
        prior=sum(part.prior * part.steps for part in parts) / steps,
        gradient_norm=sum(part.gradient_norm * part.steps for part in parts) / steps,
        steps=steps,
    )

"""The trainer: one agent's training, unit after unit, as a pure function of settings, agent and units.

    trainer = Trainer(settings, agent, device, on_publish=...)
    for batch in units:             # in unit order, none left out
        trainer.train_unit(batch)   # figures before training, then into the buffer, then gradient steps

Neither sockets nor files nor clocks: the service feeds it, publishes, and saves `state()` between units.
How many gradient steps a unit is followed by depends on nothing but the transitions so far, and every
random draw comes from one generator; so the same units give the same bits. After the last unit come the steps of
the cooldown, in which the learning rate falls to nothing (arXiv 2405.18392).
"""

import hashlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from common.batch import Batch
from common.errors import StoreDamaged, StoreError, TrainingError
from common.settings import AgentSettings, Objective, Settings
from common.transitions import Transitions, probe_transitions, transitions
from learner.evaluation import held_out
from learner.metrics import NO_PROBES, ProbeMetrics, UnitMetrics
from learner.models import Losses
from learner.probe_buffer import ProbeBuffer
from learner.registry import make_model
from learner.replay import ReplayBuffer, ReplayStats, Sample
from learner.state import RandomState, TrainerState
from learner.store import ExperienceReader

TD_ERROR_WEIGHT = 0.02
"""Weight of the newest unit in the exponential mean of held-out TD errors."""

WARM_UP_STEPS = 200
"""Gradient steps in which the learning rate rises to its full size."""

PREPARED_AHEAD = 2
"""Samples that are drawn and prepared beside the gradient step."""

HELD_OUT_ROWS = 256
"""Transitions of each unit that figures are taken from before it is trained on, in whole games: a few more."""

VALIDATION_ROWS = 4096
"""Transitions of held-out games that the figures are taken from, at most."""


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
        objective: Objective = Objective.SARSA,
    ) -> None:
        """Make the untrained agent; raise SettingsError for an unknown network.

        `on_publish` is called every `publish_every` gradient steps, within `train_unit` and `cool_down`.
        """
        self._settings, self._agent, self._on_publish = settings, agent, on_publish
        seed = agent_seed(settings.seed, agent.name)
        self._model = make_model(settings, seed, device, objective)
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._buffer = ReplayBuffer(settings.buffer_size, sampling=settings.sampling)
        self._probes = ProbeBuffer(settings.buffer_size)
        # A clone learns nothing from probes: it is spared them.
        self._probe_share = 0.0 if objective is Objective.CLONING else settings.probe_share
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="samples")
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
        figures = held_out(
            self._model, rows.first_games(HELD_OUT_ROWS), self._settings.reward, self._settings.discount
        )
        self._note(figures.td_error)
        probes = self._take_in(batch, rows)
        sums = [self._take_steps(count) for count in self._bursts(self._due)]
        self._next_unit += 1
        return UnitMetrics(
            unit=batch.unit, transitions=len(rows), step=self._step, held_out=figures, losses=_mean(sums),
            probes=probes,
        )  # fmt: skip

    @property
    def cooled_down(self) -> bool:
        """Whether the steps of the cooldown are taken, if the units so far are all there are."""
        return self._step >= self._end or not self._buffer.drawable

    def cool_down(self, steps: int) -> None:
        """Take at most `steps` gradient steps of the cooldown, after the last unit; raises as `train_unit` does."""
        for count in self._bursts(min(self._end, self._step + steps)):
            self._take_steps(count)

    def held_out_sample(self) -> Sample:
        """Return a copy of transitions that are kept out of training: at most VALIDATION_ROWS, none at first."""
        return self._buffer.take(self._buffer.held_out(VALIDATION_ROWS))

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
            validation_loss=None,
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
        self._next_unit, self._step = state.next_unit, state.step
        self._td_error = state.td_error
        first, held = store.latest_before(state.next_unit, self._settings.buffer_size)
        self._transitions = state.transitions - held
        self._buffer = ReplayBuffer(
            self._settings.buffer_size, first=self._transitions, sampling=self._settings.sampling
        )
        self._probes = ProbeBuffer(self._settings.buffer_size)
        for batch in store.batches(first, state.next_unit):
            self._take_in(batch, transitions(batch, self._settings.reward), observed=True)

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

    @property
    def _due(self) -> int:
        """Gradient steps due for the transitions so far, the cooldown aside."""
        return int(self._transitions * self._settings.samples_per_transition / self._settings.batch_size)

    @property
    def _end(self) -> int:
        """Gradient steps in all, the cooldown's included, if no unit follows."""
        return self._due + int(self._due * self._settings.cooldown)

    def _take_in(self, batch: Batch, rows: Transitions, *, observed: bool = False) -> ProbeMetrics:
        """Put a unit into the buffers; `observed` says whether the model has taken notice of it already."""
        kept_out = held_out_rows(rows, self._settings.held_out, self._settings.seed)
        version = self._due // self._settings.publish_every  # also where this is done again after a resume
        if not observed:
            self._model.observe(rows.positions.take(~kept_out), rows.actions[~kept_out])
        self._buffer.append(rows, kept_out)
        first, self._transitions = self._transitions, self._transitions + len(rows)
        if not len(batch.probes):
            self._probes.forget(self._transitions)
            return NO_PROBES
        probes = probe_transitions(batch, self._settings.reward)
        lags = np.maximum(version - probes.versions.astype(np.int64), 0)
        too_old = lags > self._settings.max_version_lag
        self._probes.append(probes, ~too_old & ~kept_out[probes.rows], first, self._transitions)
        return ProbeMetrics(
            probes=len(probes), too_old=int(too_old.sum()),
            lag_sum=int(lags.sum()), lag_min=int(lags.min()), lag_max=int(lags.max()),
        )  # fmt: skip

    def _bursts(self, due: int) -> list[int]:
        """Return the gradient steps up to step `due`, cut where weights are to be published."""
        every = self._settings.publish_every
        if not self._buffer.drawable:
            return []
        cuts = [self._step, *range((self._step // every + 1) * every, due, every), due]
        return [end - start for start, end in itertools.pairwise(cuts) if end > start]

    def _take_steps(self, count: int) -> Losses:
        """Take `count` gradient steps, check that all went well, and publish if it is time to."""
        settings = self._settings
        for prepared in self._prepared(count):
            self._model.step(prepared, self._rate)
            self._step += 1
        self._samples += count * settings.batch_size
        losses = self._model.take_losses()
        if not math.isfinite(losses.q + losses.value + losses.prior + losses.gradient_norm):
            raise TrainingError(
                f"{self._agent.name}: training broke down within {count} steps before step {self._step} "
                f"(loss of Q {losses.q}, of the value {losses.value}, of the prior {losses.prior}, "
                f"gradient {losses.gradient_norm}); the last checkpoint is kept: start anew with a smaller "
                f"learning_rate than {settings.learning_rate}"
            )
        if self._step % settings.publish_every == 0:
            self._on_publish(Publication(version=self._version, step=self._step, weights=self._model.weights()))
        return losses

    @property
    def _rate(self) -> float:
        """The next step's learning rate as a share of its full size: warm-up, then level, then the cooldown."""
        left = (self._end - self._step) / max(1, self._end - self._due)
        return min(1.0, (self._step + 1) / WARM_UP_STEPS, left if self._step >= self._due else 1.0)

    def _prepared(self, count: int) -> Iterator[Any]:
        """Yield `count` samples, drawn in order in a thread of their own, at most PREPARED_AHEAD ahead."""
        waiting: deque[Future[Any]] = deque()
        ahead = min(PREPARED_AHEAD, count)
        for number in range(count + ahead):
            if number < count:
                waiting.append(self._preparer.submit(self._draw))
            if number >= ahead:
                yield waiting.popleft().result()

    def _draw(self) -> Any:
        """Draw the next sample, and prepare it."""
        settings = self._settings
        slots = self._buffer.draw(self._generator, settings.batch_size)
        probes = self._probes.sample(self._generator, round(settings.batch_size * self._probe_share))
        return self._model.prepare(self._buffer.take(slots, probes))

    def _note(self, td_error: float | None) -> None:
        if td_error is None:
            return
        mean = td_error if self._td_error is None else self._td_error
        self._td_error = mean + TD_ERROR_WEIGHT * (td_error - mean)


def agent_seed(seed: int, agent: str) -> int:
    """Return the seed of one agent: 64 bits of SHA-256 of the run's seed and the agent's name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{agent}".encode()).digest()[:8], "big")


def held_out_rows(rows: Transitions, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which of n transitions belong to games that are kept out of training, bool [n].

    A game is kept out when a hash of the seed and of its moves is below `share`: a game that stands twice in the
    sources is kept out twice, or not at all.
    """
    kept_out = np.zeros(len(rows), np.bool_)
    if share > 0.0 and len(rows):
        starts = np.flatnonzero(np.append(True, rows.game_numbers[1:] != rows.game_numbers[:-1]))
        for start, end in itertools.pairwise([*starts.tolist(), len(rows)]):
            digest = hashlib.blake2b(rows.actions[start:end].tobytes(), digest_size=8, salt=seed.to_bytes(8, "big"))
            kept_out[start:end] = int.from_bytes(digest.digest(), "big") < share * 2**64
    return kept_out


def _mean(parts: list[Losses]) -> Losses:
    """Return the mean over all steps of `parts`."""
    steps = sum(part.steps for part in parts)
    if not steps:
        return Losses(q=math.nan, value=math.nan, prior=math.nan, gradient_norm=math.nan, steps=0)
    return Losses(
        q=sum(part.q * part.steps for part in parts) / steps,
        value=sum(part.value * part.steps for part in parts) / steps,
        prior=sum(part.prior * part.steps for part in parts) / steps,
        gradient_norm=sum(part.gradient_norm * part.steps for part in parts) / steps,
        steps=steps,
    )

"""One agent's training from its store: resume, unit after unit, checkpoints, the end.

The same code under a learner's service and in a sequential run; only where units come from and where
published weights go differs.

Checkpoints are written in a thread of their own beside the training, one at a time: first figures are taken on the
games kept out of training, then the line of metrics that they belong to is written, then the checkpoint with the
loss in its manifest. So whatever of this a kill leaves undone is done again, from the checkpoint before.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch

from common.batch import Batch
from common.errors import RunDirectoryError
from common.settings import AgentSettings, Settings
from common.tracing import span
from common.trouble import Trouble
from learner.checkpoints import CheckpointDirectory
from learner.devices import choose_device
from learner.directory import AgentDirectory
from learner.evaluation import Validation
from learner.metrics import MetricsFile, MetricsLine, UnitMetrics, tell
from learner.replay import Sample
from learner.state import TrainerState
from learner.store import ExperienceReader
from learner.tensorboard import EventFiles
from learner.trainer import Publication, Trainer
from learner.validator import Validator

log = logging.getLogger(__name__)

UNITS_PER_METRICS_LINE = 4
UNITS_VERIFIED = 2000
"""Units looked through in a call of `finish`: well below a second."""
COOLDOWN_STEPS = 50
"""Gradient steps taken in a call of `finish`."""
SAVE_AGAIN_S = 5.0
"""Between two tries to write a checkpoint where the disk refuses it."""


class TrainingSession:
    """Trains one agent in a directory. Owned by one thread.

    Invariant: a checkpoint is of a moment between two units or two parts of the cooldown, so a killed learner goes
    on from a state that an undisturbed one went through. To be settled (`settle`) before the store is closed.
    """

    def __init__(
        self,
        settings: Settings,
        agent: AgentSettings,
        store: ExperienceReader,
        publish: Callable[[Publication], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on from the newest checkpoint that is whole, if the store has its units; see `ready`.

        Raises what `resume` raises, and RunDirectoryError when the directory can't be written.
        """
        torch.set_num_threads(1)
        directory = AgentDirectory.of(settings.directory, agent.name)
        self._settings, self._agent = settings, agent
        self._publish, self._clock = publish, clock
        device = choose_device(settings, agent.name)
        self.trainer = Trainer(settings, agent, device, publish)
        self._validator = Validator(settings, device)
        self.validation: Validation | None = None
        """Figures on the games kept out of training, at the last checkpoint; None before the first."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[OSError | None] | None = None
        """The checkpoint that is being written."""
        try:
            self._checkpoints = CheckpointDirectory(directory.checkpoints, settings.keep_checkpoints)
            self._waiting = self._checkpoints.load_newest()
            self._metrics = MetricsFile(
                directory.metrics,
                units_per_line=UNITS_PER_METRICS_LINE,
                next_unit=self.trained_units,
                step=self._waiting.step if self._waiting is not None else 0,
                tell=self._tell,
            )
        except OSError as error:
            raise RunDirectoryError(f"{directory.path}: can't be written: {error.strerror}") from error
        self._event_files = EventFiles(directory.tensorboard, settings, agent, self._metrics.step)
        self._save_trouble = Trouble(log, "checkpoint not written", "checkpoint written again")
        self._saved = self._begun = (0, 0)
        """Step and unit of the last checkpoint that is on disk, and of the last that was begun."""
        self._save_again_s = 0.0
        self._verified: int | None = 0
        self._final_published = False
        self.finished = False
        if not self.resume(store):
            log.warning(
                "waiting for units that the store lost", extra={"below": self.trained_units, "agent": agent.name}
            )

    @property
    def ready(self) -> bool:
        """Whether training can go on; False while the store lacks units that the checkpoint was trained on."""
        return self._waiting is None

    @property
    def trained_units(self) -> int:
        """Units 0 to this one (excluded) are trained, by the checkpoint that is waited with or since."""
        return self._waiting.next_unit if self._waiting is not None else self.trainer.next_unit

    def resume(self, store: ExperienceReader) -> bool:
        """Go on from the checkpoint once all its units are in the store; return whether it is so (`ready`).

        Raises StoreDamaged when one of them is not as it was written, and StoreError when they are not what the
        checkpoint was trained on.
        """
        state = self._waiting
        if state is not None:
            if not store.holds_all_before(state.next_unit):
                return False
            self.trainer.restore(state, store)
            self._waiting = None
            self._saved = self._begun = self._now
            log.info("resumed", extra={"unit": self.trainer.next_unit, "step": self.trainer.step})
        return True

    def train(self, batch: Batch) -> UnitMetrics:
        """Train on the next unit; begin to write a checkpoint if one is due."""
        with span("train", unit=batch.unit, agent=self._agent.name):
            metrics = self.trainer.train_unit(batch)
        self._metrics.add(metrics)
        self._save_if_due()
        return metrics

    def _save_if_due(self) -> None:
        if self._writing is not None and self._writing.done():
            self.settle()
        every = self._settings.checkpoint_every
        if self.trainer.step // every > self._begun[0] // every and self._clock() >= self._save_again_s:
            self._begin()

    def finish(self, store: ExperienceReader) -> None:
        """Look through the store, publish the final weights and write the last checkpoint: every unit is trained.

        To be called again until `finished`, which a large store or a full disk delays. Raises StoreDamaged where
        the store has not kept every unit that was trained on: a run ends with all of them on disk.
        """
        if self.finished or self._clock() < self._save_again_s:
            return
        if self._verified is not None:
            self._verified = store.verify(self._verified, UNITS_VERIFIED)
            if self._verified is not None:
                return
            store.verify_totals(self.trainer.next_unit, self.trainer.stats().transitions)
        if not self.trainer.cooled_down:
            with span("cooldown", agent=self._agent.name, step=self.trainer.step):
                self.trainer.cool_down(COOLDOWN_STEPS)
            self._save_if_due()
            return
        if not self._final_published:
            self._final_published = True
            self._publish(self.trainer.final_weights())
        self.finished = self.save()
        if self.finished:
            log.info("finished", extra={"units": self.trainer.next_unit, "steps": self.trainer.step})

    def save(self) -> bool:
        """Write a checkpoint of this very moment, unless there is one; return whether there is.

        A disk that is full or read-only is logged, not fatal: the checkpoints that are there stay.
        """
        self.settle()
        if self._now not in (self._saved, (0, 0)):
            self._begin()
            self.settle()
        return self._now in (self._saved, (0, 0))

    def settle(self) -> None:
        """Wait for the checkpoint that is being written, if there is one."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        error = writing.result()
        if error is not None:
            self._save_trouble.again(error.strerror or str(error))
            self._begun, self._save_again_s = self._saved, self._clock() + SAVE_AGAIN_S
            return
        self._save_trouble.over()
        self._saved, self._save_again_s = self._begun, 0.0

    @property
    def _now(self) -> tuple[int, int]:
        return self.trainer.step, self.trainer.next_unit

    def _begin(self) -> None:
        """Begin to write a checkpoint of this very moment, after the one before it."""
        self.settle()
        self._begun = self._now
        self._metrics.end_interval(self.trainer.step)
        self._writing = self._writer.submit(self._write, self.trainer.state(), self.trainer.held_out_sample())

    def _write(self, state: TrainerState, sample: Sample) -> OSError | None:
        """Write the checkpoint of `state` with its figures on `sample`; return what kept it from the disk."""
        about: dict[str, str | int] = {"agent": self._agent.name, "step": state.step, "unit": state.next_unit}
        with span("validate", **about):
            figures = self._validator.figures(state, sample)
        self._metrics.complete(figures)
        if figures is not None:
            self.validation = figures
            state = replace(state, validation_loss=figures.loss, validation_rows=figures.transitions)
        try:
            with span("checkpoint", **about):
                self._checkpoints.save(state)
        except OSError as error:
            return error
        log.info("checkpoint", extra={"step": state.step, "unit": state.next_unit})
        return None

    def _tell(self, line: MetricsLine) -> None:
        tell(line, self._agent.name, line.step // self._settings.publish_every)
        self._event_files.write(line)

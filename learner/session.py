"""One agent's training from its store: resume, unit after unit, checkpoints, the end.

The same code under a learner's service and in a sequential run; only where units come from and where
published weights go differs.
"""

import logging
from collections.abc import Callable

import torch

from common.batch import Batch
from common.settings import AgentSettings, Settings
from learner.checkpoints import CheckpointDirectory
from learner.devices import choose_device
from learner.directory import AgentDirectory
from learner.metrics import MetricsFile, UnitMetrics
from learner.store import ExperienceReader
from learner.trainer import Publication, Trainer

log = logging.getLogger(__name__)

UNITS_PER_METRICS_LINE = 4


class TrainingSession:
    """Trains one agent in a directory. Owned by one thread.

    Invariant: a checkpoint is written only between two units, so a killed learner goes on from a state that
    an undisturbed one went through.
    """

    def __init__(
        self,
        settings: Settings,
        agent: AgentSettings,
        store: ExperienceReader,
        publish: Callable[[Publication], None],
    ) -> None:
        torch.set_num_threads(1)
        directory = AgentDirectory.of(settings.directory, agent.name)
        self._settings = settings
        self._publish = publish
        self.trainer = Trainer(settings, agent, choose_device(settings, agent.name), publish)
        self._checkpoints = CheckpointDirectory(directory.checkpoints, settings.keep_checkpoints)
        state = self._checkpoints.load_newest()
        if state is not None:
            self.trainer.restore(state, store)
            log.info("resumed", extra={"unit": self.trainer.next_unit, "step": self.trainer.step})
        self._metrics = MetricsFile(
            directory.metrics, units_per_line=UNITS_PER_METRICS_LINE, next_unit=self.trainer.next_unit
        )
        self._saved = (self.trainer.step, self.trainer.next_unit)
        self.finished = False

    def train(self, batch: Batch) -> UnitMetrics:
        """Train on the next unit; write a checkpoint if one is due."""
        metrics = self.trainer.train_unit(batch)
        try:
            self._metrics.add(metrics)
        except OSError as error:
            log.error("metrics not written", extra={"reason": error.strerror})
        every = self._settings.checkpoint_every
        if self.trainer.step // every > self._saved[0] // every:
            self.save()
        return metrics

    def finish(self) -> None:
        """Publish the final weights and write the last checkpoint: every unit is trained."""
        if not self.finished:
            self._publish(self.trainer.final_weights())
            self.save()
            self.finished = True
            log.info("finished", extra={"units": self.trainer.next_unit, "steps": self.trainer.step})

    def save(self) -> None:
        """Write a checkpoint of this very moment, unless there is one; a full disk is logged, not fatal."""
        now = (self.trainer.step, self.trainer.next_unit)
        if now == self._saved or now == (0, 0):
            return
        try:
            self._metrics.flush()
            self._checkpoints.save(self.trainer.state())
        except OSError as error:
            log.error("checkpoint not written", extra={"reason": error.strerror, "step": now[0]})
            return
        self._saved = now
        log.info("checkpoint", extra={"step": now[0], "unit": now[1]})

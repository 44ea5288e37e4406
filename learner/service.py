"""The learner's wiring: intake (link and store) beside, supply (decoding) beside, training in front."""

import logging
import time

import psutil

from common.links import LearnerLink
from common.messages import LearnerReport, Role
from common.process import Process
from common.settings import AgentSettings, Settings, identity
from common.zmq_links import ZmqLearnerLink, hello
from learner.directory import AgentDirectory
from learner.intake import Intake
from learner.metrics import UnitMetrics
from learner.session import TrainingSession
from learner.store import ExperienceReader, ExperienceStore
from learner.supply import UnitSupply

log = logging.getLogger(__name__)

WAIT_S = 0.2


class LearnerService:
    """One learner. `run` trains until told to stop, then saves."""

    def __init__(self, settings: Settings, agent: AgentSettings, process: Process) -> None:
        self._settings, self._agent, self._process = settings, agent, process
        self._directory = AgentDirectory.of(settings.directory, agent.name)
        self._session: TrainingSession | None = None
        self._last: UnitMetrics | None = None
        self._training_s = 0.0
        self._reported = (time.monotonic(), 0.0, 0)
        self._memory = psutil.Process()
        self._supply: UnitSupply | None = None
        self._intake = Intake(
            agent, self._directory, settings.network,
            self._open_store, self._open_link, self._report, self._on_stored,
        )  # fmt: skip

    def run(self) -> None:
        """Train until told to stop; the store, the checkpoint and the weights are then on disk."""
        intake = self._intake
        intake.start()
        try:
            with ExperienceReader(self._directory.experience, self._agent) as reader:
                session = TrainingSession(self._settings, self._agent, reader, intake.publish)
            self._session = session
            first = session.trainer.next_unit
            with UnitSupply(self._directory.experience, self._agent, first) as supply:
                self._supply = supply
                self._train(session, supply)
            session.save()
        finally:
            intake.stop()
        intake.check()

    def _train(self, session: TrainingSession, supply: UnitSupply) -> None:
        while not self._process.stopping:
            self._intake.check()
            total = self._intake.units_total
            if total is not None and session.trainer.next_unit >= total and not session.finished:
                session.finish()
                self._intake.got_on()
            batch = supply.take(WAIT_S)
            if batch is not None:
                begun_s = time.monotonic()
                self._last = session.train(batch)
                self._training_s += time.monotonic() - begun_s
                self._intake.got_on()

    def _on_stored(self) -> None:
        if self._supply is not None:
            self._supply.stored()

    def _open_store(self) -> ExperienceStore:
        return ExperienceStore(self._directory.experience, self._agent)

    def _open_link(self, store: ExperienceStore) -> LearnerLink:
        process, agent = self._process, self._agent
        return ZmqLearnerLink(
            process.ports,
            agent.name,
            process.session,
            lambda: hello(
                Role.LEARNER, process.name, process.session, agent=agent.name, stored=store.intervals(),
                trained_units=self._trained_units(), totals=store.totals(), settings=identity(self._settings),
            ),
        )  # fmt: skip

    def _trained_units(self) -> int:
        return self._session.trainer.next_unit if self._session is not None else 0

    def _report(self, store: ExperienceStore) -> LearnerReport:
        now_s, training_s = time.monotonic(), self._training_s
        session, last = self._session, self._last
        stats = session.trainer.stats() if session is not None else None
        samples = stats.samples if stats else 0
        interval_s = max(1e-3, now_s - self._reported[0])
        report = LearnerReport(
            agent=self._agent.name,
            session=self._process.session,
            totals=store.totals(),
            trained_units=stats.next_unit if stats else 0,
            transitions_trained=stats.transitions if stats else 0,
            step=stats.step if stats else 0,
            version=stats.version if stats else 0,
            loss=last.losses.q if last is not None and last.losses.steps else None,
            td_error=last.held_out.td_error if last is not None else None,
            move_match=last.held_out.match_top1 if last is not None else None,
            samples_per_second=(samples - self._reported[2]) / interval_s,
            train_share=min(1.0, (training_s - self._reported[1]) / interval_s),
            memory_bytes=self._memory.memory_info().rss,
            finished=session is not None and session.finished and self._intake.idle,
        )
        self._reported = (now_s, training_s, samples)
        return report

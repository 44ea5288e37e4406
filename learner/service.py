"""The learner's wiring: intake (link and store) beside, supply (decoding) beside, training in front."""

import logging
import threading
import time

import psutil

from common.errors import StoreDamaged
from common.links import LearnerLink
from common.messages import LearnerReport, Role
from common.process import Process
from common.session import hello
from common.settings import AgentSettings, Settings, identity
from learner.directory import AgentDirectory
from learner.intake import Intake
from learner.lock import claimant, overtaken
from learner.metrics import UnitMetrics
from learner.session import TrainingSession
from learner.store import ExperienceReader, ExperienceStore
from learner.supply import UnitSupply

log = logging.getLogger(__name__)

WAIT_S = 0.2
CLAIM_INTERVAL_S = 1.0
"""Between two looks whether a newer learner waits for the agent's directory."""


class LearnerService:
    """One learner. `run` trains until told to stop, then saves."""

    def __init__(self, settings: Settings, agent: AgentSettings, process: Process) -> None:
        self._settings, self._agent, self._process = settings, agent, process
        self._directory = AgentDirectory.of(settings.directory, agent.name)
        self._session: TrainingSession | None = None
        self._last: UnitMetrics | None = None
        self._training_s = 0.0
        self._reported = (time.monotonic(), 0.0, 0)
        self._own = psutil.Process()
        self._supply: UnitSupply | None = None
        self._claimant: str | None = None
        self._claim_looked_s = 0.0
        self._intake_turns = 0
        self._stored = threading.Event()
        """Set when there is something new in the store."""
        self._mended_at: int | None = None
        """Units trained when the store was last found damaged."""
        self._intake = self._make_intake()

    def run(self) -> None:
        """Train until told to stop; the store, the checkpoint and the weights are then on disk.

        Raises RunDirectoryError, with all of that on disk, too, when a newer learner of the agent takes over.
        """
        while True:
            try:
                self._run()
                return
            except StoreDamaged as damage:
                self._prepare_to_mend(damage)

    def _prepare_to_mend(self, damage: StoreDamaged) -> None:
        """Save, and have the store mended when it is opened next; raises `damage` where that has not helped."""
        if self._mended_at == self._trained_units():
            raise damage
        self._mended_at = self._trained_units()
        log.warning("store damaged", extra={"reason": str(damage)})
        if self._session is not None:
            self._session.save()  # it is between two units
        self._intake = self._make_intake()

    def _run(self) -> None:
        intake = self._intake
        intake.start()
        try:
            with ExperienceReader(self._directory.experience, self._agent) as reader:
                session = TrainingSession(self._settings, self._agent, reader, intake.publish)
                self._session = session
                self._process.ready()
                try:
                    self._work(session, reader)
                finally:
                    session.settle()
        finally:
            intake.stop()
        intake.check()
        if self._claimant is not None:
            raise overtaken(self._directory.path, self._claimant)

    def _work(self, session: TrainingSession, store: ExperienceReader) -> None:
        while not session.ready and self._goes_on():
            self._stored.wait(WAIT_S)
            self._stored.clear()
            session.resume(store)
        while True:
            with UnitSupply(self._directory.experience, self._agent, session.trained_units) as supply:
                self._supply = supply
                self._train(session, supply, store)
            session.save()
            if self._process.stopping or self._look_for_claim():  # else who claimed has given up
                return

    def _goes_on(self) -> bool:
        """Whether nothing asks this learner to stop; raises what ended the intake."""
        self._intake.check()
        self._note_turn()
        return not self._process.stopping and not self._claimed()

    def _train(self, session: TrainingSession, supply: UnitSupply, store: ExperienceReader) -> None:
        while self._goes_on():
            total = self._intake.units_total
            finishing = total is not None and session.trainer.next_unit >= total
            if finishing and not session.finished:
                begun_s = time.monotonic()
                session.finish(store)
                self._training_s += time.monotonic() - begun_s
                self._intake.got_on()
            batch = supply.take(0.0 if finishing and not session.trainer.cooled_down else WAIT_S)
            if batch is not None:
                begun_s = time.monotonic()
                self._last = session.train(batch)
                self._training_s += time.monotonic() - begun_s
                self._intake.got_on()

    def _note_turn(self) -> None:
        """Say that this loop gets on; not while the intake's loop hangs."""
        if self._intake.turns != self._intake_turns:
            self._intake_turns = self._intake.turns
            self._process.turn(self._summary)

    def _summary(self) -> str:
        stats = self._session.trainer.stats() if self._session is not None else None
        if stats is None:
            return "starting"
        return f"trained on {stats.next_unit} units, step {stats.step}, weights version {stats.version}"

    def _claimed(self) -> bool:
        if time.monotonic() - self._claim_looked_s >= CLAIM_INTERVAL_S:
            self._look_for_claim()
        return self._claimant is not None

    def _look_for_claim(self) -> bool:
        self._claim_looked_s = time.monotonic()
        self._claimant = claimant(self._directory.path)
        return self._claimant is not None

    def _on_stored(self) -> None:
        self._stored.set()
        if self._supply is not None:
            self._supply.stored()

    def _make_intake(self) -> Intake:
        return Intake(
            self._agent, self._directory, self._process.session, self._settings.network,
            self._open_store, self._open_link, self._report, self._on_stored,
        )  # fmt: skip

    def _open_store(self) -> ExperienceStore:
        return ExperienceStore(self._directory.experience, self._agent, mend=self._mended_at is not None)

    def _open_link(self, store: ExperienceStore) -> LearnerLink:
        process, agent = self._process, self._agent
        return process.transport.learner(
            agent.name,
            process.session,
            lambda: hello(
                Role.LEARNER, process.name, process.session, agent=agent.name, stored=store.intervals(),
                trained_units=self._trained_units(), totals=store.totals(), settings=identity(self._settings),
            ),
        )  # fmt: skip

    def _trained_units(self) -> int:
        return self._session.trained_units if self._session is not None else 0

    def _report(self, store: ExperienceStore) -> LearnerReport:
        now_s, training_s = time.monotonic(), self._training_s
        session, last = self._session, self._last
        stats = session.trainer.stats() if session is not None else None
        validation = session.validation if session is not None else None
        cpu = self._own.cpu_times()
        samples = stats.samples if stats else 0
        interval_s = max(1e-3, now_s - self._reported[0])
        report = LearnerReport(
            agent=self._agent.name,
            session=self._process.session,
            totals=store.totals(),
            trained_units=self._trained_units(),
            transitions_trained=stats.transitions if stats else 0,
            step=stats.step if stats else 0,
            version=self._intake.version,
            loss=last.losses.q if last is not None and last.losses.steps else None,
            td_error=last.held_out.td_error if last is not None else None,
            move_match=last.held_out.match_top1 if last is not None else None,
            match_top3=last.held_out.match_top3 if last is not None else None,
            probe_lag_mean=last.probes.lag_mean if last is not None else None,
            validation_loss=validation.loss if validation is not None else None,
            validation_match_top1=validation.match_top1 if validation is not None else None,
            samples_per_second=(samples - self._reported[2]) / interval_s,
            train_share=min(1.0, (training_s - self._reported[1]) / interval_s),
            memory_bytes=self._own.memory_info().rss,
            cpu_s=cpu.user + cpu.system,
            finished=session is not None and session.finished and self._intake.idle,
        )
        self._reported = (now_s, training_s, samples)
        return report

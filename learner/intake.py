"""The learner's side of the wire: batches into the store, acknowledgements, reports and weights out.

A thread of its own, which alone uses the link and the store's writer, so that receiving and storing happen
beside the training. A batch is acknowledged only after its transaction is on disk.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from common.batch import decode
from common.errors import MessageError, Refused, RookeryError, StoreError
from common.links import Delivered, LearnerLink
from common.messages import LearnerReport, PublishAgain, Refusal, StoredUnit, Totals, Welcome
from common.settings import AgentSettings
from learner.directory import AgentDirectory
from learner.store import ExperienceStore, UnitRecord
from learner.trainer import Publication
from learner.weights import load_weights, pack, save_weights

log = logging.getLogger(__name__)

CREDIT = 32
"""Batches that may be under way to this learner."""
POLL_S = 0.05
REPORT_INTERVAL_S = 1.0
REPORT_AFTER_PROGRESS_S = 0.2
"""The same where the training has got on: the broker's window moves with it."""


class Intake:
    """Runs `link` and `store` in a thread until `stop`.

    Shutdown order: the last weights are written and published, a last report is sent, the link says goodbye,
    the store closes.
    """

    def __init__(
        self,
        agent: AgentSettings,
        directory: AgentDirectory,
        network: str,
        make_store: Callable[[], ExperienceStore],
        make_link: Callable[[ExperienceStore], LearnerLink],
        make_report: Callable[[ExperienceStore], LearnerReport],
        on_stored: Callable[[], None],
    ) -> None:
        self._agent, self._directory, self._network = agent, directory, network
        self._make_store, self._make_link, self._make_report = make_store, make_link, make_report
        self._on_stored = on_stored
        self._outgoing: deque[Publication] = deque(maxlen=1)
        self._latest: Publication | None = None
        self._got_on = False
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self.units_total: int | None = None
        """Known once the broker has read the sources to their end."""
        self.error: RookeryError | None = None
        """What ended the thread, if anything did."""
        self.dropped = 0

    def start(self) -> None:
        """Start the thread and wait until the store is open; raises what opening raised."""
        self._thread.start()
        self._ready.wait()
        self.check()

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self.error is not None:
            raise self.error

    def publish(self, publication: Publication) -> None:
        """Hand weights over to be written and published; newer ones replace those still waiting."""
        self._outgoing.append(publication)

    def got_on(self) -> None:
        """Say that the training has got on, so that the broker hears of it soon."""
        self._got_on = True

    @property
    def idle(self) -> bool:
        """Whether all that was handed over by `publish` is written and out."""
        return not self._outgoing

    def stop(self) -> None:
        """End the thread in order."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._make_store() as store:
                link = self._make_link(store)
                self._ready.set()
                try:
                    self._serve(store, link)
                finally:
                    link.close()
        except RookeryError as error:
            self.error = error
        except Exception as error:
            log.critical("internal error", exc_info=True)
            self.error = RookeryError(f"internal error in the intake: {error!r}")
        finally:
            self._ready.set()

    def _serve(self, store: ExperienceStore, link: LearnerLink) -> None:
        self._load_latest()
        reported_s = 0.0
        while not self._stopping.is_set():
            self._take_in(store, link)
            self._put_out(link)
            interval_s = REPORT_AFTER_PROGRESS_S if self._got_on else REPORT_INTERVAL_S
            if time.monotonic() - reported_s >= interval_s:
                reported_s = time.monotonic()
                self._got_on = False
                self._report(store, link)
        self._put_out(link)
        self._report(store, link)

    def _report(self, store: ExperienceStore, link: LearnerLink) -> None:
        link.credit(CREDIT)
        link.report(self._make_report(store))

    def _take_in(self, store: ExperienceStore, link: LearnerLink) -> None:
        delivered: list[Delivered] = []
        again = False
        for event in link.poll(POLL_S):
            match event:
                case Delivered():
                    delivered.append(event)
                case Totals():
                    self.units_total = event.units
                case Welcome():
                    self._report(store, link)
                case PublishAgain():
                    again = True
                case Refusal():
                    raise Refused(event.reason)
        if again and self._latest is not None and not self._outgoing:
            self._send(link, self._latest)
        records = [record for item in delivered if (record := self._record(link, item)) is not None]
        if records:
            self._store(store, link, records)

    def _record(self, link: LearnerLink, delivered: Delivered) -> UnitRecord | None:
        header = delivered.header
        try:
            batch = decode(delivered.body)
            if (batch.unit, batch.agent, len(batch)) != (header.unit, self._agent.name, header.transitions):
                raise MessageError("the batch is not what its envelope says")
            if batch.side != self._agent.side:
                raise MessageError(f"the batch is for {batch.side}")
        except MessageError as error:
            self.dropped += 1
            link.decline(header.unit, str(error))
            log.warning("batch dropped", extra={"unit": header.unit, "actor": header.actor, "why": str(error)})
            return None
        return UnitRecord.of(batch, delivered.body)

    def _store(self, store: ExperienceStore, link: LearnerLink, records: list[UnitRecord]) -> None:
        try:
            new = store.put_many(records)
        except StoreError as error:
            # Not acknowledged, so the broker keeps the batches and delivers them again.
            log.error("not stored", extra={"units": len(records), "reason": str(error)})
            return
        link.stored(
            [
                StoredUnit(unit=record.unit, transitions=record.transitions, duplicate=record.unit not in new)
                for record in records
            ],
            store.totals(),
        )
        self._on_stored()

    def _load_latest(self) -> None:
        """Take up the weights published last, for a broker and actors that have none."""
        if not self._directory.weights.exists():
            return
        try:
            arrays, about = load_weights(self._directory.weights)
            publication = Publication(version=int(about["version"]), step=int(about["step"]), weights=arrays)
        except (StoreError, KeyError, ValueError) as error:
            log.warning("published weights can't be read", extra={"reason": str(error)})
            return
        self._latest = publication

    def _put_out(self, link: LearnerLink) -> None:
        if not self._outgoing:
            return
        publication = self._outgoing[0]
        about: dict[str, str | int] = {"agent": self._agent.name, "network": self._network}
        about |= {"version": publication.version, "step": publication.step}
        try:
            save_weights(self._directory.weights, publication.weights, about)
        except OSError as error:
            log.error("weights not written", extra={"reason": error.strerror})
        self._send(link, publication)
        self._latest = publication
        with suppress(ValueError):  # newer ones have taken its place meanwhile
            self._outgoing.remove(publication)

    def _send(self, link: LearnerLink, publication: Publication) -> None:
        header, body = pack(
            publication.weights,
            agent=self._agent.name,
            version=publication.version,
            step=publication.step,
            network=self._network,
        )
        link.publish(header, body)
        log.debug("published", extra={"version": publication.version})

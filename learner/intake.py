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

from agent.weights import load_weights, pack, save_weights
from common.batch import decode
from common.errors import MessageError, Refused, RookeryError, StoreDamaged, StoreError
from common.links import Delivered, LearnerLink
from common.messages import LearnerReport, PublishAgain, Refusal, StoredUnit, Totals, Welcome
from common.settings import AgentSettings
from common.tracing import span
from common.trouble import Trouble
from learner.directory import AgentDirectory
from learner.origins import Origin
from learner.store import ExperienceStore
from learner.trainer import Publication
from learner.unit_record import UnitRecord

log = logging.getLogger(__name__)

CREDIT = 32
"""Batches that may be under way to this learner."""
POLL_S = 0.05
AGAIN_S = 1.0
"""Between two tries to write where the disk refuses."""
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
        session: str,
        network: str,
        make_store: Callable[[], ExperienceStore],
        make_link: Callable[[ExperienceStore], LearnerLink],
        make_report: Callable[[ExperienceStore], LearnerReport],
        on_stored: Callable[[], None],
    ) -> None:
        self._agent, self._directory, self._session, self._network = agent, directory, session, network
        self._make_store, self._make_link, self._make_report = make_store, make_link, make_report
        self._on_stored = on_stored
        self._outgoing: deque[Publication] = deque(maxlen=1)
        self._latest: Publication | None = None
        self._goes_on = directory.experience.exists()
        """Whether there is experience behind the weights on disk: else they are of another training."""
        self._got_on = False
        self._reported_s = float("-inf")
        self._unstored: list[UnitRecord] = []
        """What the disk has refused, to be tried again; never more than CREDIT."""
        self._unwritten: Publication | None = None
        """Weights that are published and not on disk yet."""
        self._store_again_s = self._write_again_s = 0.0
        self._not_stored = Trouble(log, "not stored", "stored again")
        self._not_read = Trouble(log, "published weights can't be read", "published weights can be read again")
        self._not_written = Trouble(log, "weights not written", "weights written again")
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self.units_total: int | None = None
        """Known once the broker has read the sources to their end."""
        self.turns = 0
        """Times that the thread's loop has gone round."""
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
    def version(self) -> int:
        """Version of the weights published last; 0 for none, and where those of a run before were not asked for."""
        return self._latest.version if self._latest is not None else 0

    @property
    def idle(self) -> bool:
        """Whether all that was handed over by `publish` is out and on disk."""
        return not self._outgoing and self._unwritten is None

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
        while not self._stopping.is_set():
            self.turn(store, link)
        self._write_again_s = 0.0
        self._put_out(link)
        self._report(store, link)

    def turn(self, store: ExperienceStore, link: LearnerLink) -> None:
        """Take in what has come, put out what is waiting, report if it is time to; raises Refused."""
        self.turns += 1
        self._take_in(store, link)
        self._put_out(link)
        interval_s = REPORT_AFTER_PROGRESS_S if self._got_on else REPORT_INTERVAL_S
        if time.monotonic() - self._reported_s >= interval_s:
            self._reported_s = time.monotonic()
            self._got_on = False
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
        if again and not self._outgoing:
            self._latest = self._latest or self._published_before()
            if self._latest is not None:
                self._send(link, self._latest)
        records = [record for item in delivered if (record := self._record(link, item)) is not None]
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
        origin = Origin(actor=header.actor, host=header.host, engine=header.engine)
        return UnitRecord.of(batch, delivered.body, origin)

    def _store(self, store: ExperienceStore, link: LearnerLink, records: list[UnitRecord]) -> None:
        records = [*self._unstored, *records]
        if not records or time.monotonic() < self._store_again_s:
            self._keep(records)
            return
        units = [record.unit for record in records]
        try:
            with span("store", agent=self._agent.name, unit=min(units), last_unit=max(units), units=len(units)):
                new = store.put_many(records)
        except StoreDamaged:
            raise
        except StoreError as error:
            # Not acknowledged: tried again soon, and the broker keeps the batches and delivers them again.
            self._not_stored.again(str(error))
            self._store_again_s = time.monotonic() + AGAIN_S
            self._keep(records)
            return
        self._not_stored.over()
        self._unstored.clear()
        link.stored(
            [
                StoredUnit(unit=record.unit, transitions=record.transitions, duplicate=record.unit not in new)
                for record in records
            ],
            store.totals(),
        )
        self._on_stored()

    def _keep(self, records: list[UnitRecord]) -> None:
        """Keep as many batches to be stored later as may be under way at once."""
        self._unstored = list({record.unit: record for record in records}.values())[:CREDIT]

    def _published_before(self) -> Publication | None:
        """Return the weights published last, for a broker and actors that have none."""
        if not (self._goes_on and self._directory.weights.exists()):
            return None
        try:
            arrays, about = load_weights(self._directory.weights)
            publication = Publication(version=int(about["version"]), step=int(about["step"]), weights=arrays)
        except (StoreError, KeyError, ValueError) as error:
            self._not_read.again(str(error))
            return None
        self._not_read.over()
        return publication

    def _put_out(self, link: LearnerLink) -> None:
        if not self._outgoing:
            self._write()
            return
        publication = self._outgoing[0]
        self._unwritten = publication
        self._write()
        self._send(link, publication)
        self._latest = publication
        with suppress(ValueError):  # newer ones have taken its place meanwhile
            self._outgoing.remove(publication)

    def _write(self) -> None:
        """Write the latest weights unless they are on disk, or the disk has refused them a moment ago."""
        publication = self._unwritten
        if publication is None or time.monotonic() < self._write_again_s:
            return
        about: dict[str, str | int] = {"agent": self._agent.name, "network": self._network}
        about |= {"version": publication.version, "step": publication.step}
        try:
            save_weights(self._directory.weights, publication.weights, about)
        except OSError as error:
            self._not_written.again(error.strerror or str(error))
            self._write_again_s = time.monotonic() + AGAIN_S
            return
        self._not_written.over()
        self._unwritten = None

    def _send(self, link: LearnerLink, publication: Publication) -> None:
        header, body = pack(
            publication.weights,
            agent=self._agent.name,
            session=self._session,
            version=publication.version,
            step=publication.step,
            network=self._network,
        )
        with span("publish", agent=self._agent.name, version=publication.version, step=publication.step):
            link.publish(header, body)
        log.debug("published", extra={"version": publication.version})

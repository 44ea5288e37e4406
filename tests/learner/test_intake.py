import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from agent.weights import load_weights
from common.batch import encode
from common.errors import Refused, RookeryError, RunDirectoryError, StoreDamaged, StoreError
from common.links import Delivered, LearnerEvent
from common.messages import (
    BatchHeader,
    LearnerReport,
    PublishAgain,
    Refusal,
    StoredUnit,
    StoreTotals,
    Totals,
    WeightsHeader,
    Welcome,
)
from learner.directory import AgentDirectory
from learner.intake import CREDIT, Intake
from learner.store import ExperienceStore
from learner.trainer import Publication
from tests.learner.units import BLACK, WHITE, random_batch

PATIENCE_S = 20.0


class FakeLink:
    """A link whose events the test hands over; what the intake says is kept."""

    def __init__(self) -> None:
        self.events: list[LearnerEvent] = []
        self.acknowledged: list[tuple[StoredUnit, int]] = []
        self.declined: list[tuple[int, str]] = []
        self.reports: list[LearnerReport] = []
        self.credits: list[int] = []
        self.published: list[int] = []
        self.closed = False
        self._changed = threading.Condition()

    def deliver(self, *events: LearnerEvent) -> None:
        with self._changed:
            self.events.extend(events)
            self._changed.notify_all()

    def wait_for(self, condition) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S)

    def poll(self, timeout_s: float) -> list[LearnerEvent]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self.events), timeout_s)
            events, self.events = self.events, []
            self._changed.notify_all()
        return events

    def _note(self, kept: list, item: object) -> None:
        with self._changed:
            kept.append(item)
            self._changed.notify_all()

    def credit(self, batches: int) -> None:
        self._note(self.credits, batches)

    def stored(self, units: Sequence[StoredUnit], totals: StoreTotals) -> None:
        for unit in units:
            self._note(self.acknowledged, (unit, totals.units))

    def decline(self, unit: int, reason: str) -> None:
        self._note(self.declined, (unit, reason))

    def report(self, report: LearnerReport) -> None:
        self._note(self.reports, report)

    def publish(self, header: WeightsHeader, body: bytes) -> None:
        self._note(self.published, header.version)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def directory(tmp_path: Path) -> AgentDirectory:
    return AgentDirectory.of(tmp_path, "white")


def report(store: ExperienceStore) -> LearnerReport:
    return LearnerReport(
        agent="white", session="s", totals=store.totals(), trained_units=0, transitions_trained=0, step=0, version=0
    )


def made(link: FakeLink, directory: AgentDirectory, on_stored=lambda: None) -> Intake:
    return Intake(
        WHITE,
        directory,
        "s",
        "mlp",
        lambda: ExperienceStore(directory.experience, WHITE),
        lambda _: link,
        report,
        on_stored,
    )


@pytest.fixture
def intake(link: FakeLink, directory: AgentDirectory) -> Iterator[Intake]:
    intake = made(link, directory)
    intake.start()
    yield intake
    intake.stop()


def delivered(number: int, **changes: object) -> Delivered:
    batch = random_batch(number)
    header = {"unit": number, "agent": "white", "transitions": len(batch), "games": batch.games_read, "actor": "a"}
    return Delivered(BatchHeader(**{**header, **changes}), encode(batch))


def publication(version: int) -> Publication:
    return Publication(version=version, step=version * 10, weights={"w": np.full(3, version, np.float32)})


def test_batches_are_on_disk_before_they_are_acknowledged(
    link: FakeLink, intake: Intake, directory: AgentDirectory
) -> None:
    link.deliver(delivered(0), delivered(2))
    link.wait_for(lambda: len(link.acknowledged) == 2)
    assert [(unit.unit, unit.duplicate, units) for unit, units in link.acknowledged] == [
        (0, False, 2),
        (2, False, 2),
    ]
    intake.stop()
    with ExperienceStore(directory.experience, WHITE) as store:
        assert [unit for unit, _ in store.read_from(0)] == [0, 2]


def test_a_unit_that_is_there_is_acknowledged_as_a_duplicate(link: FakeLink, intake: Intake) -> None:
    link.deliver(delivered(0))
    link.wait_for(lambda: len(link.acknowledged) == 1)
    link.deliver(delivered(0))
    link.wait_for(lambda: len(link.acknowledged) == 2)
    assert [unit.duplicate for unit, _ in link.acknowledged] == [False, True]


@pytest.mark.parametrize(
    "bad",
    [
        Delivered(BatchHeader(unit=1, agent="white", transitions=3, games=1, actor="a"), b"no batch"),
        delivered(1, transitions=1),
        delivered(1, unit=2),
        Delivered(delivered(1).header, encode(random_batch(1, agent=BLACK))),
    ],
    ids=["garbage", "another size", "another unit", "another agent"],
)
def test_a_batch_that_is_not_what_it_says_is_declined_and_the_others_stored(
    link: FakeLink, intake: Intake, bad: Delivered
) -> None:
    link.deliver(bad, delivered(5))
    link.wait_for(lambda: len(link.acknowledged) == 1)
    assert [unit for unit, _ in link.declined] == [bad.header.unit]
    assert link.acknowledged[0][0].unit == 5
    assert intake.dropped == 1


def test_what_cannot_be_stored_is_not_acknowledged_and_may_come_again(
    link: FakeLink, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def full(self, records):
        tries.append(len(records))
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(ExperienceStore, "put_many", full)
        link.deliver(delivered(0))
        link.wait_for(lambda: bool(tries) and not link.events)
    link.deliver(delivered(0))
    link.wait_for(lambda: bool(link.acknowledged))
    assert len(link.acknowledged) == 1
    intake.check()


def test_the_supply_is_told_of_what_is_stored(link: FakeLink, directory: AgentDirectory) -> None:
    told = threading.Event()
    intake = made(link, directory, on_stored=told.set)
    intake.start()
    link.deliver(delivered(0))
    assert told.wait(PATIENCE_S)
    intake.stop()


def test_credit_and_a_report_follow_each_welcome(link: FakeLink, intake: Intake) -> None:
    link.wait_for(lambda: len(link.reports) >= 1)
    before = len(link.reports)
    link.deliver(Welcome(broker="b", agents=["white"]))
    link.wait_for(lambda: len(link.reports) > before)
    assert set(link.credits) == {CREDIT}


def test_totals_are_kept_for_the_training(link: FakeLink, intake: Intake) -> None:
    assert intake.units_total is None
    link.deliver(Totals(units=7, games=100), delivered(0))
    link.wait_for(lambda: bool(link.acknowledged))
    assert intake.units_total == 7


def test_a_refusal_ends_it_with_the_reason(link: FakeLink, intake: Intake) -> None:
    link.deliver(Refusal(reason="settings differ"))
    intake._thread.join(PATIENCE_S)
    with pytest.raises(Refused, match="settings differ"):
        intake.check()
    assert link.closed


def test_a_bug_ends_it_instead_of_leaving_the_training_alone(
    link: FakeLink, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(units, totals):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(link, "stored", bug)
    link.deliver(delivered(0))
    intake._thread.join(PATIENCE_S)
    with pytest.raises(RookeryError, match="internal error in the intake: ZeroDivisionError"):
        intake.check()


def test_a_directory_in_use_is_said_at_the_start(
    link: FakeLink, directory: AgentDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.lock.TAKEOVER_S", 0.0)
    with ExperienceStore(directory.experience, WHITE), pytest.raises(RunDirectoryError, match="another learner"):
        made(link, directory).start()


def test_published_weights_are_in_the_file_before_they_are_out(
    link: FakeLink, intake: Intake, directory: AgentDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_file = []
    monkeypatch.setattr(
        link, "publish", lambda header, body: in_file.append(load_weights(directory.weights)[1]["version"])
    )
    intake.publish(publication(1))
    link.wait_for(lambda: True)
    intake.stop()
    assert in_file == [1]
    assert intake.idle


def test_the_last_weights_handed_over_are_never_lost(
    link: FakeLink, intake: Intake, directory: AgentDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer weights that come while older ones are being put out."""
    plain = link.publish

    def publish(header: WeightsHeader, body: bytes) -> None:
        if header.version == 1:
            intake.publish(publication(2))
            assert not intake.idle
        plain(header, body)

    monkeypatch.setattr(link, "publish", publish)
    intake.publish(publication(1))
    link.wait_for(lambda: link.published == [1, 2])
    intake.stop()
    assert intake.idle
    assert load_weights(directory.weights)[1]["version"] == 2


def test_weights_are_published_again_for_a_broker_that_misses_them(
    link: FakeLink, intake: Intake, directory: AgentDirectory
) -> None:
    intake.publish(publication(3))
    link.wait_for(lambda: link.published == [3])
    link.deliver(PublishAgain())
    link.wait_for(lambda: link.published == [3, 3])
    intake.stop()

    later = FakeLink()
    again = made(later, directory)
    again.start()
    later.deliver(PublishAgain())
    later.wait_for(lambda: later.published == [3])
    again.stop()


def test_a_report_comes_soon_after_progress(link: FakeLink, intake: Intake) -> None:
    link.wait_for(lambda: len(link.reports) >= 1)
    for _ in range(3):
        before = len(link.reports)
        intake.got_on()
        link.wait_for(lambda before=before: len(link.reports) > before)


def test_weights_without_the_experience_behind_them_are_not_published_again(
    link: FakeLink, intake: Intake, directory: AgentDirectory
) -> None:
    """Somebody has deleted the store to begin anew: the old training's weights are not the new one's."""
    intake.publish(publication(3))
    link.wait_for(lambda: link.published == [3])
    intake.stop()
    directory.experience.unlink()
    later = FakeLink()
    anew = made(later, directory)
    anew.start()
    later.deliver(PublishAgain(), delivered(0))
    later.wait_for(lambda: bool(later.acknowledged))
    anew.stop()
    assert later.published == []


def test_the_version_is_that_of_the_weights_published_last(link: FakeLink, intake: Intake) -> None:
    assert intake.version == 0
    intake.publish(publication(4))
    link.wait_for(lambda: link.published == [4])
    intake.stop()
    assert intake.version == 4


def test_what_could_not_be_stored_is_tried_again_without_being_sent_again(
    link: FakeLink, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.intake.AGAIN_S", 0.01)
    tries = []

    def full(self, records):
        tries.append([record.unit for record in records])
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(ExperienceStore, "put_many", full)
        link.deliver(delivered(0), delivered(1))
        link.wait_for(lambda: bool(tries))
        link.deliver(delivered(1), *(delivered(unit) for unit in range(2, 2 * CREDIT)))
        link.wait_for(lambda: tries[-1] != [0, 1] and not link.events)
    link.wait_for(lambda: len(link.acknowledged) >= CREDIT)
    assert [unit.unit for unit, _ in link.acknowledged] == list(range(CREDIT))  # the others come again
    intake.check()


def test_weights_that_could_not_be_written_are_published_and_written_later(
    link: FakeLink, intake: Intake, directory: AgentDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.intake.AGAIN_S", 0.01)

    def full(path, weights, about):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("learner.intake.save_weights", full)
        intake.publish(publication(3))
        link.wait_for(lambda: link.published == [3])
        assert not intake.idle
        assert not directory.weights.exists()
    link.wait_for(lambda: intake.idle)
    assert load_weights(directory.weights)[1]["version"] == 3
    assert link.published == [3]


def test_a_damaged_store_ends_it(link: FakeLink, intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(self, records):
        raise StoreDamaged("malformed")

    monkeypatch.setattr(ExperienceStore, "put_many", damaged)
    link.deliver(delivered(0))
    intake._thread.join(PATIENCE_S)
    with pytest.raises(StoreDamaged, match="malformed"):
        intake.check()
    assert not link.acknowledged

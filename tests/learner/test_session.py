import errno
import logging
import os
import shutil
import threading
from pathlib import Path

import msgspec
import pytest

from agent.weights import digest
from common.errors import RunDirectoryError, StoreDamaged, StoreError
from common.settings import Settings
from learner.checkpoints import CheckpointDirectory
from learner.directory import AgentDirectory
from learner.evaluation import Validation
from learner.metrics import MetricsLine, read_metrics
from learner.replay import Sample
from learner.session import SAVE_AGAIN_S, TrainingSession
from learner.state import TrainerState
from learner.store import ExperienceStore
from learner.trainer import Publication
from learner.validator import Validator
from tests.learner.units import CPU, WHITE, random_batch, record, small_settings, trained

BATCHES = [random_batch(unit) for unit in range(8)]


class Learner:
    """A store, a session on it, and what it published."""

    def __init__(self, run: Path, stored: int = len(BATCHES), **values: object) -> None:
        self.settings: Settings = msgspec.structs.replace(
            small_settings("table", checkpoint_every=10, held_out=0.2), run=str(run), **values
        )
        self.files = AgentDirectory.of(run, WHITE.name)
        self.published: list[Publication] = []
        self.now_s = 0.0
        self.store = ExperienceStore(self.files.experience, WHITE)
        self.store.put_many([record(batch) for batch in BATCHES[:stored]])
        try:
            self.session = TrainingSession(
                self.settings, WHITE, self.store, self.published.append, lambda: self.now_s
            )
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> "Learner":
        return self

    def __exit__(self, *error: object) -> None:
        self.session.settle()
        self.store.close()

    def train(self, end: int = len(BATCHES)) -> None:
        while self.session.trainer.next_unit < end:
            batch = self.store.batch(self.session.trainer.next_unit)
            assert batch is not None
            self.session.train(batch)

    def finish(self) -> None:
        while not self.session.finished:
            self.session.finish(self.store)

    @property
    def weights(self) -> str:
        return digest(self.session.trainer.final_weights().weights)


@pytest.fixture
def weights() -> str:
    """Of a trainer that nobody stopped, after its cooldown."""
    trainer = trained(small_settings("table", held_out=0.2), BATCHES)
    trainer.cool_down(10**6)
    return digest(trainer.final_weights().weights)


@pytest.fixture
def half_way(tmp_path: Path) -> Path:
    """A run that was stopped after six units."""
    with Learner(tmp_path) as learner:
        learner.train(6)
        learner.session.save()
    return tmp_path


def test_a_resumed_session_ends_with_the_same_weights(half_way: Path, weights: str) -> None:
    with Learner(half_way) as learner:
        assert learner.session.ready
        assert learner.session.trained_units == 6
        learner.train()
        assert learner.weights != weights  # the cooldown is still to come
        learner.finish()
        assert learner.weights == weights
        assert digest(learner.published[-1].weights) == weights


def lose(run: Path, *units: int) -> None:
    """Take units out of a store, as mending does with damaged ones."""
    with ExperienceStore(AgentDirectory.of(run, WHITE.name).experience, WHITE) as store:
        for unit in units:
            store._connection.execute("DELETE FROM units WHERE unit = ?", (unit,))


def test_a_checkpoint_whose_units_the_store_has_lost_waits_for_them(
    half_way: Path, weights: str, caplog: pytest.LogCaptureFixture
) -> None:
    lose(half_way, 2, 5, 7)
    with Learner(half_way, stored=0) as learner:
        session = learner.session
        assert (session.ready, session.trained_units, session.trainer.next_unit) == (False, 6, 0)
        assert [line.message for line in caplog.records] == ["waiting for units that the store lost"]
        assert session.save()  # there is nothing to be saved, and nothing is
        learner.store.put_many([record(BATCHES[5])])
        assert not session.resume(learner.store)
        learner.store.put_many([record(BATCHES[2])])
        assert session.resume(learner.store)
        assert (session.ready, session.trained_units, session.trainer.next_unit) == (True, 6, 6)
        learner.store.put_many([record(BATCHES[7])])
        learner.train()
        learner.finish()
        assert learner.weights == weights


def test_counts_that_are_damaged_below_the_checkpoint_are_told_from_another_run(half_way: Path) -> None:
    store = AgentDirectory.of(half_way, WHITE.name).experience
    with ExperienceStore(store, WHITE) as found:
        found._connection.execute("UPDATE units SET transitions = transitions + 1 WHERE unit = 3")
    with pytest.raises(StoreDamaged, match="counts"):
        Learner(half_way)
    with ExperienceStore(store, WHITE, mend=True):
        pass
    with Learner(half_way) as learner:
        assert learner.session.ready
    lose(half_way, 3)
    with ExperienceStore(store, WHITE) as found:
        found.put_many([record(random_batch(3, games=9))])
    with pytest.raises(StoreError, match="one of the two is from another run"):
        Learner(half_way)


def test_a_run_killed_between_any_two_parts_of_its_cooldown_ends_with_the_same_weights(
    half_way: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.session.COOLDOWN_STEPS", 1)
    with Learner(half_way) as learner:
        learner.train()
        learner.session.save()
    steps = []
    for kill in range(6):
        with Learner(half_way) as learner:  # goes on from where the one before was killed
            learner.session.finish(learner.store)
            learner.session.finish(learner.store)
            assert not learner.session.finished
            steps.append(learner.session.trainer.step)
            if kill % 2:
                learner.session.save()  # or else these steps are lost, and taken again
    assert [step - steps[0] for step in steps] == [0, 0, 2, 2, 4, 5]  # before the last, a checkpoint was due
    with Learner(half_way) as learner:
        learner.finish()
        assert learner.weights == weights


def test_figures_on_held_out_games_go_with_each_checkpoint(tmp_path: Path) -> None:
    with Learner(tmp_path) as learner:
        learner.train()
        learner.finish()
        lines = read_metrics(learner.files.metrics)
        newest = CheckpointDirectory(learner.files.checkpoints, 3).load_newest()
        assert newest is not None
        trainer = learner.session.trainer
        figures = Validator(learner.settings, CPU).figures(trainer.state(), trainer.held_out_sample())
        assert figures is not None
        assert (newest.validation_loss, newest.validation_rows) == (figures.loss, figures.transitions)
        assert lines[-1].validation == learner.session.validation == figures
        checkpointed = [line.last_unit + 1 for line in lines if line.validation is not None]
        kept = [int(path.name[-9:]) for path in learner.files.checkpoints.iterdir()]
        assert {*kept} <= {*checkpointed}


def test_training_goes_on_while_a_checkpoint_is_judged_and_its_line_comes_first(
    tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, figures = threading.Event(), Validator.figures

    def slowly(validator: Validator, state: TrainerState, sample: Sample) -> Validation | None:
        assert may_end.wait(60)
        return figures(validator, state, sample)

    monkeypatch.setattr(Validator, "figures", slowly)
    with Learner(tmp_path, checkpoint_every=20) as learner:
        learner.train(4)
        begun = learner.session.trainer.step
        assert begun >= 20
        learner.train(6)
        assert learner.session.trainer.step > begun
        assert read_metrics(learner.files.metrics) == []
        may_end.set()
        learner.train()
        learner.finish()
        assert learner.weights == weights
        lines = read_metrics(learner.files.metrics)
    assert [line.first_unit for line in lines if line.steps] == sorted({line.first_unit for line in lines})
    assert lines[0].validation is not None
    monkeypatch.undo()
    with Learner(tmp_path / "undisturbed", checkpoint_every=20) as learner:
        learner.train()
        learner.finish()
        assert without_times(read_metrics(learner.files.metrics)) == without_times(lines)


def without_times(lines: list[MetricsLine]) -> list[MetricsLine]:
    return [msgspec.structs.replace(line, time_ns=None) for line in lines]


def test_each_interval_is_logged_with_its_figures_and_the_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), Learner(tmp_path) as learner:
        learner.train()
        learner.session.save()
        lines = read_metrics(learner.files.metrics)
        every = learner.settings.publish_every
    told = [record for record in caplog.records if record.message == "interval trained"]
    assert {record.name for record in told} == {"learner.metrics"}
    assert [(record.first_unit, record.step) for record in told] == [(line.first_unit, line.step) for line in lines]
    assert [record.version for record in told] == [line.step // every for line in lines]
    assert told[-1].validation_loss == learner.session.validation.loss
    assert {(record.agent, record.td_error is None) for record in told} == {("white", False)}


def test_a_store_that_lost_a_unit_unseen_is_found_damaged_at_the_end(half_way: Path) -> None:
    with Learner(half_way) as learner:
        learner.train()
        learner.store._connection.execute("DELETE FROM units WHERE unit = 0")
        with pytest.raises(StoreDamaged, match="the units below 8 have"):
            learner.session.finish(learner.store)
        assert not learner.session.finished


def test_a_large_store_is_looked_through_in_parts(half_way: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.session.UNITS_VERIFIED", 3)
    with Learner(half_way, cooldown=0.0) as learner:
        learner.train()
        calls = 0
        while not learner.session.finished:
            learner.session.finish(learner.store)
            calls += 1
        assert calls == 3


@pytest.mark.parametrize("newest", range(2))
def test_damaged_checkpoints_cost_nothing_but_time(half_way: Path, weights: str, newest: int) -> None:
    checkpoints = sorted(AgentDirectory.of(half_way, WHITE.name).checkpoints.iterdir())
    for path in checkpoints[-1 - newest :]:
        os.truncate(path / "network.safetensors", 100)
    with Learner(half_way) as learner:
        assert learner.session.trained_units < 6
        learner.train()
        learner.finish()
        assert learner.weights == weights
    lines = read_metrics(AgentDirectory.of(half_way, WHITE.name).metrics)
    assert [line.first_unit for line in lines] == [0, *(line.last_unit + 1 for line in lines[:-1])]


# A disk that is full


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch):
    """Call it with True to have no room for checkpoints, with False to have some again."""
    save = CheckpointDirectory.save

    def switch(is_full: bool) -> None:
        def fail(self, state):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(CheckpointDirectory, "save", fail if is_full else save)

    return switch


def test_a_checkpoint_that_could_not_be_written_is_tried_again_after_a_while_and_said_once(
    tmp_path: Path, full, caplog: pytest.LogCaptureFixture
) -> None:
    with Learner(tmp_path) as learner, caplog.at_level(logging.WARNING):
        full(True)
        learner.train(4)
        learner.session.settle()
        assert [line.message for line in caplog.records] == ["checkpoint not written"]
        full(False)
        learner.train(5)
        assert not list(learner.files.checkpoints.iterdir())
        learner.now_s = SAVE_AGAIN_S
        learner.train(6)
        learner.session.settle()
        assert len(list(learner.files.checkpoints.iterdir())) == 1
        assert [line.message for line in caplog.records][1:] == ["checkpoint written again"]


def test_a_session_is_finished_once_its_last_checkpoint_is_on_disk(tmp_path: Path, full) -> None:
    with Learner(tmp_path, checkpoint_every=10**6, cooldown=0.0) as learner:
        learner.train()
        full(True)
        learner.session.finish(learner.store)
        assert not learner.session.finished
        published = len(learner.published)
        full(False)
        learner.session.finish(learner.store)
        assert not learner.session.finished  # it is too soon
        learner.now_s = SAVE_AGAIN_S
        learner.session.finish(learner.store)
        assert learner.session.finished
        assert len(learner.published) == published  # the weights went out once


def test_figures_that_could_not_be_written_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(descriptor: int, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Learner(tmp_path, checkpoint_every=10**6) as learner, caplog.at_level(logging.WARNING):
        with monkeypatch.context() as patched:
            patched.setattr("learner.metrics.append_whole", fail)
            learner.train(6)
        learner.train()
        learner.session.save()
        lines = read_metrics(learner.files.metrics)
        assert [(line.first_unit, line.last_unit) for line in lines] == [(0, 3), (4, 7)]
        events = [line.message for line in caplog.records]
        assert events == ["metrics not written"] * 2 + ["metrics written again"]


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with Learner(tmp_path) as learner:
        shutil.rmtree(learner.files.checkpoints)
    learner.files.checkpoints.write_text("")
    with pytest.raises(RunDirectoryError, match="checkpoints: can't be written"):
        Learner(tmp_path)

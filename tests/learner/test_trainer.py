import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import SettingsError, StoreError, TrainingError
from learner.checkpoints import CheckpointDirectory
from learner.registry import NETWORKS
from learner.trainer import Publication, Trainer, agent_seed
from learner.weights import digest
from tests.learner.units import BLACK, CPU, WHITE, random_batch, small_settings, store_with, trained

BATCHES = [random_batch(unit) for unit in range(12)]


def final_digest(trainer: Trainer) -> str:
    return digest(trainer.final_weights().weights)


def test_steps_follow_the_transitions_alone() -> None:
    settings = small_settings(samples_per_transition=1.7)
    trainer = Trainer(settings, WHITE, CPU)
    transitions = 0
    for batch in BATCHES:
        metrics = trainer.train_unit(batch)
        transitions += len(batch)
        assert trainer.step == metrics.step == int(transitions * 1.7 / settings.batch_size)
        assert trainer.next_unit == batch.unit + 1
    assert trainer.stats().transitions == transitions


def test_units_must_come_in_order_and_be_the_agents_own() -> None:
    trainer = Trainer(small_settings(), WHITE, CPU)
    with pytest.raises(ValueError, match="unit 0 of white is due, not 1 of white"):
        trainer.train_unit(BATCHES[1])
    with pytest.raises(ValueError, match="not 0 of black"):
        trainer.train_unit(random_batch(0, agent=BLACK))


def test_units_without_transitions_are_trained_through() -> None:
    trainer = Trainer(small_settings(), WHITE, CPU)
    metrics = trainer.train_unit(random_batch(0, games=0))
    assert (trainer.step, trainer.next_unit) == (0, 1)
    assert metrics.held_out.td_error is None
    assert metrics.losses.steps == 0
    trainer.train_unit(BATCHES[1])
    assert trainer.step > 0


@pytest.mark.parametrize("network", ["mlp", "table"])
def test_two_processes_end_with_the_same_bits(network: str) -> None:
    code = """
import sys
from tests.learner.units import small_settings, trained
from tests.learner.test_trainer import BATCHES, final_digest
print(final_digest(trained(small_settings(sys.argv[1]), BATCHES)))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, network], check=True, capture_output=True, text=True, cwd=Path.cwd()
    )
    assert run.stdout.strip() == final_digest(trained(small_settings(network), BATCHES))


def test_the_seed_and_the_agents_name_decide_the_weights() -> None:
    base = small_settings()
    black = [random_batch(batch.unit, agent=BLACK) for batch in BATCHES[:2]]
    digests = {
        final_digest(trained(base, BATCHES[:2])),
        final_digest(trained(small_settings(seed=6), BATCHES[:2])),
        final_digest(trained(base, black, BLACK)),
    }
    assert len(digests) == 3
    assert agent_seed(0, "white") == agent_seed(0, "white") != agent_seed(0, "black")


@pytest.mark.parametrize("network", ["mlp", "table"])
@pytest.mark.parametrize("buffer_size", [33, 100, 10_000])
def test_training_resumed_from_any_checkpoint_ends_with_the_same_bits(
    tmp_path: Path, network: str, buffer_size: int
) -> None:
    settings = small_settings(network, buffer_size=buffer_size)
    undisturbed = trained(settings, BATCHES)
    with store_with(tmp_path / "experience.db", BATCHES) as store:
        first = Trainer(settings, WHITE, CPU)
        for batch in BATCHES:
            checkpoints = CheckpointDirectory(tmp_path / f"checkpoints-{batch.unit}", keep=1)
            checkpoints.save(first.state())
            first.train_unit(batch)
            resumed = Trainer(settings, WHITE, CPU)
            state = checkpoints.load_newest()
            assert state is not None
            resumed.restore(state, store)
            assert resumed.stats().replay.size == min(state.transitions, buffer_size)
            for later in store.batches(resumed.next_unit):
                resumed.train_unit(later)
            assert final_digest(resumed) == final_digest(undisturbed)
            assert resumed.state().random_state == undisturbed.state().random_state
            assert resumed.state().td_error == undisturbed.state().td_error


def test_a_resnet_resumes_with_the_same_bits(tmp_path: Path) -> None:
    settings = small_settings("resnet", samples_per_transition=0.3)
    with store_with(tmp_path / "experience.db", BATCHES[:3]) as store:
        halfway = trained(settings, BATCHES[:2])
        resumed = Trainer(settings, WHITE, CPU)
        resumed.restore(halfway.state(), store)
        halfway.train_unit(BATCHES[2])
        resumed.train_unit(BATCHES[2])
    assert halfway.step > 0
    assert final_digest(resumed) == final_digest(halfway)


def test_a_saved_state_does_not_change_as_training_goes_on() -> None:
    for network in NETWORKS:
        trainer = trained(small_settings(network, samples_per_transition=0.5), BATCHES[:1])
        state = trainer.state()
        before = {group: digest(arrays) for group, arrays in state.arrays.items()}
        trainer.train_unit(BATCHES[1])
        assert {group: digest(arrays) for group, arrays in state.arrays.items()} == before
        assert digest(trainer.state().arrays["network"]) != before["network"]


def test_weights_are_published_at_every_interval_and_once_more_at_the_end() -> None:
    published: list[Publication] = []
    trainer = Trainer(small_settings(publish_every=10), WHITE, CPU, published.append)
    for batch in BATCHES:
        trainer.train_unit(batch)
        if trainer.step % 10 == 3:
            break
    assert [publication.version for publication in published] == list(range(1, trainer.step // 10 + 1))
    assert [publication.step for publication in published] == [10 * p.version for p in published]
    assert len({digest(publication.weights) for publication in published}) == len(published) > 1
    final = trainer.final_weights()
    assert (final.version, final.step) == (published[-1].version + 1, trainer.step)


def test_final_weights_that_were_published_already_keep_their_version() -> None:
    published: list[Publication] = []
    trainer = Trainer(small_settings(publish_every=1), WHITE, CPU, published.append)
    trainer.train_unit(BATCHES[0])
    final = trainer.final_weights()
    assert final.version == published[-1].version == trainer.stats().version
    assert digest(final.weights) == digest(published[-1].weights)
    assert Trainer(small_settings(), WHITE, CPU).final_weights().version == 0


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    published: list[Publication] = []
    trainer = Trainer(small_settings(publish_every=1), WHITE, CPU, published.append)
    broken = trainer.state()
    weights = {name: array.copy() for name, array in broken.arrays["network"].items()}
    weights["advantage.bias"][:] = np.nan
    trainer._model.restore({**broken.arrays, "network": weights})
    with pytest.raises(TrainingError, match=r"white: training broke down .* smaller learning_rate"):
        trainer.train_unit(BATCHES[0])
    assert published == []


def test_a_checkpoint_of_another_agent_network_or_run_is_refused(tmp_path: Path) -> None:
    settings = small_settings()
    state = trained(settings, BATCHES[:3]).state()
    with store_with(tmp_path / "a" / "experience.db", BATCHES[:3]) as store:
        with pytest.raises(StoreError, match="of the agent white with network mlp, not of black"):
            Trainer(settings, BLACK, CPU).restore(state, store)
        with pytest.raises(StoreError, match="not of white with table"):
            Trainer(small_settings("table"), WHITE, CPU).restore(state, store)
    with (
        store_with(tmp_path / "b" / "experience.db", BATCHES[:2]) as store,
        pytest.raises(StoreError, match="one of the two is from another run"),
    ):
        Trainer(settings, WHITE, CPU).restore(state, store)


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    for network in ("mlp", "table"):
        trainer = trained(small_settings(network), BATCHES[:1])
        arrays = {group: dict(named) for group, named in trainer.state().arrays.items()}
        name = next(iter(arrays["network"]))
        arrays["network"][name] = arrays["network"][name][:1]
        with pytest.raises(StoreError, match="the arrays are not those of"):
            trainer._model.restore(arrays)


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="'mpl' is not known; known are: mlp, resnet, table"):
        Trainer(small_settings("mpl"), WHITE, CPU)


def test_figures_are_taken_before_training_on_the_unit() -> None:
    settings = small_settings("table")
    once, twice = trained(settings, BATCHES[:1]), Trainer(settings, WHITE, CPU)
    first = twice.train_unit(BATCHES[0])
    again = twice.train_unit(BATCHES[0].__class__(**{**vars(BATCHES[0]), "unit": 1}))
    assert first.held_out.match_top3 == 0.0  # nothing was seen yet
    assert again.held_out.match_top3 is not None
    assert again.held_out.match_top3 > 0.0
    assert once.stats().td_error == first.held_out.td_error


def test_the_mean_td_error_follows_the_units() -> None:
    trainer = Trainer(small_settings(), WHITE, CPU)
    errors = [trainer.train_unit(batch).held_out.td_error for batch in BATCHES[:4]]
    mean = next(itertools.accumulate(errors))
    assert mean is not None
    for error in errors[1:]:
        assert error is not None
        mean += 0.02 * (error - mean)
    assert trainer.stats().td_error == pytest.approx(mean)

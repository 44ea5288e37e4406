import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.weights import digest
from common.batch import Batch
from common.errors import SettingsError, StoreError, TrainingError
from common.probes import Probes
from common.settings import Objective, Reward, Settings, Side
from common.transitions import transitions
from learner.checkpoints import CheckpointDirectory
from learner.evaluation import Validation, validate
from learner.registry import NETWORKS
from learner.state import TrainerState
from learner.trainer import Publication, Trainer, agent_seed, held_out_rows
from learner.validator import Validator
from tests.common.batches import played
from tests.learner.units import (
    BLACK,
    CPU,
    WHITE,
    probed_batch,
    random_batch,
    small_settings,
    store_with,
    trained,
)

BATCHES = [random_batch(unit) for unit in range(12)]
PROBED = [probed_batch(unit, versions=(0, 1, 2, 9)) for unit in range(12)]


LARGE = [probed_batch(unit, games=14, longest=8) for unit in range(2)]


def final_digest(trainer: Trainer) -> str:
    return digest(trainer.final_weights().weights)


def state_digest(trainer: Trainer) -> str:
    """Of everything that training goes on from."""
    state = trainer.state()
    arrays = "".join(digest(arrays) for arrays in state.arrays.values())
    return f"{arrays}{state.random_state}{state.td_error}{state.step}{state.transitions}".replace(" ", "")


def figures_of(trainer: Trainer, settings: Settings) -> Validation | None:
    """On the games that are kept out of training."""
    return Validator(settings, CPU).figures(trainer.state(), trainer.held_out_sample())


def finished(trainer: Trainer) -> Trainer:
    """`trainer` after its cooldown."""
    while not trainer.cooled_down:
        trainer.cool_down(7)
    return trainer


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


def test_two_processes_end_with_the_same_bits() -> None:
    code = """
from agent import loading
import torch
from tests.learner.test_trainer import whole_run
from tests.learner.units import small_mlp
torch.set_num_threads(1)
loading.NETWORKS["mlp"] = small_mlp
print(whole_run("mlp"), whole_run("table"))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert run.stdout.split() == [whole_run("mlp"), whole_run("table")]


def whole_run(network: str) -> str:
    return state_digest(finished(trained(small_settings(network, held_out=0.2), PROBED[:4])))


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


@pytest.mark.parametrize(("network", "units"), [("mlp", 5), ("table", 12)])
@pytest.mark.parametrize("buffer_size", [33, 100, 10_000])
def test_training_resumed_anywhere_ends_with_the_same_bits_and_figures(
    tmp_path: Path, network: str, units: int, buffer_size: int
) -> None:
    settings = small_settings(network, buffer_size=buffer_size, held_out=0.2, max_version_lag=1, cooldown=0.5)
    batches = PROBED[:units]
    undisturbed = Trainer(settings, WHITE, CPU)
    figures = [undisturbed.train_unit(batch) for batch in batches]
    assert figures[-1].probes.too_old > 0
    finished(undisturbed)
    with store_with(tmp_path / "experience.db", batches) as store:
        first = Trainer(settings, WHITE, CPU)
        while not first.cooled_down or first.next_unit < units:
            state = saved(first, tmp_path, on_disk=network == "table")
            resumed = Trainer(settings, WHITE, CPU)
            resumed.restore(state, store)
            assert resumed.stats().replay.size == min(state.transitions, buffer_size)
            again = [resumed.train_unit(batch) for batch in store.batches(resumed.next_unit)]
            assert again == figures[state.next_unit :]
            assert state_digest(finished(resumed)) == state_digest(undisturbed)
            assert figures_of(resumed, settings) == figures_of(undisturbed, settings)
            if first.next_unit < units:
                first.train_unit(batches[first.next_unit])
            else:
                first.cool_down(6)
        assert state_digest(first) == state_digest(undisturbed)


def saved(trainer: Trainer, path: Path, *, on_disk: bool) -> TrainerState:
    """The state of `trainer`, which has been on disk if need be."""
    if not on_disk:
        return trainer.state()
    checkpoints = CheckpointDirectory(path / f"checkpoints-{trainer.next_unit}-{trainer.step}", keep=1)
    checkpoints.save(trainer.state())
    state = checkpoints.load_newest()
    assert state is not None
    return state


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


@pytest.mark.parametrize("network", NETWORKS)
def test_a_saved_state_does_not_change_as_training_goes_on(network: str) -> None:
    trainer = trained(small_settings(network, samples_per_transition=0.5), BATCHES[:1])
    state = trainer.state()
    before = {group: digest(arrays) for group, arrays in state.arrays.items()}
    trainer.train_unit(BATCHES[1])
    assert {group: digest(arrays) for group, arrays in state.arrays.items()} == before
    group = "network" if network == "table" else "trained"
    assert digest(trainer.state().arrays[group]) != before[group]


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
    weights = {name: array.copy() for name, array in broken.arrays["trained"].items()}
    weights["value.bias"][:] = np.nan
    trainer._model.restore({**broken.arrays, "trained": weights})
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
    with pytest.raises(SettingsError, match="'mpl' is not known; known are: mlp, resnet, transformer, table"):
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


# The cooldown


def test_the_rate_rises_stays_level_and_falls_to_nothing_in_the_cooldown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.trainer.WARM_UP_STEPS", 10)
    trainer = Trainer(small_settings("table", cooldown=0.5), WHITE, CPU)
    rates: list[float] = []
    step = trainer._model.step

    def noted(sample: object, rate: float) -> None:
        rates.append(rate)
        step(sample, rate)

    monkeypatch.setattr(trainer._model, "step", noted)
    for batch in BATCHES:
        trainer.train_unit(batch)
    before = len(rates)
    assert rates == pytest.approx([min(1.0, (number + 1) / 10) for number in range(before)])
    finished(trainer)
    cooldown = before // 2
    assert len(rates) == trainer.step == before + cooldown
    assert rates[before:] == pytest.approx([(cooldown - number) / cooldown for number in range(cooldown)])
    trainer.cool_down(99)
    assert trainer.step == before + cooldown


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_the_cooldown_is_the_same_however_it_is_cut(steps: int) -> None:
    settings = small_settings("table")
    whole, cut = trained(settings, BATCHES), trained(settings, BATCHES)
    assert not whole.cooled_down
    finished(whole)
    while not cut.cooled_down:
        cut.cool_down(steps)
    assert state_digest(cut) == state_digest(whole)


def test_weights_go_out_in_the_cooldown_as_before_it() -> None:
    published: list[Publication] = []
    trainer = Trainer(small_settings("table", publish_every=3, cooldown=0.5), WHITE, CPU, published.append)
    for batch in BATCHES[:4]:
        trainer.train_unit(batch)
    finished(trainer)
    assert [publication.step for publication in published] == list(range(3, trainer.step + 1, 3))
    assert [publication.version for publication in published] == list(range(1, len(published) + 1))
    assert trainer.final_weights().version == -(-trainer.step // 3)


def test_a_trainer_without_anything_to_draw_has_no_cooldown() -> None:
    trainer = Trainer(small_settings("table"), WHITE, CPU)
    assert trainer.cooled_down
    trainer.train_unit(random_batch(0, games=0))
    assert trainer.cooled_down
    trainer.cool_down(5)
    assert trainer.step == 0


# Samples


@pytest.mark.parametrize("network", ["mlp", "table"])
def test_samples_prepared_beside_the_step_are_those_drawn_in_turn(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(network, held_out=0.2)
    beside = state_digest(finished(trained(settings, PROBED[:3])))
    monkeypatch.setattr(Trainer, "_prepared", lambda self, count: (self._draw() for _ in range(count)))
    assert state_digest(finished(trained(settings, PROBED[:3]))) == beside


def test_probes_are_drawn_by_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for share, expected in ((0.0, 0), (0.25, 4), (2.0, 32)):
        trainer = trained(small_settings("table", probe_share=share, samples_per_transition=0.001), PROBED[:2])
        sample = trainer._draw()
        assert (len(sample), len(sample.probes)) == (16, expected)
    clone = Trainer(small_settings("mlp"), WHITE, CPU, objective=Objective.CLONING)
    clone.train_unit(PROBED[0])
    assert clone._draw().inputs.offsets.shape == (16,)


# Games that are held out


def test_a_game_is_held_out_whole_by_its_moves_alone() -> None:
    batch = random_batch(0, games=400)
    rows = transitions(batch, Reward.SHAPED)
    out = held_out_rows(rows, 0.2, seed=1)
    by_game = [set(out[rows.game_numbers == number].tolist()) for number in np.unique(rows.game_numbers)]
    assert all(len(kinds) == 1 for kinds in by_game)
    assert np.mean([kinds == {True} for kinds in by_game]) == pytest.approx(0.2, abs=0.06)
    moved = dataclasses.replace(rows, game_numbers=rows.game_numbers + np.uint64(7), rewards=rows.rewards * 2)
    np.testing.assert_array_equal(held_out_rows(moved, 0.2, seed=1), out)
    assert (held_out_rows(rows, 0.2, seed=2) != out).any()
    assert not held_out_rows(rows, 0.0, seed=1).any()
    assert (out <= held_out_rows(rows, 0.6, seed=1)).all()  # who asks for more gets more of the same
    none = transitions(random_batch(0, games=0), Reward.SHAPED)
    assert len(held_out_rows(none, 0.5, seed=1)) == 0


def test_both_runs_of_a_game_that_an_agent_plays_both_sides_of_go_together() -> None:
    rows = transitions(played(1, games=12, side=Side.BOTH), Reward.SHAPED)
    out = held_out_rows(rows, 0.5, seed=3)
    for number in np.unique(rows.game_numbers):
        own = rows.game_numbers == number
        assert set(rows.sides[own].tolist()) == {0, 1}
        assert len(set(out[own].tolist())) == 1
    assert 0 < out.sum() < len(out)


@pytest.mark.parametrize("network", ["mlp", "table"])
def test_nothing_is_learned_from_games_that_are_held_out(network: str) -> None:
    settings = small_settings(network, held_out=0.4)
    weights = [final_digest(finished(trained(settings, batches))) for batches in (LARGE, disguised(settings))]
    assert weights[0] == weights[1]


def disguised(settings: Settings) -> list[Batch]:
    """The same units, all that is said of games that are held out changed, but for their moves."""
    changed = []
    for batch in LARGE:
        out = held_out_rows(transitions(batch, Reward.SHAPED), settings.held_out, settings.seed)
        assert 0 < out.sum() < len(out)
        boards = batch.positions.boards.copy()
        boards[out] = 12 - boards[out]
        probes = batch.probes
        scores = np.where(out[probes.rows], 77, probes.scores).astype(np.int16)
        changed.append(
            dataclasses.replace(
                batch,
                positions=dataclasses.replace(batch.positions, boards=boards),
                scores=np.where(out, 500, batch.scores).astype(np.int16),
                probes=dataclasses.replace(probes, scores=scores),
            )
        )
    return changed


def test_validation_is_over_the_held_out_games_and_changes_nothing() -> None:
    trainer = trained(small_settings(held_out=0.4), PROBED[:3])
    before = state_digest(trainer)
    figures = figures_of(trainer, small_settings(held_out=0.4))
    rows = [transitions(batch, Reward.SHAPED) for batch in PROBED[:3]]
    expected = sum(int(held_out_rows(part, 0.4, seed=5).sum()) for part in rows)
    held = sum(map(len, rows)) - 100  # rows that the buffer has dropped
    assert figures is not None
    assert figures.transitions in range(expected - held, expected + 1)
    assert figures.losses.prior > 0.0
    assert state_digest(trainer) == before
    none = small_settings(held_out=0.0)
    assert figures_of(trained(none, PROBED[:1]), none) is None


def test_figures_are_those_of_the_model_that_is_trained() -> None:
    settings = small_settings(held_out=0.4)
    trainer = trained(settings, PROBED[:3])
    sample = trainer.held_out_sample()
    assert figures_of(trainer, settings) == validate(trainer._model, sample)


def test_where_every_game_is_held_out_nothing_is_trained() -> None:
    trainer = finished(trained(small_settings("table", held_out=0.999999999999), BATCHES[:2]))
    assert (trainer.step, trainer.next_unit) == (0, 2)
    assert len(trainer.held_out_sample()) > 0
    assert len(trainer.final_weights().weights["q"]) == 0


# The age of probes


def test_probes_of_weights_that_are_too_old_are_counted_and_not_trained_on() -> None:
    settings = small_settings(max_version_lag=1, held_out=0.0, publish_every=3)
    trainer, without = Trainer(settings, WHITE, CPU), Trainer(settings, WHITE, CPU)
    dropped = 0
    for batch in PROBED[:5]:
        version = trainer.stats().version
        versions = batch.probes.versions.astype(int)
        lags = np.maximum(version - versions, 0)  # weights of the future are not too old
        found = trainer.train_unit(batch).probes
        assert found.probes == len(versions)
        assert found.too_old == (lags > 1).sum()
        assert (found.lag_sum, found.lag_min, found.lag_max) == (lags.sum(), lags.min(), lags.max())
        young = only(batch.probes, lags <= 1)
        assert without.train_unit(dataclasses.replace(batch, probes=young)).probes.too_old == 0
        dropped += found.too_old
    assert dropped > 20
    assert state_digest(trainer) == state_digest(without)
    assert trainer.train_unit(BATCHES[5]).probes.probes == 0


def only(probes: Probes, kept: np.ndarray) -> Probes:
    columns = {field.name: getattr(probes, field.name) for field in dataclasses.fields(probes)}
    positions = {name: columns.pop(name).take(kept) for name in ("after_positions", "next_positions")}
    return Probes(**{name: column[kept] for name, column in columns.items()}, **positions)


def test_probes_change_what_is_learned() -> None:
    settings = small_settings(held_out=0.0)
    assert final_digest(trained(settings, PROBED[:2])) != final_digest(trained(settings, BATCHES[:2]))

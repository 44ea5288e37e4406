import contextlib
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from agent.features import pseudo_legal_moves
from agent.networks import expected_scores
from agent.weights import digest
from common.errors import StoreError
from common.moves import MOVES
from common.settings import Objective, Reward
from learner.models import Estimates, Model
from learner.neural import AVERAGE_EVERY, BINS, Q_WEIGHT, VALUE_WEIGHT, NeuralSarsa, histograms
from learner.probe_buffer import ProbeSample
from learner.ranks import values_and_ranks
from learner.replay import Sample
from learner.table import TabularSarsa
from tests.learner.units import CPU, chain, random_positions, small_mlp


def model(discount: float = 0.5, **others: Any) -> NeuralSarsa:
    return NeuralSarsa(
        small_mlp(), small_mlp(), seed=3, discount=discount, learning_rate=4e-3, device=CPU, **others
    )


def probes(count: int = 8) -> ProbeSample:
    generator = np.random.default_rng(7)
    return ProbeSample(
        positions=random_positions(generator, count),
        actions=generator.integers(0, MOVES, count),
        rewards=generator.uniform(-0.2, 0.2, count).astype(np.float32),
        expected_scores=generator.uniform(0.35, 0.65, count).astype(np.float32),
        later_positions=random_positions(generator, count),
        later_expected_scores=generator.uniform(0.05, 0.95, count).astype(np.float32),
    )


def estimated(made: NeuralSarsa, sample: Sample | ProbeSample) -> Estimates:
    """What the model makes of the moves in `sample`."""
    return made.estimate(sample.positions, np.arange(len(sample)), sample.actions)


def stepped(made: NeuralSarsa, sample: Sample, steps: int) -> NeuralSarsa:
    prepared = made.prepare(sample)
    for _ in range(steps):
        made.step(prepared, 1.0)
    return made


@pytest.fixture(scope="module")
def learned() -> NeuralSarsa:
    """A model that has learned a chain with probes by heart, its rate falling at the end."""
    made = model()
    prepared = made.prepare(chain(probes=probes()))
    for step in range(400):
        made.step(prepared, min(1.0, (400 - step) / 200))
    return made


def test_networks_and_tables_are_models() -> None:
    models: list[Model] = [model(), TabularSarsa(discount=1.0, learning_rate=1.0, initial_value=0.0)]
    assert len(models) == 2


def test_q_learns_the_discounted_rewards_of_a_chain_and_those_of_its_probes(learned: NeuralSarsa) -> None:
    sample = chain()
    expected = np.zeros(len(sample) + 1)
    for row in range(len(sample) - 1, -1, -1):
        expected[row] = sample.rewards[row] + 0.5 * expected[row + 1]
    np.testing.assert_allclose(estimated(learned, sample).action_values, expected[:-1], atol=0.02)
    np.testing.assert_allclose(estimated(learned, probes()).action_values, probes().rewards, atol=0.02)


def test_values_learn_the_scores_of_positions_of_probes_and_of_what_came_of_them(learned: NeuralSarsa) -> None:
    sample, none = chain(), np.zeros(0, np.int64)
    np.testing.assert_allclose(estimated(learned, sample).values, sample.expected_scores, atol=0.02)
    np.testing.assert_allclose(estimated(learned, probes()).values, probes().expected_scores, atol=0.02)
    later = learned.estimate(probes().later_positions, none, none).values
    np.testing.assert_allclose(later, probes().later_expected_scores, atol=0.02)


def test_the_prior_learns_the_moves_that_were_played(learned: NeuralSarsa) -> None:
    sample = chain()
    rows, moves = pseudo_legal_moves(sample.positions, sample.actions)
    logits = learned.estimate(sample.positions, rows, moves).prior_logits
    for row, action in enumerate(sample.actions.tolist()):
        own = rows == row
        assert moves[own][logits[own].argmax()] == action


def test_a_probe_teaches_the_prior_nothing() -> None:
    one, other = chain(probes=probes()), chain(probes=dataclasses.replace(probes(), actions=probes().actions[::-1]))
    made = model()
    parts = [made._parts(made._network, made.prepare(sample))[2] for sample in (chain(), one, other)]
    assert parts[0] == parts[1] == parts[2]


def test_no_step_waits_for_a_number_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors on torch's device `meta` have shapes and no contents: whatever reads one of them fails."""
    made, meta = model(discount=0.9), torch.device("meta")
    made._network.to(meta), made._average.to(meta)
    made._losses = made._losses.to(meta)
    monkeypatch.setattr("learner.neural._precision", lambda _: contextlib.nullcontext())
    parts = made._parts(made._network, made.prepare(chain(probes=probes())))
    assert [part.shape for part in parts] == [()] * 3


def test_the_moves_that_are_possible_where_one_was_played_stand_first() -> None:
    sample = chain(probes=probes())
    prepared = model().prepare(sample)
    assert prepared.possible == len(pseudo_legal_moves(sample.positions, sample.actions)[0])
    assert prepared.inputs.rows[: prepared.possible].max() == prepared.played - 1
    assert prepared.inputs.rows[prepared.possible :].min() == prepared.played


@pytest.mark.parametrize(
    ("objective", "moved"),
    [(Objective.SARSA, {"q", "value", "prior"}), (Objective.CLONING, {"prior"}), (Objective.VALUE, {"value"})],
)
def test_an_objective_trains_its_own_heads_alone(objective: Objective, moved: set[str]) -> None:
    made = stepped(model(objective=objective, discount=0.0), chain(), 8)
    found = estimated(made, chain())
    values = found.values - np.float32(0.5)
    heads = {"q": found.action_values + values, "value": values, "prior": found.prior_logits}
    assert {name for name, values in heads.items() if abs(values).max() > 1e-4} == moved


@pytest.mark.parametrize("reward", Reward)
def test_targets_come_from_the_averaged_network_and_end_with_the_game(reward: Reward) -> None:
    made, sample = model(discount=0.9, reward=reward), chain(probes=probes())
    prepared = made.prepare(sample)
    stepped(made, sample, 5 * AVERAGE_EVERY)
    before = made._targets(prepared)
    for _ in range(AVERAGE_EVERY - 1):
        made.step(prepared, 1.0)
        assert torch.equal(made._targets(prepared), before)
    made.step(prepared, 1.0)
    after = made._targets(prepared)
    assert not torch.equal(after[:31], before[:31])
    following = made.estimate(sample.next_positions, np.arange(32), sample.next_actions).action_values
    expected = np.append(sample.rewards + 0.9 * following * sample.has_next, sample.probes.rewards)
    if reward is Reward.SHAPED:
        expected += np.append(sample.expected_scores, sample.probes.expected_scores)
    np.testing.assert_allclose(after.numpy(), expected.clip(0, 1), rtol=1e-5, atol=1e-6)


def test_without_a_discount_nothing_is_bootstrapped() -> None:
    made, sample = model(discount=0.0), chain()
    assert made.prepare(sample).following is None
    assert model(discount=0.5, objective=Objective.VALUE).prepare(sample).following is None
    expected = torch.from_numpy(sample.rewards + sample.expected_scores)
    assert torch.equal(made._targets(made.prepare(sample)), expected)


def test_where_outcomes_are_the_rewards_q_is_an_expected_score_of_its_own() -> None:
    sample = dataclasses.replace(chain(), rewards=np.linspace(0.2, 0.9, 32, dtype=np.float32))
    made = stepped(model(discount=0.0, reward=Reward.OUTCOME), sample, 200)
    np.testing.assert_allclose(estimated(made, sample).action_values, sample.rewards, atol=0.05)


def test_what_is_published_is_the_average_and_not_the_network_that_is_trained() -> None:
    made = stepped(model(), chain(), 3 * AVERAGE_EVERY + 1)
    state = made.state()
    assert digest(made.weights()) == digest(state["network"]) != digest(state["trained"])
    prepared = made.prepare(chain())
    for network, alike in ((made._average, True), (made._network, False)):
        values = expected_scores(network(prepared.inputs).value_logits).detach().numpy()
        assert np.allclose(values, estimated(made, chain()).values, atol=1e-6) is alike


def test_losses_are_means_over_the_steps_since_they_were_taken() -> None:
    made, sample = model(), chain()
    assert np.isnan(made.take_losses().q)
    stepped(made, sample, 1)
    first = made.take_losses()
    assert first.steps == 1
    counts = np.bincount(pseudo_legal_moves(sample.positions, sample.actions)[0])
    assert first.prior == pytest.approx(np.log(counts).mean(), abs=1e-5)  # the prior begins uniform
    assert first.value == first.q == pytest.approx(np.log(BINS), abs=1e-5)
    stepped(made, sample, 2)
    assert made.take_losses().steps == 2


def test_a_loss_that_is_no_number_shows() -> None:
    sample = chain()
    made = stepped(model(), dataclasses.replace(sample, rewards=np.full(len(sample), np.nan, np.float32)), 1)
    assert np.isnan(made.take_losses().q)


def test_losses_on_a_large_sample_are_those_of_its_rows_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.neural._ROWS", 40)  # looked at together
    made, sample = stepped(model(), chain(), 6), chain(100)
    before = {group: digest(arrays) for group, arrays in made.state().items()}
    loss, parts, ranks = made.judge(sample)
    rows = [made.judge(sample.take(slice(row, row + 1))) for row in range(100)]
    assert loss == pytest.approx(np.mean([row[0] for row in rows]), rel=1e-4)
    for name in ("q", "value", "prior"):
        assert getattr(parts, name) == pytest.approx(np.mean([getattr(row[1], name) for row in rows]), rel=1e-4)
    assert loss == pytest.approx(Q_WEIGHT * parts.q + VALUE_WEIGHT * parts.value + parts.prior, rel=1e-5)
    assert {group: digest(arrays) for group, arrays in made.state().items()} == before
    assert ranks.tolist() == [int(row[2][0]) for row in rows]
    assert ranks.tolist() == values_and_ranks(made, sample.positions, sample.actions)[1].tolist()
    assert made.take_losses().steps == 6


def test_ranks_are_taken_in_full_precision_where_training_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made, sample = stepped(model(), chain(), 6), chain(100)
    monkeypatch.setattr("learner.neural._precision", lambda _: torch.autocast("cpu", torch.bfloat16))
    ranks = made.judge(sample)[2]
    assert ranks.tolist() == values_and_ranks(made, sample.positions, sample.actions)[1].tolist()


def test_a_sample_prepared_early_gives_the_same_step_as_one_prepared_late() -> None:
    early, late = model(), model()
    samples = [chain(probes=probes()), chain(16), chain(20, probes(3))]
    prepared = [early.prepare(sample) for sample in samples]
    for sample, ready in zip(samples, prepared, strict=True):
        early.step(ready, 0.7)
        late.step(late.prepare(sample), 0.7)
    assert digest(early.state()["trained"]) == digest(late.state()["trained"])


def test_a_rate_of_nothing_changes_nothing() -> None:
    made = model()
    before = digest(made.state()["trained"])
    made.step(made.prepare(chain()), 0.0)
    assert digest(made.state()["trained"]) == before
    made.step(made.prepare(chain()), 0.5)
    assert digest(made.state()["trained"]) != before


@pytest.mark.parametrize("steps", [0, 1, AVERAGE_EVERY, 2 * AVERAGE_EVERY + 3])
def test_a_model_goes_on_from_its_state_with_the_same_bits(steps: int) -> None:
    made, again = stepped(model(), chain(), steps), model()
    again.restore(made.state())
    for one in (made, again):
        stepped(one, chain(24, probes()), 6)
    for group, arrays in made.state().items():
        assert digest(arrays) == digest(again.state()[group])


@pytest.mark.parametrize("group", ["network", "trained", "optimizer"])
def test_arrays_of_another_network_are_refused_whichever_they_are(group: str) -> None:
    state = {name: dict(arrays) for name, arrays in stepped(model(), chain(), 1).state().items()}
    state[group].popitem()
    with pytest.raises(StoreError, match=rf"^{group}: the arrays are not those of this network: \w"):
        model().restore(state)


def test_histograms_sum_to_one_and_their_mean_is_the_score() -> None:
    scores = torch.linspace(0.0, 1.0, 301)
    shares = histograms(scores)
    assert shares.shape == (301, BINS)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(301))
    means = shares @ ((torch.arange(BINS) + 0.5) / BINS)
    inner = (scores > 0.04) & (scores < 0.96)
    torch.testing.assert_close(means[inner], scores[inner], atol=1e-4, rtol=0.0)
    assert (means - scores).abs().max() < 0.7 / BINS  # at the ends by the part that is cut off
    torch.testing.assert_close(histograms(1.0 - scores), shares.flip(1), atol=1e-5, rtol=0.0)

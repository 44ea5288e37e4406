import dataclasses

import numpy as np
import torch

from learner.models import Model
from learner.networks import Mlp
from learner.neural import HUBER_DELTA, NeuralSarsa
from learner.replay import Sample
from learner.table import TabularSarsa
from tests.learner.units import CPU, random_positions


def model(discount: float = 0.5) -> NeuralSarsa:
    return NeuralSarsa(Mlp(), Mlp(), seed=3, discount=discount, learning_rate=1e-3, device=CPU)


def chain(count: int = 32) -> Sample:
    """`count` positions, each followed by the next one; the last of them ends the game."""
    generator = np.random.default_rng(0)
    positions = random_positions(generator, count)
    actions = generator.integers(0, 1880, count)
    return Sample(
        positions=positions,
        actions=actions,
        rewards=generator.uniform(-0.2, 0.2, count).astype(np.float32),
        has_next=np.arange(count) < count - 1,
        next_positions=positions.take(np.roll(np.arange(count), -1)),
        next_actions=np.roll(actions, -1),
    )


def test_networks_and_tables_are_models() -> None:
    models: list[Model] = [model(), TabularSarsa(discount=1.0, learning_rate=1.0, initial_value=0.0)]
    assert len(models) == 2


def test_q_learns_the_discounted_rewards_of_a_chain_and_the_prior_its_moves() -> None:
    made, sample = model(), chain()
    expected = np.zeros(len(sample) + 1)
    for row in range(len(sample) - 1, -1, -1):
        expected[row] = sample.rewards[row] + 0.5 * expected[row + 1]
    for step in range(600):
        made.step(sample)
        if step % 10 == 0:
            made.update_target()
    estimates = made.estimate(sample.positions, sample.actions.astype(np.uint16))
    np.testing.assert_allclose(estimates.values, expected[:-1], atol=0.005)
    assert (estimates.prior_logits.argmax(axis=1) == sample.actions).all()
    moves = np.unique(sample.actions)[::2]
    asked = made.estimate(sample.positions, sample.actions.astype(np.uint16), moves).prior_logits
    np.testing.assert_allclose(asked, estimates.prior_logits[:, moves], rtol=1e-4, atol=1e-4)
    values = made.action_values(sample.positions)
    np.testing.assert_allclose(values[np.arange(32), sample.actions], estimates.values, rtol=1e-4, atol=1e-5)


def test_targets_come_from_the_target_network_and_end_with_the_game() -> None:
    made, sample = model(discount=0.9), chain()
    for _ in range(20):
        made.step(sample)
    before = made._targets(sample)
    made.step(sample)
    assert torch.equal(made._targets(sample), before)
    assert before[-1] == sample.rewards[-1]
    made.update_target()
    after = made._targets(sample)
    assert not torch.equal(after, before)
    following = made.estimate(sample.next_positions, sample.next_actions.astype(np.uint16)).values
    expected = sample.rewards + 0.9 * following * sample.has_next
    np.testing.assert_allclose(after.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_losses_are_means_over_the_steps_since_they_were_taken() -> None:
    made, sample = model(), chain()
    assert np.isnan(made.take_losses().q)
    made.step(sample)
    first = made.take_losses()
    assert first.steps == 1
    assert abs(first.prior - np.log(1880)) < 1e-4  # the prior begins uniform
    errors = np.abs(sample.rewards)  # Q begins at zero
    huber = np.where(errors < HUBER_DELTA, errors**2 / 2, HUBER_DELTA * (errors - HUBER_DELTA / 2))
    assert abs(first.q - huber.mean()) < 1e-6
    made.step(sample)
    made.step(sample)
    assert made.take_losses().steps == 2


def test_a_loss_that_is_no_number_shows() -> None:
    made, sample = model(), chain()
    made.step(dataclasses.replace(sample, rewards=np.full(len(sample), np.nan, np.float32)))
    assert np.isnan(made.take_losses().q)

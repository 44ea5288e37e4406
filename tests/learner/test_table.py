import numpy as np
import pytest

from agent.weights import digest
from common.positions import Positions, empty
from learner.models import Estimates
from learner.probe_buffer import NO_PROBES
from learner.replay import Sample
from learner.table import TabularSarsa
from tests.learner.units import random_batch


def positions_of(states: list[int]) -> Positions:
    """State n is the board with one piece on square n."""
    positions = empty(len(states))
    positions.boards[np.arange(len(states)), states] = 1
    return positions


def sample(rows: list[tuple[int, int, float, int | None, int | None]]) -> Sample:
    """Rows of (state, action, reward, next state, next action), the last two None at the end."""
    return Sample(
        positions=positions_of([row[0] for row in rows]),
        actions=np.array([row[1] for row in rows]),
        rewards=np.array([row[2] for row in rows], np.float32),
        expected_scores=np.full(len(rows), 0.5, np.float32),
        has_next=np.array([row[3] is not None for row in rows]),
        next_positions=positions_of([row[3] or 0 for row in rows]),
        next_actions=np.array([row[4] or 0 for row in rows]),
        probes=NO_PROBES,
    )


def table(discount: float = 1.0, learning_rate: float = 1e-3, initial_value: float = 0.0) -> TabularSarsa:
    return TabularSarsa(discount=discount, learning_rate=learning_rate, initial_value=initial_value)


def play(generator: np.random.Generator, table: TabularSarsa, games: int) -> Sample:
    """Random walks (Sutton and Barto, example 6.2) over states 1-5 from 3: action 1 goes right, 0 left.

    Past 5 the game is won (reward 1), past 1 lost (0). Every transition is observed and returned.
    """
    rows = []
    for _ in range(games):
        states, actions = [3], []
        while 1 <= states[-1] <= 5:
            actions.append(int(generator.integers(2)))
            states.append(states[-1] + (1 if actions[-1] else -1))
        for at, action in enumerate(actions):
            last = at == len(actions) - 1
            reward = 1.0 if last and states[-1] == 6 else 0.0
            following = (None, None) if last else (states[at + 1], actions[at + 1])
            rows.append((states[at], action, reward, *following))
    made = sample(rows)
    table.observe(made.positions, made.actions)
    return made


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_q_converges_to_the_value_of_the_policy_that_played(discount: float) -> None:
    generator = np.random.default_rng(0)
    model = table(discount, learning_rate=0.003, initial_value=0.5)
    experience = play(generator, model, games=3000)
    for _ in range(6000):
        model.step(experience.take(generator.integers(0, len(experience), 64)), 1.0)
    # V = ½ (Q(left) + Q(right)) solves the linear equations of the random walk.
    right, left = np.eye(5, k=1), np.eye(5, k=-1)
    won = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    value = np.linalg.solve(np.eye(5) - discount * (right + left) / 2, won / 2)
    q = asked(model, [1, 2, 3, 4, 5], list(range(1880))).action_values.reshape(5, 1880)
    np.testing.assert_allclose(q[:, 1], discount * right @ value + won, atol=0.03)
    np.testing.assert_allclose(q[:, 0], discount * left @ value, atol=0.03)
    assert (q[:, 2:] == 0.5).all()  # never played


def test_q_of_a_single_game_becomes_its_discounted_rewards_exactly() -> None:
    model = table(discount=0.5, learning_rate=1.0)
    rows = [(1, 10, 0.25, 2, 20), (2, 20, 0.5, 3, 30), (3, 30, -1.0, None, None)]
    observe(model, rows)
    for _ in range(3):
        model.step(sample(rows), 1.0)
    values = asked(model, [1, 2, 3], [10, 20, 30]).action_values[[0, 4, 8]]
    assert values.tolist() == [0.25 + 0.5 * (0.5 - 0.5), 0.5 - 0.5, -1.0]


def observe(model: TabularSarsa, rows: list[tuple[int, int, float, int | None, int | None]]) -> None:
    made = sample(rows)
    model.observe(made.positions, made.actions.astype(np.uint16))


def asked(model: TabularSarsa, states: list[int], moves: list[int]) -> Estimates:
    """What the model makes of each of `moves` in each of `states`, one state after another."""
    rows, actions = np.divmod(np.arange(len(states) * len(moves)), len(moves))
    return model.estimate(positions_of(states), rows, np.array(moves)[actions])


def test_a_pair_that_stands_twice_in_a_sample_moves_once_towards_the_mean() -> None:
    model = table(learning_rate=1.0)
    rows = [(1, 10, 0.0, None, None), (1, 10, 1.0, None, None), (1, 10, 0.5, None, None)]
    observe(model, rows)
    model.step(sample(rows), 1.0)
    assert asked(model, [1], [10]).action_values[0] == 0.5
    assert model.take_losses().q == pytest.approx((0 + 1 + 0.25) / 3 / 2)


def test_the_first_step_goes_all_the_way_and_later_ones_are_smaller() -> None:
    model = table(learning_rate=0.4)
    observe(model, [(1, 10, 1.0, None, None)])
    model.step(sample([(1, 10, 1.0, None, None)]), 1.0)
    assert asked(model, [1], [10]).action_values[0] == 1.0
    model.step(sample([(1, 10, 0.0, None, None)]), 1.0)
    assert asked(model, [1], [10]).action_values[0] == pytest.approx(1 - 2**-0.7)
    for _ in range(50):
        model.step(sample([(1, 10, 0.0, None, None)]), 1.0)
    before = asked(model, [1], [10]).action_values[0]
    model.step(sample([(1, 10, 1.0, None, None)]), 1.0)  # never smaller than the learning rate
    assert asked(model, [1], [10]).action_values[0] == pytest.approx(before + 0.4 * (1 - before))


def test_the_prior_is_the_share_of_the_moves_played() -> None:
    model = table()
    observe(model, [(1, 10, 0.0, 1, 10), (1, 10, 0.0, 1, 20), (1, 20, 0.0, 1, 10), (1, 10, 0.0, None, None)])
    logits = asked(model, [1, 2], [10, 20, 30]).prior_logits
    np.testing.assert_allclose(np.exp(logits), [3.1, 1.1, 0.1, 0.1, 0.1, 0.1], rtol=1e-6)


def test_values_are_unknown_to_a_table() -> None:
    assert asked(table(), [1, 2], [10]).values.tolist() == [0.5, 0.5]


def test_losses_on_a_sample_are_half_the_squared_td_errors_and_change_nothing() -> None:
    model = table(discount=0.5, learning_rate=1.0)
    rows = [(1, 10, 0.25, 2, 20), (2, 20, 0.5, None, None), (9, 9, 1.0, 2, 20)]  # the last was never seen
    observe(model, rows[:2])
    model.step(sample(rows[1:2]), 1.0)
    before = model.state()
    loss, losses, ranks = model.judge(sample(rows))
    assert ranks.shape == (3,)
    assert loss == losses.q == pytest.approx(((0.25 + 0.25) ** 2 + 0.0 + (1.0 + 0.25) ** 2) / 3 / 2)
    assert model.take_losses().steps == 1
    assert {group: digest(arrays) for group, arrays in model.state().items()} == {
        group: digest(arrays) for group, arrays in before.items()
    }


def test_the_table_grows_past_its_first_allocation_and_comes_back_from_its_arrays() -> None:
    model = table(initial_value=0.5)
    for unit in range(60):
        batch = random_batch(unit, games=8)
        model.observe(batch.positions, batch.actions)
    assert len(model) > 4000
    again = table(initial_value=0.5)
    again.restore(model.state())
    batch = random_batch(7, games=8)
    rows = np.arange(len(batch))
    for name in ("action_values", "prior_logits"):
        np.testing.assert_array_equal(
            getattr(model.estimate(batch.positions, rows, batch.actions), name),
            getattr(again.estimate(batch.positions, rows, batch.actions), name),
        )
    assert (again._entries["previous"][: len(model)] == model._entries["previous"][: len(model)]).all()

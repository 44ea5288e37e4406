import numpy as np
import pytest

from common.positions import Positions, empty
from common.settings import Reward
from common.transitions import transitions
from learner.replay import Sample
from learner.table import TabularSarsa, position_hashes
from tests.learner.units import random_batch, random_positions


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
        has_next=np.array([row[3] is not None for row in rows]),
        next_positions=positions_of([row[3] or 0 for row in rows]),
        next_actions=np.array([row[4] or 0 for row in rows]),
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
    batch = transitions(random_batch(0, games=0), Reward.SHAPED)
    table.observe(type(batch)(**{**vars(batch), "positions": made.positions, "actions": made.actions}))
    return made


def part(sample: Sample, rows: np.ndarray) -> Sample:
    return Sample(
        positions=sample.positions.take(rows),
        actions=sample.actions[rows],
        rewards=sample.rewards[rows],
        has_next=sample.has_next[rows],
        next_positions=sample.next_positions.take(rows),
        next_actions=sample.next_actions[rows],
    )


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_q_converges_to_the_value_of_the_policy_that_played(discount: float) -> None:
    generator = np.random.default_rng(0)
    model = table(discount, learning_rate=0.003, initial_value=0.5)
    experience = play(generator, model, games=3000)
    for _ in range(6000):
        model.step(part(experience, generator.integers(0, len(experience), 64)))
    # V = ½ (Q(left) + Q(right)) solves the linear equations of the random walk.
    right, left = np.eye(5, k=1), np.eye(5, k=-1)
    won = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    value = np.linalg.solve(np.eye(5) - discount * (right + left) / 2, won / 2)
    q = model.action_values(positions_of([1, 2, 3, 4, 5]))
    np.testing.assert_allclose(q[:, 1], discount * right @ value + won, atol=0.03)
    np.testing.assert_allclose(q[:, 0], discount * left @ value, atol=0.03)
    assert (q[:, 2:] == 0.5).all()  # never played


def test_q_of_a_single_game_becomes_its_discounted_rewards_exactly() -> None:
    model = table(discount=0.5, learning_rate=1.0)
    rows = [(1, 10, 0.25, 2, 20), (2, 20, 0.5, 3, 30), (3, 30, -1.0, None, None)]
    observe(model, rows)
    for _ in range(3):
        model.step(sample(rows))
    values = model.estimate(positions_of([1, 2, 3]), np.array([10, 20, 30], np.uint16)).values
    assert values.tolist() == [0.25 + 0.5 * (0.5 - 0.5), 0.5 - 0.5, -1.0]


def observe(model: TabularSarsa, rows: list[tuple[int, int, float, int | None, int | None]]) -> None:
    made, batch = sample(rows), transitions(random_batch(0, games=0), Reward.SHAPED)
    model.observe(
        type(batch)(**{**vars(batch), "positions": made.positions, "actions": made.actions.astype(np.uint16)})
    )


def test_a_pair_that_stands_twice_in_a_sample_moves_once_towards_the_mean() -> None:
    model = table(learning_rate=1.0)
    rows = [(1, 10, 0.0, None, None), (1, 10, 1.0, None, None), (1, 10, 0.5, None, None)]
    observe(model, rows)
    model.step(sample(rows))
    assert model.action_values(positions_of([1]))[0, 10] == 0.5
    assert model.take_losses().q == pytest.approx((0 + 1 + 0.25) / 3 / 2)


def test_the_first_step_goes_all_the_way_and_later_ones_are_smaller() -> None:
    model = table(learning_rate=0.4)
    observe(model, [(1, 10, 1.0, None, None)])
    model.step(sample([(1, 10, 1.0, None, None)]))
    assert model.action_values(positions_of([1]))[0, 10] == 1.0
    model.step(sample([(1, 10, 0.0, None, None)]))
    assert model.action_values(positions_of([1]))[0, 10] == pytest.approx(1 - 2**-0.7)
    for _ in range(50):
        model.step(sample([(1, 10, 0.0, None, None)]))
    before = model.action_values(positions_of([1]))[0, 10]
    model.step(sample([(1, 10, 1.0, None, None)]))  # never smaller than the learning rate
    assert model.action_values(positions_of([1]))[0, 10] == pytest.approx(before + 0.4 * (1 - before))


def test_the_prior_is_the_share_of_the_moves_played() -> None:
    model = table()
    observe(model, [(1, 10, 0.0, 1, 10), (1, 10, 0.0, 1, 20), (1, 20, 0.0, 1, 10), (1, 10, 0.0, None, None)])
    logits = model.estimate(positions_of([1, 2]), np.array([10, 10], np.uint16)).prior_logits
    np.testing.assert_allclose(np.exp(logits[0, [10, 20, 30]]), [3.1, 1.1, 0.1], rtol=1e-6)
    assert len(set(logits[1].tolist())) == 1
    asked = model.estimate(positions_of([1, 2]), np.array([10, 10], np.uint16), np.array([20, 30])).prior_logits
    np.testing.assert_array_equal(asked, logits[:, [20, 30]])


def test_the_table_grows_past_its_first_allocation_and_comes_back_from_its_arrays() -> None:
    model = table(initial_value=0.5)
    for unit in range(60):
        model.observe(transitions(random_batch(unit, games=8), Reward.OUTCOME))
    assert len(model) > 4000
    again = table(initial_value=0.5)
    again.restore(model.state())
    batch = random_batch(7, games=8)
    for name in ("values", "prior_logits"):
        np.testing.assert_array_equal(
            getattr(model.estimate(batch.positions, batch.actions), name),
            getattr(again.estimate(batch.positions, batch.actions), name),
        )
    assert (again._entries["previous"][: len(model)] == model._entries["previous"][: len(model)]).all()


def test_positions_differ_by_board_castling_and_en_passant_alone() -> None:
    one = random_positions(np.random.default_rng(1), 1)
    same = random_positions(np.random.default_rng(1), 1)
    same.halfmove_clock[0] += 1
    same.repetitions[0] += 1
    assert position_hashes(one) == position_hashes(same)
    for change in ("boards", "castling", "en_passant"):
        other = random_positions(np.random.default_rng(1), 1)
        column = getattr(other, change)
        column.flat[0] = (int(column.flat[0]) + 1) % 8
        assert position_hashes(other) != position_hashes(one)


def test_the_hash_is_the_same_on_every_machine() -> None:
    assert position_hashes(positions_of([0, 63])).tolist() == [784_984_290_928_246_573, 6_231_392_638_012_876_250]

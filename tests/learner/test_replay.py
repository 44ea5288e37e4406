import numpy as np
import pytest

from common.settings import Reward
from common.transitions import END, Transitions, transitions
from learner.replay import ReplayBuffer
from tests.learner.units import random_batch


def unit(number: int, games: int = 4, longest: int = 20) -> Transitions:
    return transitions(random_batch(number, games, longest=longest), Reward.SHAPED)


def all_rows(units: list[Transitions]) -> list[tuple[bytes, int, float, bytes | None, int | None]]:
    """(board, action, reward, next board, next action) of every transition, in order."""
    rows = []
    for part in units:
        for row, following in enumerate(part.next_rows):
            end = following == END
            rows.append(
                (
                    part.positions.boards[row].tobytes(),
                    int(part.actions[row]),
                    float(part.rewards[row]),
                    None if end else part.positions.boards[following].tobytes(),
                    None if end else int(part.actions[following]),
                )
            )
    return rows


def content(buffer: ReplayBuffer) -> list[tuple[bytes, int, float, bytes | None, int | None]]:
    """The same, slot by slot."""
    sample = buffer.take(np.arange(len(buffer)))
    return [
        (
            sample.positions.boards[row].tobytes(),
            int(sample.actions[row]),
            float(sample.rewards[row]),
            sample.next_positions.boards[row].tobytes() if sample.has_next[row] else None,
            int(sample.next_actions[row]) if sample.has_next[row] else None,
        )
        for row in range(len(sample))
    ]


@pytest.mark.parametrize("capacity", [1, 7, 50, 100, 173, 10_000])
def test_the_ring_holds_the_last_transitions_each_with_its_next_one(capacity: int) -> None:
    units = [unit(number) for number in range(12)]
    buffer = ReplayBuffer(capacity)
    for count, part in enumerate(units, start=1):
        buffer.append(part)
        rows = all_rows(units[:count])
        expected = rows[-capacity:]
        assert len(buffer) == len(expected)
        start = len(rows) - len(expected)
        held = content(buffer)
        assert [held[(start + offset) % capacity] for offset in range(len(expected))] == expected


@pytest.mark.parametrize("capacity", [7, 50, 173])
def test_a_buffer_rebuilt_from_the_last_units_equals_the_undisturbed_one(capacity: int) -> None:
    units = [unit(number) for number in range(12)]
    undisturbed = ReplayBuffer(capacity)
    for part in units:
        undisturbed.append(part)
    held, kept = 0, []
    while held < capacity:
        kept.insert(0, units[len(units) - len(kept) - 1])
        held += len(kept[0])
    rebuilt = ReplayBuffer(capacity, first=sum(map(len, units)) - held)
    for part in kept:
        rebuilt.append(part)
    assert content(rebuilt) == content(undisturbed)
    rebuilt.append(unit(99))
    undisturbed.append(unit(99))
    assert content(rebuilt) == content(undisturbed)


def test_equal_generators_draw_equal_samples_uniformly() -> None:
    buffer = ReplayBuffer(64)
    for number in range(6):
        buffer.append(unit(number))
    first = buffer.sample(np.random.default_rng(3), 20_000)
    second = buffer.sample(np.random.default_rng(3), 20_000)
    np.testing.assert_array_equal(first.positions.boards, second.positions.boards)
    np.testing.assert_array_equal(first.rewards, second.rewards)
    _, counts = np.unique(first.positions.boards, axis=0, return_counts=True)
    assert len(counts) == 64
    assert abs(counts - 20_000 / 64).max() < 100


def test_memory_grows_with_the_transitions_and_not_with_the_capacity() -> None:
    buffer = ReplayBuffer(10**8)
    buffer.append(unit(0))
    assert buffer.stats().memory_bytes < 10**6
    for number in range(300):
        buffer.append(unit(number))
    stats = buffer.stats()
    assert stats.size > 8192
    assert stats.memory_bytes < 2 * 80 * stats.size


def test_a_next_decision_point_anywhere_but_in_the_next_row_is_refused() -> None:
    part = unit(0)
    part.next_rows[0] = 5
    with pytest.raises(ValueError, match="next row"):
        ReplayBuffer(10).append(part)

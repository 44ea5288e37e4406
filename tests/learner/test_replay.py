import dataclasses
from collections import Counter

import numpy as np
import pytest

from common.settings import Reward, Sampling
from common.transitions import END, Transitions, transitions
from learner.replay import ReplayBuffer
from tests.learner.units import random_batch

Row = tuple[bytes, int, float, float, bytes | None, int | None]


def unit(number: int, games: int = 4, longest: int = 20) -> Transitions:
    return transitions(random_batch(number, games, longest=longest), Reward.SHAPED)


def all_rows(units: list[Transitions]) -> list[Row]:
    """(board, action, reward, expected score, next board, next action) of every transition, in order."""
    rows = []
    for part in units:
        for row, following in enumerate(part.next_rows):
            end = following == END
            rows.append(
                (
                    part.positions.boards[row].tobytes(),
                    int(part.actions[row]),
                    float(part.rewards[row]),
                    float(part.expected_scores[row]),
                    None if end else part.positions.boards[following].tobytes(),
                    None if end else int(part.actions[following]),
                )
            )
    return rows


def content(buffer: ReplayBuffer) -> list[Row]:
    """The same, slot by slot."""
    sample = buffer.take(np.arange(len(buffer)))
    return [
        (
            sample.positions.boards[row].tobytes(),
            int(sample.actions[row]),
            float(sample.rewards[row]),
            float(sample.expected_scores[row]),
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
@pytest.mark.parametrize("sampling", Sampling)
def test_a_buffer_rebuilt_from_the_last_units_equals_the_undisturbed_one(capacity: int, sampling: Sampling) -> None:
    units = [repeated(unit(number), [1, 3, 1, 2] * 5) if number % 3 == 1 else unit(number) for number in range(12)]
    undisturbed = ReplayBuffer(capacity, sampling=sampling)
    for part in units:
        undisturbed.append(part, out(part))
    held, kept = 0, []
    while held < capacity:
        kept.insert(0, units[len(units) - len(kept) - 1])
        held += len(kept[0])
    rebuilt = ReplayBuffer(capacity, first=sum(map(len, units)) - held, sampling=sampling)
    for part in kept:
        rebuilt.append(part, out(part))
    for number in range(95, 100):
        assert content(rebuilt) == content(undisturbed)
        assert rebuilt.drawable == undisturbed.drawable
        assert rebuilt.held_out(99).tolist() == undisturbed.held_out(99).tolist()
        if rebuilt.drawable:
            draws = [buffer.draw(np.random.default_rng(number), 5000) for buffer in (rebuilt, undisturbed)]
            np.testing.assert_array_equal(*draws)
        rebuilt.append(unit(number))
        undisturbed.append(unit(number))


def out(part: Transitions) -> np.ndarray:
    return np.arange(len(part)) % 4 == 1


def boards_drawn(buffer: ReplayBuffer, slots: np.ndarray) -> dict[bytes, int]:
    """How often each board is in `slots`."""
    boards = buffer.take(np.arange(len(buffer))).positions.boards
    found: Counter[bytes] = Counter()
    for slot, count in enumerate(np.bincount(slots).tolist()):
        found[boards[slot].tobytes()] += count
    return +found


@pytest.mark.parametrize("sampling", Sampling)
def test_equal_generators_draw_equal_samples_uniformly(sampling: Sampling) -> None:
    buffer = ReplayBuffer(4096, sampling=sampling)  # so large that no two positions share a counter
    for number in range(2):
        buffer.append(unit(number))
    first = buffer.draw(np.random.default_rng(3), 300 * len(buffer))
    np.testing.assert_array_equal(first, buffer.draw(np.random.default_rng(3), 300 * len(buffer)))
    counts = np.bincount(first)
    assert len(counts) == len(buffer)
    assert abs(counts - 300).max() < 100


def repeated(part: Transitions, times: list[int]) -> Transitions:
    """The first rows of `part`, row n as often as `times` says, each a game of its own."""
    rows = np.repeat(np.arange(len(times)), times)
    return dataclasses.replace(
        part,
        positions=part.positions.take(rows),
        actions=part.actions[rows],
        rewards=part.rewards[rows],
        expected_scores=part.expected_scores[rows],
        next_rows=np.full(len(rows), END),
    )


TIMES = [1, 2, 40, 1, 7, 1, 3, 20]


@pytest.mark.parametrize("capacity", [75, 78, 10_000])  # the ring comes round, just does not, is never full
def test_distinct_positions_are_drawn_equally_often_however_often_they_occurred(capacity: int) -> None:
    buffer = ReplayBuffer(capacity)
    buffer.append(unit(3))
    for part in np.split(np.random.default_rng(0).permutation(np.repeat(np.arange(8), TIMES)), [20, 30, 31]):
        times = np.bincount(part, minlength=8).tolist()
        buffer.append(repeated(unit(5), times))
    drawn = boards_drawn(buffer, buffer.draw(np.random.default_rng(1), 40_000))
    held = boards_drawn(buffer, np.arange(len(buffer)))
    assert drawn.keys() == held.keys()
    assert len(held) < len(buffer)
    for count in drawn.values():
        assert count == pytest.approx(40_000 / len(held), abs=6 * (40_000 / len(held)) ** 0.5)


def test_by_frequency_each_occurrence_counts() -> None:
    buffer = ReplayBuffer(1000, sampling=Sampling.FREQUENCY)
    buffer.append(repeated(unit(5), TIMES))
    drawn = boards_drawn(buffer, buffer.draw(np.random.default_rng(1), 75_000))
    assert sorted(drawn.values()) == pytest.approx([1000 * times for times in sorted(TIMES)], rel=0.2)


@pytest.mark.parametrize("sampling", Sampling)
def test_what_is_held_out_is_never_drawn_and_weighs_nothing(sampling: Sampling) -> None:
    buffer = ReplayBuffer(150, sampling=sampling)
    for number in range(9):
        part = unit(number)
        buffer.append(part, np.arange(len(part)) % 3 == 0)
        out = buffer.held_out(10_000)
        assert buffer.drawable == len(buffer) - len(out)
        drawn = buffer.draw(np.random.default_rng(number), 3000)
        assert set(drawn.tolist()) == set(range(len(buffer))) - set(out.tolist())
    twice = ReplayBuffer(100, sampling=sampling)
    twice.append(repeated(unit(5), [1] * 8))
    twice.append(repeated(unit(5), [1, 1, 0, 0, 0, 0, 0, 0]), np.ones(2, np.bool_))
    counts = np.bincount(twice.draw(np.random.default_rng(0), 8000), minlength=10)
    assert counts[8:].tolist() == [0, 0]
    assert abs(counts[:8] - 1000).max() < 200


def test_of_many_rows_held_out_evenly_spaced_ones_are_given() -> None:
    buffer = ReplayBuffer(1000)
    part = unit(0, games=30)
    buffer.append(part, np.ones(len(part), np.bool_))
    assert buffer.held_out(10).tolist() == [number * len(part) // 10 for number in range(10)]
    assert buffer.held_out(len(part)).tolist() == list(range(len(part)))
    assert buffer.drawable == 0


def test_memory_grows_with_the_transitions_and_not_with_the_capacity() -> None:
    buffer = ReplayBuffer(10**8)
    buffer.append(unit(0))
    assert buffer.stats().memory_bytes < 10**6
    for number in range(300):
        buffer.append(unit(number))
    stats = buffer.stats()
    assert stats.size > 8192
    assert stats.memory_bytes < 2 * 150 * stats.size


@pytest.mark.parametrize("sampling", Sampling)
def test_the_memory_of_the_counters_counts(sampling: Sampling) -> None:
    buffer = ReplayBuffer(1000, sampling=sampling)
    arrays = [array for array in vars(buffer).values() if isinstance(array, np.ndarray)]
    assert buffer.stats().memory_bytes == sum(array.nbytes for array in arrays)
    assert len(arrays) == 3


def test_a_next_decision_point_anywhere_but_in_the_next_row_is_refused() -> None:
    part = unit(0)
    part.next_rows[0] = 5
    with pytest.raises(ValueError, match="next row"):
        ReplayBuffer(10).append(part)

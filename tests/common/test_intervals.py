import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.intervals import IntervalSet

NUMBERS = st.integers(0, 40)
INTERVALS = st.lists(st.tuples(NUMBERS, st.integers(0, 6)).map(lambda pair: (pair[0], sum(pair))), max_size=8)


def holds_invariant(numbers: IntervalSet) -> bool:
    pairs = list(numbers)
    return all(first <= last for first, last in pairs) and all(
        before[1] + 1 < after[0] for before, after in itertools.pairwise(pairs)
    )


@given(INTERVALS, st.lists(NUMBERS, max_size=40))
def test_it_is_a_set_of_numbers(intervals, added):
    numbers = IntervalSet(intervals)
    plain = {number for first, last in intervals for number in range(first, last + 1)}
    for number in added:
        assert numbers.add(number) == (number not in plain)
        plain.add(number)
        assert holds_invariant(numbers)
    assert numbers.count == len(plain)
    assert {number for first, last in numbers for number in range(first, last + 1)} == plain
    for number in range(60):
        assert (number in numbers) == (number in plain)
        assert numbers.first_missing(number) == next(n for n in range(number, 100) if n not in plain)


@given(INTERVALS)
def test_it_comes_back_from_its_intervals(intervals):
    numbers = IntervalSet(intervals)
    assert holds_invariant(numbers)
    assert list(IntervalSet(numbers)) == list(numbers)


def test_neighbours_join_into_one_interval():
    assert list(IntervalSet([(5, 6), (0, 1), (2, 4)])) == [(0, 6)]
    numbers = IntervalSet([(0, 1), (3, 4)])
    numbers.add(2)
    assert list(numbers) == [(0, 4)]


def test_memory_grows_with_gaps_not_with_members():
    numbers = IntervalSet([(0, 2**52)])
    assert numbers.count == 2**52 + 1
    assert numbers.first_missing() == 2**52 + 1
    assert len(list(numbers)) == 1


@pytest.mark.parametrize("interval", [(3, 2), (-1, 4), (-3, -2)])
def test_what_is_no_interval_is_refused(interval):
    with pytest.raises(ValueError, match="not an interval"):
        IntervalSet([interval])

import dataclasses

import numpy as np
import pytest

from common.positions import Positions
from common.settings import Reward
from common.transitions import ProbeTransitions, probe_transitions
from learner.probe_buffer import NO_PROBES, ProbeBuffer, ProbeSample
from tests.common.batches import POSITION_COLUMNS
from tests.learner.units import probed_batch

UNITS = [probed_batch(number, longest=12) for number in range(14)]
PROBES = [probe_transitions(batch, Reward.SHAPED) for batch in UNITS]
ROWS = [len(batch) for batch in UNITS]
NUMBERS = [int(number) for number in np.cumsum([0, *ROWS])]


def some(unit: int) -> np.ndarray:
    """Which of a unit's probes are kept: not every third one."""
    return np.arange(len(PROBES[unit])) % 3 != 1


def add(buffer: ProbeBuffer, unit: int) -> None:
    buffer.append(PROBES[unit], some(unit), NUMBERS[unit], NUMBERS[unit + 1])


def rows_of(positions: Positions) -> list[tuple[bytes, ...]]:
    columns = [getattr(positions, name) for name in POSITION_COLUMNS]
    return [tuple(column[row].tobytes() for column in columns) for row in range(len(positions))]


def described(probes: ProbeTransitions, row: int, *, replied: bool) -> tuple[object, ...]:
    later, score = (
        (probes.next_positions, probes.next_expected_scores)
        if replied
        else (probes.after_positions, probes.after_expected_scores)
    )
    return (
        rows_of(probes.positions)[row], int(probes.actions[row]), float(probes.rewards[row]),
        float(probes.expected_scores[row]), rows_of(later)[row], float(score[row]),
    )  # fmt: skip


def drawn(sample: ProbeSample) -> list[tuple[object, ...]]:
    return list(
        zip(
            rows_of(sample.positions), sample.actions.tolist(), sample.rewards.tolist(),
            sample.expected_scores.tolist(), rows_of(sample.later_positions), sample.later_expected_scores.tolist(),
            strict=True,
        )
    )  # fmt: skip


def expected(window: int, units: int) -> dict[tuple[object, ...], float]:
    """Every (probe, later position) of the last `window` transitions, with its share of the draws."""
    found = {}
    for unit in range(units):
        probes = PROBES[unit]
        for row in np.flatnonzero(some(unit)).tolist():
            if NUMBERS[unit] + int(probes.rows[row]) >= NUMBERS[units] - window:
                share = 0.5 if probes.has_next[row] else 1.0
                found[described(probes, row, replied=False)] = share
                if probes.has_next[row]:
                    found[described(probes, row, replied=True)] = share
    total = sum(found.values())
    return {probe: share / total for probe, share in found.items()}


@pytest.mark.parametrize("window", [1, 20, 60, 10_000])
def test_what_is_drawn_are_the_kept_probes_of_the_window_and_what_came_of_them(window: int) -> None:
    buffer = ProbeBuffer(window)
    for unit in range(len(UNITS)):
        add(buffer, unit)
        wanted = expected(window, unit + 1)
        if not wanted:
            assert len(buffer) == 0
            assert buffer.sample(np.random.default_rng(0), 5) is NO_PROBES
            continue
        count = 60 * len(wanted)
        probes = drawn(buffer.sample(np.random.default_rng(unit), count)) if unit % 4 == 1 else []
        for probe, share in wanted.items() if probes else ():
            assert probes.count(probe) == pytest.approx(count * share, abs=6 * (count * share) ** 0.5)
        assert set(probes) <= wanted.keys()


@pytest.mark.parametrize("window", [20, 60, 10_000])
def test_a_buffer_rebuilt_from_the_last_units_draws_what_the_undisturbed_one_draws(window: int) -> None:
    undisturbed = ProbeBuffer(window)
    for unit in range(10):
        add(undisturbed, unit)
    first = next(unit for unit in range(9, -1, -1) if unit == 0 or NUMBERS[10] - NUMBERS[unit] >= window)
    rebuilt = ProbeBuffer(window)
    for unit in range(first, 10):
        add(rebuilt, unit)
    for unit in range(10, 14):
        assert len(rebuilt) == len(undisturbed) > 0
        samples = [buffer.sample(np.random.default_rng(unit), 300) for buffer in (rebuilt, undisturbed)]
        assert drawn(samples[0]) == drawn(samples[1])
        for buffer in (rebuilt, undisturbed):
            add(buffer, unit)


def test_probes_leave_with_the_transitions_of_units_that_have_none() -> None:
    buffer = ProbeBuffer(30)
    add(buffer, 0)
    add(buffer, 1)
    kept = [NUMBERS[unit] + int(row) for unit in (0, 1) for row in PROBES[unit].rows[some(unit)]]
    for total in range(NUMBERS[2], NUMBERS[2] + 40):
        buffer.forget(total)
        assert len(buffer) == sum(number >= total - 30 for number in kept)
    assert len(buffer) == 0


def test_memory_does_not_grow_with_what_has_left_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.probe_buffer._FIRST_ALLOCATION", 16)
    buffer, kept = ProbeBuffer(50), np.ones(len(PROBES[0]), np.bool_)
    for unit in range(200):
        buffer.append(PROBES[0], kept, unit * ROWS[0], (unit + 1) * ROWS[0])
        assert len(buffer) <= 50
    assert len(buffer._slots) < 300
    assert drawn(buffer.sample(np.random.default_rng(0), 9))


def test_a_sample_is_a_copy() -> None:
    buffer = ProbeBuffer(1000)
    add(buffer, 0)
    before = drawn(buffer.sample(np.random.default_rng(0), 20))
    sample = buffer.sample(np.random.default_rng(0), 20)
    for field in dataclasses.fields(sample.positions):
        getattr(sample.positions, field.name)[:] = 0
    sample.rewards[:] = 7
    assert drawn(buffer.sample(np.random.default_rng(0), 20)) == before

from dataclasses import replace
from pathlib import Path

import pytest

from learner.evaluation import HeldOut, Validation
from learner.metrics import NO_PROBES, MetricsFile, ProbeMetrics, UnitMetrics, last_trained, read_metrics, summarise
from learner.models import Losses

VALIDATION = Validation(
    transitions=5,
    loss=3.5,
    losses=Losses(q=1.0, value=2.0, prior=0.5, gradient_norm=0.0, steps=1),
    match_top1=0.25,
    match_top3=0.5,
)


def unit(number: int, transitions: int = 10, outcomes: int = 10, steps: int = 2) -> UnitMetrics:
    some = transitions > 0
    return UnitMetrics(
        unit=number,
        transitions=3 * transitions,
        step=number * 2 + 2,
        held_out=HeldOut(
            transitions=transitions,
            td_error=float(number) if some else None,
            match_top1=0.25 if some else None,
            match_top3=0.5 if some else None,
            rank_correlation=0.1 * number if outcomes else None,
            outcomes=outcomes,
        ),
        losses=Losses(q=float(number), value=3.0, prior=2.0, gradient_norm=1.0, steps=steps)
        if steps
        else Losses(q=float("nan"), value=float("nan"), prior=float("nan"), gradient_norm=float("nan"), steps=0),
    )


def checkpoint(metrics: MetricsFile, step: int, figures: Validation | None = VALIDATION) -> None:
    metrics.end_interval(step)
    metrics.complete(figures)


def test_a_line_is_the_mean_of_its_units_by_their_rows_and_steps() -> None:
    line = summarise([unit(1, transitions=30, outcomes=0, steps=1), unit(2, 10, 5, 3), unit(3, 0, 0, 0)])
    assert (line.first_unit, line.last_unit, line.transitions, line.step, line.steps) == (1, 3, 120, 8, 4)
    assert line.td_error == pytest.approx((30 * 1 + 10 * 2) / 40)
    assert line.rank_correlation == pytest.approx(0.2)
    assert line.q_loss == pytest.approx((1 * 1 + 3 * 2) / 4)
    assert (line.value_loss, line.prior_loss) == (3.0, 2.0)


def test_figures_of_nothing_are_null() -> None:
    line = summarise([unit(0, transitions=0, outcomes=0, steps=0)])
    assert (line.td_error, line.rank_correlation, line.q_loss) == (None, None, None)


def test_an_interval_ends_after_its_units_and_at_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, units_per_line=4, next_unit=0)
    for number in range(6):
        metrics.add(unit(number))
    checkpoint(metrics, 12)
    checkpoint(metrics, 12, None)  # a line of nothing is none
    for number in range(6, 10):
        metrics.add(unit(number))
    checkpoint(metrics, 20)  # where the interval is full just then
    for number in range(10, 15):
        metrics.add(unit(number))
    lines = read_metrics(path)
    assert [(line.first_unit, line.last_unit) for line in lines] == [(0, 3), (4, 5), (6, 9), (10, 13)]
    assert [line.validation for line in lines] == [None, VALIDATION, VALIDATION, None]


def test_a_checkpoint_that_is_tried_again_gets_no_second_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, units_per_line=4, next_unit=0)
    metrics.add(unit(0))
    for step in (2, 2, 52, 102, 102, 102):  # 50 and 50 more of the cooldown
        checkpoint(metrics, step)
    lines = read_metrics(path)
    assert [(line.step, line.transitions > 0) for line in lines] == [(2, True), (52, False), (102, False)]
    assert last_trained(lines) == lines[0]
    assert last_trained([]) is None


def test_a_line_tells_the_age_of_the_probes_that_came() -> None:
    ages = [
        ProbeMetrics(probes=4, too_old=1, lag_sum=10, lag_min=1, lag_max=5),
        NO_PROBES,
        ProbeMetrics(probes=6, too_old=0, lag_sum=20, lag_min=2, lag_max=4),
    ]
    line = summarise([replace(unit(number), probes=probes) for number, probes in enumerate(ages)])
    assert (line.probes, line.probes_too_old) == (10, 1)
    assert (line.probe_lag_min, line.probe_lag_mean, line.probe_lag_max) == (1, 3.0, 5)
    line = summarise([unit(0)])
    assert (line.probes, line.probe_lag_min, line.probe_lag_mean, line.probe_lag_max) == (0, None, None, None)


def test_a_resumed_run_leaves_the_file_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, path = tmp_path / "undisturbed.jsonl", tmp_path / "metrics.jsonl"

    def run(file: Path, first: int, end: int) -> None:
        metrics = MetricsFile(file, units_per_line=4, next_unit=first, clock_ns=lambda: 7)
        for number in range(first, end):
            metrics.add(unit(number))
            if number % 10 == 9:
                checkpoint(metrics, 2 * number + 2)

    run(undisturbed, 0, 30)
    run(path, 0, 27)  # killed, after the checkpoint at unit 20
    with path.open("ab") as file:
        file.write(b'{"first_unit": 2')
    run(path, 20, 25)  # killed again
    run(path, 10, 30)  # the checkpoint at 20 was damaged
    assert path.read_bytes() == undisturbed.read_bytes()


def test_a_file_that_is_as_it_should_be_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, units_per_line=1, next_unit=0)
    metrics.add(unit(0))
    checkpoint(metrics, 2)
    inode = path.stat().st_ino
    MetricsFile(path, units_per_line=1, next_unit=1)
    assert path.stat().st_ino == inode
    assert read_metrics(tmp_path / "none.jsonl") == []

"""Calibration: Brier scores and reliability of known predictions."""

import pytest

from arena.calibration import Prediction, calibrate


def prediction(predicted: float, result: float, game: int = 0, ply: int = 0, sampled: bool = False) -> Prediction:
    return Prediction(predicted=predicted, result=result, game=game, ply=ply, sampled=sampled)


def test_the_brier_score_is_the_mean_squared_difference() -> None:
    found = calibrate("x", [prediction(1.0, 1.0), prediction(0.5, 0.0, game=1), prediction(0.5, 0.5, game=2)])
    assert found is not None
    assert found.brier.mean == pytest.approx(0.25 / 3)
    assert found.brier_sampled is None


def test_positions_that_the_reference_scored_are_told_apart() -> None:
    found = calibrate("x", [prediction(1.0, 0.0), prediction(0.5, 0.5, game=1, sampled=True)])
    assert found is not None
    assert found.brier_sampled is not None
    assert (found.brier_sampled.mean, found.brier_sampled.count) == (0.0, 1)


def test_reliability_sorts_predictions_into_bins() -> None:
    found = calibrate("x", [prediction(0.0, 0.0), prediction(0.04, 1.0, 1), prediction(1.0, 1.0, 2)])
    assert found is not None
    low, high = found.reliability
    assert (low.predicted, low.result.mean, low.result.count) == (pytest.approx(0.02), 0.5, 2)
    assert (high.predicted, high.result.mean, high.result.count) == (1.0, 1.0, 1)


def test_bands_of_plies_that_hold_nothing_are_left_out() -> None:
    found = calibrate("x", [prediction(0.5, 0.5, ply=3), prediction(0.5, 1.0, ply=200)])
    assert found is not None
    assert [band.start for band in found.by_ply] == [0, 80]


def test_nothing_is_not_calibrated() -> None:
    assert calibrate("x", []) is None

"""Calibration: predicted expected scores held against the results of the games, from the side to move's view.

The Brier score is the mean of (predicted - result)², results 0, ½ or 1: 0 is perfect, and a player who always
says ½ gets ¼ less a quarter of the share of draws. G. W. Brier, Monthly Weather Review 78 (1950), p. 1.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from arena.confidence import Estimate, mean_of_clusters
from arena.held_out import PLY_BANDS, band_of

BINS = 10
"""Bins of equal width that the reliability plot sorts predictions into."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A predicted expected score and the result it was for."""

    predicted: float
    result: float
    """0, ½ or 1."""
    game: int
    ply: int
    sampled: bool
    """Whether the reference scored this position too."""


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """Positions whose predictions fall into one bin."""

    predicted: float
    """Mean prediction."""
    result: Estimate
    """Mean result."""


class PlyBand(msgspec.Struct, frozen=True, kw_only=True):
    """Brier score of the positions from one ply on."""

    start: int
    brier: Estimate


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How well one source of predictions is calibrated."""

    source: str
    """Whose predictions."""
    brier: Estimate
    """Of all positions with a result."""
    brier_sampled: Estimate | None
    """Of those that the reference scored too; None where it scored none."""
    by_ply: list[PlyBand]
    reliability: list[ReliabilityBin]


def calibrate(source: str, predictions: Sequence[Prediction]) -> Calibration | None:
    """Return the calibration of n predictions; None of none."""
    brier = _brier(predictions)
    if brier is None:
        return None
    return Calibration(
        source=source,
        brier=brier,
        brier_sampled=_brier([prediction for prediction in predictions if prediction.sampled]),
        by_ply=_by_ply(predictions),
        reliability=_reliability(predictions),
    )


def _brier(predictions: Sequence[Prediction]) -> Estimate | None:
    return mean_of_clusters(
        [(prediction.predicted - prediction.result) ** 2 for prediction in predictions],
        [prediction.game for prediction in predictions],
    )


def _by_ply(predictions: Sequence[Prediction]) -> list[PlyBand]:
    bands = []
    for start in PLY_BANDS:
        brier = _brier([prediction for prediction in predictions if band_of(prediction.ply, PLY_BANDS) == start])
        if brier is not None:
            bands.append(PlyBand(start=start, brier=brier))
    return bands


def _reliability(predictions: Sequence[Prediction]) -> list[ReliabilityBin]:
    numbers = [min(int(prediction.predicted * BINS), BINS - 1) for prediction in predictions]
    bins = []
    for number in range(BINS):
        members = [prediction for prediction, own in zip(predictions, numbers, strict=True) if own == number]
        result = mean_of_clusters([member.result for member in members], [member.game for member in members])
        if result is not None:
            predicted = float(np.mean([member.predicted for member in members]))
            bins.append(ReliabilityBin(predicted=predicted, result=result))
    return bins

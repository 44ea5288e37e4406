"""Confidence: how far a figure that was measured on a sample may lie from the truth, as 95 % intervals.

Shares get Wilson's interval; means of what comes in clusters (positions of one game) a bootstrap over clusters.
Pure functions; reproducible, since the bootstrap's seed is fixed.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Z_95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""

RESAMPLES = 1000
_SEED = 4


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    count: int
    """How many observations it is the mean of."""

    @property
    def half_width(self) -> float:
        """Half the interval's width: what stands behind ±."""
        return (self.high - self.low) / 2


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share of `trials` ≥ 1.

    `successes` may be a sum of chances. E. B. Wilson, JASA 22 (1927), p. 209.
    """
    share = successes / trials
    squared = Z_95 * Z_95
    centre = (share + squared / (2 * trials)) / (1 + squared / trials)
    spread = (
        Z_95 * math.sqrt(share * (1 - share) / trials + squared / (4 * trials * trials)) / (1 + squared / trials)
    )
    return max(0.0, centre - spread), min(1.0, centre + spread)


def share(chances: Sequence[float] | npt.NDArray[np.float64]) -> Estimate | None:
    """Return the mean of chances in [0, 1], each observed independently, by Wilson; None of none."""
    count = len(chances)
    if count == 0:
        return None
    total = math.fsum(chances)
    low, high = wilson(min(total, count), count)
    return Estimate(mean=total / count, low=low, high=high, count=count)


def mean_of_clusters(
    values: Sequence[float] | npt.NDArray[np.float64], clusters: Sequence[int] | npt.NDArray[np.int64]
) -> Estimate | None:
    """Return the mean of n values, with the percentiles 2.5 and 97.5 of its bootstrap over their clusters.

    `clusters` [n] names the cluster of each value; whole clusters are drawn with replacement, 1,000 times. None
    of no value; of one cluster the interval is the mean itself. A. C. Davison and D. V. Hinkley, Bootstrap
    Methods and their Application (1997), section 3.8.
    """
    observed = np.asarray(values, np.float64)
    if len(observed) == 0:
        return None
    _, members = np.unique(np.asarray(clusters, np.int64), return_inverse=True)
    sums = np.bincount(members, weights=observed)
    counts = np.bincount(members)
    draws = np.random.default_rng(_SEED).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(mean=float(observed.mean()), low=float(low), high=float(high), count=len(observed))

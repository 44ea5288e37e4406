"""Intervals against published and simulated values."""

import numpy as np
import pytest

from arena.confidence import mean_of_clusters, share, wilson


def test_wilson_gives_the_values_of_the_literature() -> None:
    # E. B. Wilson's interval for 10 of 20, and for none of 10, as R's binom.wilson prints them.
    assert wilson(10, 20) == pytest.approx((0.2992980, 0.7007020), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((0.7224672, 1.0), abs=1e-6)


def test_a_share_of_nothing_is_none() -> None:
    assert share([]) is None
    assert mean_of_clusters([], []) is None


def test_a_share_counts_chances() -> None:
    estimate = share([0.5, 0.5, 1.0, 0.0])
    assert estimate is not None
    assert estimate.mean == 0.5
    assert estimate.count == 4
    assert estimate.low < 0.5 < estimate.high


def test_the_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        # 60 games of 5 positions; what positions of a game have in common is most of the variance.
        values = (random.normal(size=60)[:, None] + 0.3 * random.normal(size=(60, 5))).ravel()
        estimate = mean_of_clusters(values, np.repeat(np.arange(60), 5))
        assert estimate is not None
        covered += estimate.low <= 0.0 <= estimate.high
    assert 88 <= covered <= 99


def test_clusters_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(2).normal(size=50), 8)
    together = mean_of_clusters(values, np.repeat(np.arange(50), 8))
    apart = mean_of_clusters(values, np.arange(400))
    assert together is not None
    assert apart is not None
    assert together.half_width > 2 * apart.half_width


def test_one_cluster_has_no_interval() -> None:
    estimate = mean_of_clusters([0.0, 1.0], [7, 7])
    assert estimate is not None
    assert (estimate.low, estimate.mean, estimate.high) == (0.5, 0.5, 0.5)

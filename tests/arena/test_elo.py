"""Elo differences: published numbers, hand-computed ones, and what becomes of them at the edges."""

import math

import pytest

from arena.elo import elo_of, estimate, moments, score_of

# (counts, normalized Elo, Elo, half of the interval, likelihood of superiority): fastchess's own unit tests.
PUBLISHED_GAMES = [
    ((89, 123, 76), -20.76, None, None, 0.1553),
    ((96, 111, 136), 49.77, 40.70, 30.43, 0.9960),
    ((356, 0, 34), -508.44, None, None, None),
]
PUBLISHED_PAIRS = [
    ((34, 54, 31 + 32, 64, 75), 57.94, 55.58, 27.65, 1.0),
    ((332, 433, 457 + 41, 333, 334), -9.17, -8.64, 10.33, 0.0505),
    ((7895, 8757, 5485 + 200, 568, 9999), -19.01, -21.04, 2.95, None),
]


@pytest.mark.parametrize(("counts", "normalized", "elo", "error", "superiority"), PUBLISHED_GAMES)
def test_games_give_the_published_numbers(counts, normalized, elo, error, superiority) -> None:
    check(estimate(counts), normalized, elo, error, superiority)


@pytest.mark.parametrize(("counts", "normalized", "elo", "error", "superiority"), PUBLISHED_PAIRS)
def test_pairs_give_the_published_numbers(counts, normalized, elo, error, superiority) -> None:
    found = estimate(games_like(counts), counts)
    assert found is not None
    assert found.paired
    check(found, normalized, elo, error, superiority)


def check(found, normalized, elo, error, superiority) -> None:
    assert found.normalized_elo == pytest.approx(normalized, abs=0.01)
    if elo is not None:
        assert found.elo == pytest.approx(elo, abs=0.01)
        assert (found.high - found.low) / 2 == pytest.approx(error, abs=0.01)
    if superiority is not None:
        assert found.superiority == pytest.approx(superiority, abs=1e-4)


def games_like(pairs):
    """Any wins, draws and losses that make these pairs."""
    ll, ld, even, dw, ww = pairs
    return (2 * ll + ld, ld + 2 * even + dw, 2 * ww + dw)


def test_a_score_of_three_quarters_is_191_elo() -> None:
    assert elo_of(0.75) == pytest.approx(400 * math.log10(3))
    assert score_of(elo_of(0.75)) == pytest.approx(0.75)


def test_moments_are_those_computed_by_hand() -> None:
    assert moments((1, 2, 1), (0.0, 0.5, 1.0)) == (0.5, 0.125)


def test_all_games_won_give_a_bound_from_below_and_no_infinity() -> None:
    found = estimate((0, 0, 200), (0, 0, 0, 0, 100))
    assert (found.elo, found.high, found.normalized_elo) == (None, None, None)
    assert found.low == pytest.approx(elo_of(0.05 ** (1 / 100)))
    assert found.superiority > 0.999
    assert str(found) == "at least +607 Elo (95 %)"


def test_all_games_lost_give_a_bound_from_above() -> None:
    found = estimate((200, 0, 0), (100, 0, 0, 0, 0))
    assert (found.elo, found.low) == (None, None)
    assert found.high == pytest.approx(-607, abs=1)
    assert str(found) == "at most -607 Elo (95 %)"


def test_one_draw_among_wins_says_no_more_than_wins_alone() -> None:
    nearly = estimate((0, 1, 199), (0, 0, 0, 1, 99))
    assert nearly.low < estimate((0, 0, 200), (0, 0, 0, 0, 100)).low < nearly.elo < nearly.high


def test_only_draws_are_a_difference_of_nothing_within_an_interval() -> None:
    found = estimate((0, 20, 0), (0, 0, 10, 0, 0))
    assert found.elo == 0
    assert found.superiority == 0.5
    assert found.low < -100 < 100 < found.high


def test_an_odd_game_makes_it_trinomial() -> None:
    found = estimate((1, 1, 3), (0, 0, 1, 0, 1))
    assert not found.paired
    assert found.score == pytest.approx(0.7)


def test_pairs_from_lopsided_openings_have_narrower_bars_than_games() -> None:
    pairs = (0, 5, 90, 5, 0)  # in 90 of 100 openings White wins whoever plays it
    games = (95, 10, 95)
    by_pairs, by_games = estimate(games, pairs), estimate(games)
    assert by_pairs.high < by_games.high / 3


def test_no_games_give_no_estimate() -> None:
    assert estimate((0, 0, 0)) is None

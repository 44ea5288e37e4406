"""The sequential test: ratios that fastchess publishes, bounds, and what it stops for."""

import math
import random

import pytest

from arena.elo import GAME_SCORES, score_of
from arena.sprt import Hypothesis, Model, Sprt, SprtState, log_likelihood_ratio
from common.errors import SettingsError

# (counts, elo0, elo1, ratio): fastchess's own unit tests, to two decimals.
PUBLISHED_PAIRS = [
    (Model.NORMALIZED, (365, 16618, 36029 + 200, 16974, 390), 0, 2, 2.25),
    (Model.NORMALIZED, (127, 4883, 10311 + 401, 5150, 104), -1.75, 0.25, 3.01),
    (Model.LOGISTIC, (223, 9863, 20279 + 1000, 10037, 246), 0.5, 2.5, -3.07),
    (Model.LOGISTIC, (871, 26175, 55003 + 980, 26678, 821), 0, 2, -4.98),
]
PUBLISHED_GAMES = [
    (Model.NORMALIZED, (36027, 68692, 36433), 0, 2, 0.92),
    (Model.NORMALIZED, (10650, 20431, 10871), -1.75, 0.25, 2.30),
    (Model.LOGISTIC, (21184, 40708, 21404), 0.5, 2.5, -1.57),
    (Model.LOGISTIC, (57030, 106593, 57433), 0, 2, -2.59),
]


@pytest.mark.parametrize(("model", "counts", "elo0", "elo1", "ratio"), PUBLISHED_PAIRS)
def test_pairs_give_the_published_ratios(model, counts, elo0, elo1, ratio) -> None:
    sprt = Sprt(elo0=elo0, elo1=elo1, model=model)
    assert sprt.log_likelihood_ratio(counts) == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize(("model", "counts", "elo0", "elo1", "ratio"), PUBLISHED_GAMES)
def test_games_give_the_published_ratios(model, counts, elo0, elo1, ratio) -> None:
    sprt = Sprt(elo0=elo0, elo1=elo1, model=model)
    assert log_likelihood_ratio(counts, GAME_SCORES, sprt) == pytest.approx(ratio, rel=0.01)


def test_the_usual_errors_give_the_usual_bounds() -> None:
    assert Sprt().lower == pytest.approx(-2.944, abs=1e-3)
    assert Sprt().upper == pytest.approx(2.944, abs=1e-3)


def test_pairs_all_won_give_the_ratio_computed_by_hand() -> None:
    # Behind 104 won pairs, the likeliest of mean ½ has half of its mass at 0, half at 1: 1 / (2 · score of 10 Elo).
    expected = 104 * math.log(score_of(10) / 0.5)
    assert Sprt().log_likelihood_ratio((0, 0, 0, 0, 104)) == pytest.approx(expected, abs=1e-3)


def test_nothing_played_is_no_evidence() -> None:
    assert Sprt().log_likelihood_ratio((0, 0, 0, 0, 0)) == 0


@pytest.mark.parametrize(("elo", "accepted"), [(-30, Hypothesis.H0), (60, Hypothesis.H1)])
def test_a_plain_difference_is_accepted_soon(elo: float, accepted: Hypothesis) -> None:
    sprt, draw = Sprt(elo0=0, elo1=30), random.Random(1)
    win = 0.35 + elo / 400 / 2
    counts, verdict = [0] * 5, None
    while verdict is None:
        pair = sum(draw.choices((0, 1, 2), (0.65 - win, 0.35, win), k=2))
        counts[pair] += 1
        verdict = sprt.verdict(sprt.log_likelihood_ratio(counts))
    assert verdict is accepted
    assert sum(counts) < 500


@pytest.mark.parametrize("wrong", [{"elo0": 5, "elo1": 5}, {"alpha": 0.0}, {"alpha": 0.6, "beta": 0.5}])
def test_bounds_that_make_no_test_are_refused(wrong) -> None:
    with pytest.raises(SettingsError, match="SPRT"):
        Sprt(**wrong)


def test_its_state_reads_as_engine_testers_print_it() -> None:
    state = SprtState(sprt=Sprt(), log_likelihood_ratio=3.0, accepted=Hypothesis.H1)
    assert str(state) == "LLR 3.00 (-2.94, 2.94) [0, 10], H1 accepted"

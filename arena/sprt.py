"""Sequential probability ratio test: stop a match as soon as it is plain which of two Elo differences is nearer.

The generalized test (GSPRT) on pairs of games: the log-likelihood ratio of the most likely distributions of pair
scores under H1 (elo1) and under H0 (elo0). Called by arena.match after each pair; never plays.

Sources: M. Van den Bergh, "A note on the maximum likelihood estimator for multinomial distributions" (proposition
1.1), https://www.cantate.be/Fishtest/support_MLE_multinomial.pdf; "Comments on normalized Elo" (section 4.1),
https://www.cantate.be/Fishtest/normalized_elo_practical.pdf; A. Wald, "Sequential tests of statistical hypotheses"
(1945) for the bounds. Fishtest and fastchess compute the same numbers.
"""

import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from arena.elo import NORMALIZED_ELO, PAIR_SCORES, moments, score_of
from common.errors import SettingsError

_NEVER = 1e-3
"""What stands for a count of 0, as in Fishtest, so that every outcome stays possible."""

_BISECTIONS = 60
_ROUNDS_MAX = 50
_CLOSE = 1e-9


class Model(StrEnum):
    """What elo0 and elo1 are measured in."""

    LOGISTIC = "logistic"
    """Plain Elo."""
    NORMALIZED = "normalized"
    """Elo by standard deviations of a game's score."""


class Hypothesis(StrEnum):
    """What a test accepted."""

    H0 = "H0"
    H1 = "H1"


class Sprt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test of elo1 (H1) against elo0 (H0); raises SettingsError for bounds that make no test."""

    elo0: float = 0.0
    elo1: float = 10.0
    alpha: float = 0.05
    """Probability of accepting H1 where H0 is right."""
    beta: float = 0.05
    """Probability of accepting H0 where H1 is right."""
    model: Model = Model.LOGISTIC

    def __post_init__(self) -> None:
        if not self.elo0 < self.elo1:
            raise SettingsError(f"SPRT: elo0={self.elo0:g} must be below elo1={self.elo1:g}")
        if not (0 < self.alpha < 1 and 0 < self.beta < 1 and self.alpha + self.beta < 1):
            raise SettingsError("SPRT: alpha and beta must be above 0, and below 1 together")

    @property
    def lower(self) -> float:
        """The log-likelihood ratio at which H0 is accepted."""
        return math.log(self.beta / (1 - self.alpha))

    @property
    def upper(self) -> float:
        """The log-likelihood ratio at which H1 is accepted."""
        return math.log((1 - self.beta) / self.alpha)

    def log_likelihood_ratio(self, pairs: Sequence[int]) -> float:
        """Return how much likelier the counts of pairs (LL, LD, DD or LW, DW, WW) are under H1 than under H0."""
        if not sum(pairs):
            return 0.0
        return log_likelihood_ratio([count or _NEVER for count in pairs], PAIR_SCORES, self)

    def verdict(self, ratio: float) -> Hypothesis | None:
        """Return what is accepted at a log-likelihood ratio; None: the match must go on."""
        if ratio >= self.upper:
            return Hypothesis.H1
        return Hypothesis.H0 if ratio <= self.lower else None


class SprtState(msgspec.Struct, frozen=True, kw_only=True):
    """How a test stands."""

    sprt: Sprt
    log_likelihood_ratio: float
    accepted: Hypothesis | None
    """None: undecided."""

    def __str__(self) -> str:
        """Return it as engine testers print it: `LLR 1.52 (-2.94, 2.94) [0, 10]`."""
        sprt = self.sprt
        ending = f", {self.accepted} accepted" if self.accepted else ""
        bounds = f"({sprt.lower:.2f}, {sprt.upper:.2f}) [{sprt.elo0:g}, {sprt.elo1:g}]"
        return f"LLR {self.log_likelihood_ratio:.2f} {bounds}{ending}"


def log_likelihood_ratio(counts: Sequence[float], scores: Sequence[float], sprt: Sprt) -> float:
    """Return the ratio for `counts`, all above 0, of trials that scored `scores` (pairs, or single games)."""
    total = sum(counts)
    shares = [count / total for count in counts]
    if sprt.model is Model.LOGISTIC:
        under0, under1 = (_with_mean(shares, scores, score_of(elo)) for elo in (sprt.elo0, sprt.elo1))
    else:
        games_per_trial = 2 if len(scores) == len(PAIR_SCORES) else 1
        unit = math.sqrt(games_per_trial) / NORMALIZED_ELO
        under0, under1 = (_with_t_value(shares, scores, elo * unit) for elo in (sprt.elo0, sprt.elo1))
    return sum(count * math.log(one / none) for count, one, none in zip(counts, under1, under0, strict=True))


def _with_mean(shares: Sequence[float], scores: Sequence[float], mean: float) -> list[float]:
    """Return the likeliest distribution of mean `mean` behind observed `shares`."""
    return _reweighted(shares, [score - mean for score in scores])


def _with_t_value(shares: Sequence[float], scores: Sequence[float], t: float) -> list[float]:
    """Return the likeliest distribution with (mean - ½) / deviation = t behind observed `shares`, by iteration."""
    found = [1 / len(scores)] * len(scores)
    for _ in range(_ROUNDS_MAX):
        before = found
        mean, variance = moments(before, scores)
        sigma = math.sqrt(variance)
        found = _reweighted(
            shares, [score - 0.5 - t * sigma * (1 + ((score - mean) / sigma) ** 2) / 2 for score in scores]
        )
        if max(abs(new - old) for new, old in zip(found, before, strict=True)) < _CLOSE:
            break
    return found


def _reweighted(shares: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """Return p / (1 + θ d) for each share p and deviation d, with the θ at which Σ p d / (1 + θ d) is 0."""
    low, high = -1 / max(deviations), -1 / min(deviations)
    for _ in range(_BISECTIONS):
        theta = (low + high) / 2
        # The sum falls all the way from one pole to the other.
        rest = sum(share * d / (1 + theta * d) for share, d in zip(shares, deviations, strict=True))
        low, high = (theta, high) if rest > 0 else (low, theta)
    return [share / (1 + theta * d) for share, d in zip(shares, deviations, strict=True)]

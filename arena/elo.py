"""Elo difference of two players from the games between them, with error bars from pairs of games.

Two games from one opening, each player once with White, make a pair: a lopsided opening then adds no variance.
A pair scores 0, ½, 1, 1½ or 2, and the five counts (pentanomial) give the variance as it is, where wins, draws
and losses (trinomial) would overstate it. Pure arithmetic; called by arena.match and report cards.

Sources: M. Van den Bergh, "Comments on normalized Elo", https://www.cantate.be/Fishtest/normalized_elo_practical.pdf
(normalized Elo, pairs); the interval and the likelihood of superiority as fastchess and Fishtest print them; E. B.
Wilson, "Probable inference", JASA 22 (1927), pages 209-212, for scores so lopsided that those break down.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec

PAIR_SCORES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Score of a game, on average, in the five kinds of pairs: LL, LD, LW or DD, DW, WW."""

GAME_SCORES = (0.0, 0.5, 1.0)
"""Score of a game: L, D, W."""

NORMALIZED_ELO = 800 / math.log(10)
"""Normalized Elo of one standard deviation of a game's score above one half."""

_LOPSIDED = 1.15
"""Longer half of an interval, against the mean of both, from which on ± would mislead."""

_NORMAL = NormalDist()
_Z_TWO_SIDED = _NORMAL.inv_cdf(0.975)


class EloEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """How much stronger a player is than its opponent; all bounds at 95 %."""

    score: float
    """Share of the points that the player made, 0 to 1."""
    elo: float | None
    """Difference that the score stands for; None for a score of 0 or 1, for which it has no bound."""
    low: float | None
    """Lower end of the interval; None: no bound. With every point made, the one-sided bound."""
    high: float | None
    """Upper end; None: no bound. With no point made, the one-sided bound."""
    normalized_elo: float | None
    """Elo in standard deviations of a game's score, whatever the share of draws; None without variance."""
    superiority: float
    """Likelihood that the player is the stronger one (LOS), 0 to 1."""
    paired: bool
    """Whether the variance is that of pairs; else of single games."""

    def __str__(self) -> str:
        """Return it as one prints it: `+35 ± 12 Elo`, `at least +607 Elo (95 %)`."""
        if self.elo is None:
            end, word = (self.low, "at least") if self.score > 0.5 else (self.high, "at most")
            return f"{word} {end:+.0f} Elo (95 %)" if end is not None else "no Elo yet"
        low, high = self.low, self.high
        if low is None or high is None or max(high - self.elo, self.elo - low) > _LOPSIDED * (high - low) / 2:
            ends = ("-∞" if low is None else f"{low:+.0f}", "+∞" if high is None else f"{high:+.0f}")
            return f"{self.elo:+.0f} ({ends[0]} to {ends[1]}) Elo"
        return f"{self.elo:+.0f} ± {(high - low) / 2:.0f} Elo"


def estimate(games: Sequence[int], pairs: Sequence[int] = ()) -> EloEstimate | None:
    """Return the difference from counts of games (L, D, W) and of the pairs among them (LL, LD, DD or LW, DW, WW).

    All of the games count for the score where some are in no pair: then they are taken one by one (trinomial).
    None without games.
    """
    count = sum(games)
    if not count:
        return None
    paired = 2 * sum(pairs) == count
    counts, scores = (pairs, PAIR_SCORES) if paired else (games, GAME_SCORES)
    trials = sum(counts)
    score, variance = moments(counts, scores)
    low, high = _interval(score, variance, trials)
    per_game = math.sqrt(2 * variance if paired else variance)
    return EloEstimate(
        score=score,
        elo=elo_of(score),
        low=elo_of(low),
        high=elo_of(high),
        normalized_elo=(score - 0.5) / per_game * NORMALIZED_ELO if variance > 0 else None,
        superiority=_superiority(score, variance, trials),
        paired=paired,
    )


def elo_of(score: float) -> float | None:
    """Return the Elo difference that an expected score stands for; None for 0 and 1."""
    if not 0 < score < 1:
        return None
    return -400 * math.log10(1 / score - 1) + 0.0


def score_of(elo: float) -> float:
    """Return the expected score of a player who is `elo` stronger."""
    return 1 / (1 + 10 ** (-elo / 400))


def moments(counts: Sequence[float], scores: Sequence[float]) -> tuple[float, float]:
    """Return mean and variance of a score that came out as `scores` `counts` times."""
    total = sum(counts)
    mean = sum(count * score for count, score in zip(counts, scores, strict=True)) / total
    return mean, sum(count * (score - mean) ** 2 for count, score in zip(counts, scores, strict=True)) / total


def _interval(score: float, variance: float, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of the expected score from `trials` pairs or games.

    The normal one while it stays within (0, 1). Else Wilson's, which takes the largest variance that the score
    allows; and the exact one-sided bound, 0.05^(1/trials), where every point was made, or none.
    """
    if score in (0.0, 1.0):
        bound = 0.05 ** (1 / trials)
        return (bound, 1.0) if score else (0.0, 1 - bound)
    error = _Z_TWO_SIDED * math.sqrt(variance / trials)
    if variance > 0 and score > error and score + error < 1:
        return score - error, score + error
    square = _Z_TWO_SIDED**2
    centre = (score + square / (2 * trials)) / (1 + square / trials)
    spread = math.sqrt(score * (1 - score) / trials + square / (4 * trials**2)) * _Z_TWO_SIDED
    return centre - spread / (1 + square / trials), centre + spread / (1 + square / trials)


def _superiority(score: float, variance: float, trials: int) -> float:
    if variance == 0:
        # All pairs alike: what is left to chance is the sign, as in a sign test.
        return 0.5 if score == 0.5 else (1 - 0.5**trials if score > 0.5 else 0.5**trials)
    return _NORMAL.cdf((score - 0.5) / math.sqrt(variance / trials))

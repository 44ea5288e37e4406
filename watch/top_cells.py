"""Figures as they stand in the cells of `rookery top`: short, aligned, and the same without colour."""

from collections.abc import Sequence
from itertools import pairwise

BARS = "▁▂▃▄▅▆▇█"
UNKNOWN = "-"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a curve as `width` bars at most, from its least value to its greatest."""
    shown = _thinned(values, width)
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high <= low:
        return BARS[len(BARS) // 2] * len(shown)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in shown)


def _thinned(values: Sequence[float], width: int) -> list[float]:
    """Return at most `width` values that stand for all: means of runs of equal length."""
    if len(values) <= width:
        return list(values)
    edges = [len(values) * number // width for number in range(width + 1)]
    return [sum(values[first:last]) / (last - first) for first, last in pairwise(edges)]


def count(value: float | None) -> str:
    """Return a count in at most five characters: 950, 1.2k, 34k, 5.6M."""
    if value is None:
        return UNKNOWN
    for unit in ("", "k", "M", "G"):
        if value < 999.5:
            return f"{value:.1f}{unit}" if unit and value < 9.95 else f"{value:.0f}{unit}"
        value /= 1000
    return f"{value:.0f}T"


def rate(value: float | None) -> str:
    """Return a rate per second in at most five characters, with a decimal where it is small."""
    return f"{value:.1f}" if value is not None and 0 < value < 9.95 else count(value)


def decimal(value: float | None) -> str:
    """Return a figure with four decimals, as a loss has them."""
    return UNKNOWN if value is None else f"{value:.4f}"


def share(value: float | None) -> str:
    """Return a share in per cent."""
    return UNKNOWN if value is None else f"{value:.0%}"


def fine_share(value: float | None) -> str:
    """Return a share in per cent, with one decimal."""
    return UNKNOWN if value is None else f"{value:.1%}"


def span(seconds: float | None) -> str:
    """Return a span of time in at most six characters: 4s, 12m, 3h20m, 5d."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        return f"{whole // 60}m"
    return f"{whole // 3600}h{whole // 60 % 60:02}m" if whole < 48 * 3600 else f"{whole // 86400}d"


def mebibytes(size_bytes: float) -> str:
    """Return a size in MiB."""
    return f"{size_bytes / 2**20:.0f}M"


def bar(fraction: float, width: int) -> str:
    """Return a bar of `width` cells, `fraction` of it filled."""
    filled = round(max(0.0, min(1.0, fraction)) * width)
    return "█" * filled + "░" * (width - filled)

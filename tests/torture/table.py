"""The table of outcomes, for a terminal, for docs/operations.md and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from common.quantities import size
from tests.torture.outcome import Outcome

COLUMNS = (
    "part", "tries", "faults", "units expected", "stored", "lost", "doubled", "weights", "greatest memory",
    "recovery median", "worst", "further figures", "verdict",
)  # fmt: skip


def cells(outcome: Outcome) -> list[str]:
    """Return one row: a dash where a figure means nothing for the part."""
    return [
        outcome.part,
        f"{outcome.tries:,} {outcome.unit}".strip(),
        f"{outcome.faults:,}",
        *(_count(value) for value in (outcome.expected, outcome.stored, outcome.lost, outcome.doubled)),
        {True: "identical", False: "DIFFER", None: "-"}[outcome.weights_identical],
        "-" if outcome.memory_max_bytes is None else size(outcome.memory_max_bytes),
        _seconds(outcome.recovery_median_s),
        _seconds(outcome.recovery_worst_s),
        "; ".join(f"{name} {_figure(value)}" for name, value in outcome.figures.items()) or "-",
        "passed" if outcome.passed else "FAILED",
    ]


def as_json(outcome: Outcome) -> dict[str, object]:
    """Return one outcome with what follows from it."""
    return {
        **asdict(outcome),
        "passed": outcome.passed,
        "recovery_median_s": outcome.recovery_median_s,
        "recovery_worst_s": outcome.recovery_worst_s,
    }


def as_markdown(outcomes: Sequence[Outcome], skipped: Mapping[str, str]) -> str:
    """Return the table as Markdown."""
    rows = [cells(outcome) for outcome in outcomes]
    rows += [[part, *["-"] * (len(COLUMNS) - 3), reason, "skipped"] for part, reason in skipped.items()]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _figure(value: float | int | str) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value

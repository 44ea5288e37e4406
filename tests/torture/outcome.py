"""What a part of the torture came to, and what a part gets to work with."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a part works with. A part is a function `run(setting) -> list[Outcome]` in a module of this package."""

    seed: int
    short: bool
    """True in `make test`: seconds to a minute instead of minutes."""
    folder: Path
    """An empty folder of the part's own."""
    base_port: int
    """First of seven free ports."""
    say: Callable[[str], None]
    """Takes one line of progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One row of the table. A count that means nothing for the part stays None and is printed as a dash."""

    part: str
    """Such as `kills` or `networks: 5 % loss`."""
    tries: int
    """Runs, connections, frames or cuts: what the part repeats; `unit` names it."""
    unit: str
    faults: int
    """Faults injected."""
    expected: int | None = None
    """Units that the stores had to hold in the end, over all agents and tries."""
    stored: int | None = None
    lost: int | None = None
    doubled: int | None = None
    """Units that stand in a store, or were trained on, more than once."""
    weights_identical: bool | None = None
    """Whether the final weights were those of an undisturbed run; None where they were not compared."""
    memory_max_bytes: int | None = None
    """Greatest resident memory of any one of our processes."""
    recovery_s: Sequence[float] = ()
    """Seconds from each fault until the run got on again."""
    failures: Sequence[str] = ()
    """What did not hold, one line each; empty when the part has passed."""
    figures: dict[str, float | int | str] = field(default_factory=dict)
    """Further figures worth reporting, by name with its unit."""

    @property
    def passed(self) -> bool:
        """Whether everything held that had to."""
        return not (self.failures or self.lost or self.doubled or self.weights_identical is False)

    @property
    def recovery_median_s(self) -> float | None:
        """Median of the times to recover."""
        return statistics.median(self.recovery_s) if self.recovery_s else None

    @property
    def recovery_worst_s(self) -> float | None:
        """The longest time to recover."""
        return max(self.recovery_s, default=None)

"""How much is measured: the full table, or a quick look that everything runs."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Sizes that every bench takes its own from."""

    quick: bool
    """Small sizes and one round: to see that all runs, not to measure."""
    work: Path
    """Folder for whatever a bench writes."""
    engine: str
    """Path of Stockfish."""

    def of(self, full: int, quick: int) -> int:
        """Return the size that this scale asks for."""
        return quick if self.quick else full

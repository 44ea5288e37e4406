"""Material of an evaluation: everything that is read of files before anything is measured, so that a wrong one
shows at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arena.epd import TestPosition, read_epd
from arena.held_out import HeldOut, read_positions
from arena.puzzles import Puzzle, read_puzzles
from arena.text_files import BadRows


@dataclass(kw_only=True, slots=True)
class Material:
    """What was read of the files, in the order given; samples are drawn and in random order."""

    puzzles: list[tuple[Path, list[Puzzle]]] = field(default_factory=list)
    positions: list[tuple[Path, list[HeldOut], int]] = field(default_factory=list)
    """With the number of games that they are of."""
    epd: list[tuple[Path, list[TestPosition]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """A line for each file of which something was left out."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to measure by."""
        return not (self.puzzles or self.positions or self.epd)

    def note(self, bad: BadRows) -> None:
        """Take down what was left out of a file."""
        if bad.count:
            self.notes.append(str(bad))


def read_material(
    *,
    puzzles: Sequence[Path],
    limit: int | None,
    positions: Sequence[Path],
    sample: int,
    epd: Sequence[Path],
    seed: int,
) -> Material:
    """Return the puzzles (`limit` of each file), positions (`sample` of each) and test positions of the files.

    Raises SourceError for a file that can't be read, or holds nothing of its kind.
    """
    material = Material()
    for path in puzzles:
        drawn, bad = read_puzzles(path, limit=limit, seed=seed)
        material.puzzles.append((path, drawn))
        material.note(bad)
    for path in epd:
        tests, bad = read_epd(path)
        material.epd.append((path, tests))
        material.note(bad)
    for path in positions:
        held_out, games, bad = read_positions(path, count=sample, seed=seed)
        material.positions.append((path, held_out, games))
        material.note(bad)
    return material

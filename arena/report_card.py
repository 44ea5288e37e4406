"""Report card: everything that an evaluation found, as typed values that are written as JSON.

Made by arena.evaluation; read by arena.report_tables and arena.report_page. Shares, expected scores and Brier
scores are from 0 to 1; every figure is an `Estimate` with its 95 % interval and the number it was measured on.
"""

from enum import StrEnum
from pathlib import Path

import msgspec

from arena.calibration import Calibration
from arena.confidence import Estimate
from arena.match import MatchResult
from common.errors import StoreError
from common.whole_file import explained, whole_file

FORMAT = 1


class Way(StrEnum):
    """How a move is chosen."""

    POLICY = "policy"
    """The network's π."""
    PRIOR = "prior"
    """The network's μ."""
    ACTION_VALUES = "action-values"
    """The network's Q; for its order of the moves only."""
    LOOKAHEAD = "lookahead"
    """The network's value of the position after each move."""
    SEARCH = "search"
    """A search guided by the network."""
    MATERIAL = "material"
    """What the move takes and promotes to."""
    RANDOM = "random"
    """Any legal move, each as likely."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One who chooses, and how: a row of a table."""

    player: str
    """Name of a checkpoint or of a baseline."""
    way: Way
    baseline: bool


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """A player with networks that was evaluated."""

    name: str
    path: str
    baseline: bool


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over the positions or puzzles of one band."""

    start: int | None
    """Where the band begins (a ply or a rating); None for those of which it is not known."""
    estimate: Estimate


class PuzzleResult(msgspec.Struct, frozen=True, kw_only=True):
    """Share of puzzles solved."""

    entry: Entry
    solved: Estimate
    bands: list[Band]
    """By rating."""


class Puzzles(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one file of puzzles."""

    file: str
    puzzles: int
    """How many were drawn from it; each result counts those that were tried."""
    results: list[PuzzleResult]


class EpdResult(msgspec.Struct, frozen=True, kw_only=True):
    """Share of test positions with the right move."""

    entry: Entry
    right: Estimate
    points: Estimate | None
    """Share of the points that the moves can give; None for files without points."""


class Epd(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one EPD file."""

    file: str
    positions: int
    results: list[EpdResult]


class MoveMatch(msgspec.Struct, frozen=True, kw_only=True):
    """How often the move of the game is among the first ones."""

    entry: Entry
    top_1: Estimate
    top_3: Estimate
    top_5: Estimate
    by_ply: list[Band]
    """Top 1 by the ply of the position."""
    by_rating: list[Band]
    """Top 1 by the Elo of the player to move."""


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """A figure against the reference engine: expected score lost by a move, or a rank correlation."""

    entry: Entry
    estimate: Estimate


class ReferenceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The engine that positions were measured by."""

    engine: str
    nodes: int
    """Nodes a position, over all of its legal moves (multi-PV)."""
    positions: int
    """Positions scored, each with at least two legal moves."""
    unfinished: int
    """Positions left out since it did not get round to all of their moves."""


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the positions of held-out games."""

    file: str
    positions: int
    """How many were drawn; each result counts those that were tried."""
    games: int
    """From how many games."""
    matches: list[MoveMatch]
    reference: ReferenceFacts | None
    losses: list[Against]
    """Mean expected score lost a move."""
    correlations: list[Against]
    """Mean Kendall τ-b of the order of the legal moves."""
    calibrations: list[Calibration]


class ReportCard(msgspec.Struct, frozen=True, kw_only=True):
    """The whole card; a section is empty where it was not asked for."""

    format: int = FORMAT
    rookery: str
    """Release that made it."""
    made: str
    """When, in UTC, ISO 8601."""
    seconds: float
    """How long it took."""
    seed: int
    nodes: int
    """Nodes of the search; 0 where none was made."""
    complete: bool
    """False if it was interrupted: figures then are of what was done."""
    notes: list[str]
    """What a reader must know: baselines that are missing, rows left out, an interruption."""
    contestants: list[Contestant]
    puzzles: list[Puzzles] = []
    positions: list[Positions] = []
    epd: list[Epd] = []
    matches: list[MatchResult] = []


_decoder = msgspec.json.Decoder(ReportCard)


def write_card(card: ReportCard, path: Path) -> None:
    """Write the card as JSON, whole or not at all; raises SettingsError where it can't be written."""
    content = msgspec.json.format(msgspec.json.encode(card), indent=2)
    with whole_file(path) as file, explained(path):
        file.write(content + b"\n")


def read_card(path: Path) -> ReportCard:
    """Return the card that `write_card` wrote; raises StoreError if it is none."""
    try:
        return _decoder.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreError(f"{path}: no report card: {error}") from error

"""Go: what `go` of the UCI protocol asks of an engine.

Called by the engine's loop. Never raises: a word or a number that makes no sense is left out, as UCI has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_NUMBERS = {
    "movetime": "move_time_ms",
    "wtime": "white_ms",
    "btime": "black_ms",
    "winc": "white_increment_ms",
    "binc": "black_increment_ms",
    "movestogo": "moves_to_go",
    "nodes": "nodes",
    "depth": "depth",
    "mate": "mate",
}
_FLAGS = {"infinite": "infinite", "ponder": "ponder"}
_MOVES = "searchmoves"
_LARGEST = 10**12


@dataclass(frozen=True, kw_only=True, slots=True)
class Go:
    """The limits of one search; None where none was given. Times are in milliseconds."""

    move_time_ms: int | None = None
    white_ms: int | None = None
    black_ms: int | None = None
    white_increment_ms: int = 0
    black_increment_ms: int = 0
    moves_to_go: int | None = None
    nodes: int | None = None
    depth: int | None = None
    mate: int | None = None
    infinite: bool = False
    ponder: bool = False
    search_moves: tuple[str, ...] = ()
    """Moves in UCI's notation that the search is restricted to; none: all."""

    @property
    def timed(self) -> bool:
        """Whether a clock or a time for the move was given."""
        return any(time is not None for time in (self.move_time_ms, self.white_ms, self.black_ms))


def parse_go(words: Sequence[str]) -> Go:
    """Return what the words after `go` say."""
    found: dict[str, int | bool | tuple[str, ...]] = {}
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word in _FLAGS:
            found[_FLAGS[word]] = True
        elif word in _NUMBERS and at < len(words) and (number := _number(words[at])) is not None:
            found[_NUMBERS[word]] = number
            at += 1
        elif word == _MOVES:
            end = at
            while end < len(words) and words[end] not in {*_NUMBERS, *_FLAGS, _MOVES}:
                end += 1
            found["search_moves"] = tuple(words[at:end])
            at = end
    return Go(**found)  # type: ignore[arg-type]


def _number(word: str) -> int | None:
    if not word.lstrip("+-").isascii() or not word.lstrip("+-").isdigit() or len(word) > 20:
        return None
    try:
        return max(-_LARGEST, min(_LARGEST, int(word)))
    except ValueError:
        return None

"""Openings: where the games of a match begin, each once with either player as White.

The bundled 500 are eight random plies that Stockfish finds balanced within 0.6 pawns (samples/make_openings.py):
hardly any game that people have played goes through them, so no player knows them. Other files: PGN, of which the
moves of each game are an opening, or EPD, a position a line; either may be compressed with zstd.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import chess
import chess.pgn

from arena.text_files import BadRow, BadRows, open_text
from common.errors import SourceError

BUNDLED = Path(__file__).parent / "openings.pgn"

_EPD_SUFFIXES = (".epd", ".fen")


@dataclass(frozen=True, slots=True)
class Opening:
    """A position to begin from, and how it came about."""

    fen: str
    """Where the moves begin."""
    moves: tuple[chess.Move, ...] = ()

    def board(self) -> chess.Board:
        """Return a board of its own with the moves made."""
        board = chess.Board(self.fen)
        for move in self.moves:
            board.push(move)
        return board


def load_openings(path: Path | None = None) -> tuple[Opening, ...]:
    """Return the openings of a PGN or EPD file, in order; the bundled ones without a path.

    Raises SourceError, naming game or line, if the file can't be read or anything in it is no opening.
    """
    path = path if path is not None else BUNDLED
    names = [suffix for suffix in path.suffixes if suffix != ".zst"]
    rows = _epd if names and names[-1].lower() in _EPD_SUFFIXES else _pgn
    bad = BadRows(path, "opening")
    with open_text(path) as file:
        found = tuple(rows(file, bad))
    if bad.count or not found:
        raise SourceError(bad.first or f"{path}: no openings in it: PGN or, in a file named .epd, EPD")
    return found


def _epd(file: TextIO, bad: BadRows) -> Iterator[Opening]:
    for number, line in enumerate(file, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            board = chess.Board()
            # Four fields are an EPD, six a FEN; what follows the four are operations.
            fields = line.split()
            if len(fields) >= 6 and fields[4].isdigit() and fields[5].isdigit():
                board.set_fen(" ".join(fields[:6]))
            else:
                board.set_epd(line.strip())
            yield _checked(Opening(board.fen()))
        except (ValueError, IndexError, AssertionError) as error:
            bad.add(number, f"no opening: {error}")


def _pgn(file: TextIO, bad: BadRows) -> Iterator[Opening]:
    number = 0
    while (game := chess.pgn.read_game(file)) is not None:
        number += 1
        try:
            if game.errors:
                raise BadRow(str(game.errors[0]))
            if not (game.headers.get("FEN") or game.next()):
                raise BadRow("it has neither moves nor a position")
            yield _checked(Opening(game.board().fen(), tuple(game.mainline_moves())))
        except (ValueError, AssertionError) as error:
            bad.add(number, f"game {number} is no opening: {error}")


def _checked(opening: Opening) -> Opening:
    """Return the opening; raise BadRow unless a game of chess can go on from it."""
    board = opening.board()
    if not board.is_valid():
        raise BadRow("no position that can be")
    if not any(board.generate_legal_moves()):
        raise BadRow("a position without a legal move")
    return opening

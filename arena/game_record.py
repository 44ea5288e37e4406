"""Records of games: what was played and how it ended, as PGN that is on disk as soon as each game is over."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import chess
import chess.pgn

from arena.adjudication import Ending
from common.whole_file import explained


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlayedGame:
    """One game of a match that is over."""

    number: int
    """From 0; games 2k and 2k + 1 are a pair from one opening."""
    white: str
    black: str
    player_is_white: bool
    """Whether the first player of the match has White."""
    board: chess.Board
    """The final position, with all moves since the opening's first position."""
    opening_plies: int
    """How many of the moves are the opening's."""
    ending: Ending

    @property
    def half_points(self) -> int:
        """What the first player of the match made: 0, 1 or 2."""
        if self.ending.result == "1/2-1/2":
            return 1
        return 2 if (self.ending.result == "1-0") == self.player_is_white else 0

    def pgn(self, event: str = "Rookery match") -> str:
        """Return the game as PGN; Termination has the standard's word and, in brackets, the reason."""
        game = chess.pgn.Game.from_board(self.board)
        start = {name: game.headers[name] for name in ("SetUp", "FEN") if name in game.headers}
        game.headers.clear()
        game.headers.update(
            {
                "Event": event,
                "Site": "?",
                "Date": datetime.datetime.now(datetime.UTC).strftime("%Y.%m.%d"),
                "Round": f"{self.number // 2 + 1}.{self.number % 2 + 1}",
                "White": self.white,
                "Black": self.black,
                "Result": self.ending.result,
                **start,
                "PlyCount": str(len(self.board.move_stack)),
                "Termination": f"{self.ending.termination} ({self.ending.reason})",
            }
        )
        return str(game)


class PgnFile:
    """A PGN file that games are added to, each whole and at once; a context manager.

    Raises SettingsError where the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with explained(path):
            self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with explained(self._path):
            self._file.close()

    def add(self, game: PlayedGame) -> None:
        """Write a game and flush it."""
        with explained(self._path):
            self._file.write(game.pgn() + "\n\n")
            self._file.flush()

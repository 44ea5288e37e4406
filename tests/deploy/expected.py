"""What a run must have stored, worked out from the games by python-chess alone."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import chess
import chess.pgn
import zstandard

from common.messages import StoreTotals


def text_of(path: Path) -> str:
    """Return the text of a PGN file, compressed or not."""
    content = path.read_bytes()
    if path.suffix == ".zst":
        content = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)).read()
    return content.decode(errors="replace")  # old files have names in Latin-1


def games_of(paths: Sequence[Path], limit: int) -> list[chess.pgn.Game]:
    """Return the first games of the files, as python-chess reads them."""
    games: list[chess.pgn.Game] = []
    for path in paths:
        # python-chess takes a second empty line for the end of a game that has headers only.
        stream = io.StringIO(re.sub(r"(\r?\n){3,}", "\n\n", text_of(path)))
        while len(games) < limit and (game := chess.pgn.read_game(stream)) is not None:
            games.append(game)
    return games


def expected_totals(paths: Sequence[Path], limit: int, units: int) -> dict[str, StoreTotals]:
    """Return the totals of the agents `white` and `black`, who learn from all games."""
    games = games_of(paths, limit)
    illegal = [game for game in games if game.errors]
    empty = [game for game in games if not game.errors and game.next() is None]
    used = [game for game in games if not game.errors and game.next() is not None]
    rejected = {"illegal-move": len(illegal), "no-moves": len(empty)}
    return {
        name: StoreTotals(
            units=units,
            transitions=sum(_decisions(game, side) for game in used),
            games_read=len(games),
            games_used=len(used),
            rejected={reason: count for reason, count in rejected.items() if count},
        )
        for name, side in (("white", chess.WHITE), ("black", chess.BLACK))
    }


def _decisions(game: chess.pgn.Game, side: chess.Color) -> int:
    return sum(node.parent.turn() == side for node in game.mainline() if node.parent is not None)

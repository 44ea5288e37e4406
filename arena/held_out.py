"""Held-out positions: a sample of the positions of games that training never saw, with what became of them.

Games are drawn at random and a few positions from each, since positions of one game tell much the same. Variants
other than standard chess, games with illegal moves and games without moves are left out.
"""

import io
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import chess
import chess.pgn

from arena.text_files import BadRows, open_text
from common.errors import SourceError

PER_GAME = 8
"""Positions that are taken from a game, unless there are too few games for that."""

PLY_BANDS = (0, 10, 20, 30, 40, 60, 80)
"""Where bands of plies begin; the last has no end."""

RATING_BANDS = (0, 1200, 1600, 2000, 2200, 2400, 2600)
"""Where bands of the mover's Elo begin; the last has no end."""

_RESULTS = {"1-0": 1.0, "0-1": 0.0, "1/2-1/2": 0.5}
_HEADER = re.compile(r"\[[A-Za-z0-9_]+\s+\"")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A position with at least one legal move, and what was played in it."""

    board: chess.Board
    """With the moves of its game so far; not to be changed."""
    played: chess.Move
    game: int
    """Number of the game in its file, from 0."""
    ply: int
    """Half moves made in the game before this position."""
    rating: int | None
    """Elo of the player to move; None where the game gives none."""
    result: float | None
    """The game's result for the side to move: 0, ½ or 1; None where it has none."""


def read_positions(path: Path, *, count: int, seed: int = 0) -> tuple[list[HeldOut], int, BadRows]:
    """Return `count` positions, or all if there are fewer, of how many games, and the games that were left out.

    Drawn by `seed`, and in random order, so that any first part of them is a sample too. Raises SourceError if
    the file can't be read or holds no game of standard chess with a move.
    """
    generator = random.Random(seed)
    with open_text(path, newline=None) as file:
        texts = list(enumerate(_games(file)))
    total = len(texts)
    per_game = max(PER_GAME, -(-count // max(1, total)))
    generator.shuffle(texts)
    bad = BadRows(path, "game")
    found: list[HeldOut] = []
    games = 0
    for number, (line, text) in texts:
        if len(found) >= count:
            break
        for game in _read(line, text, bad):
            games += 1
            plies = range(len(game.moves))
            drawn = generator.sample(plies, min(per_game, len(plies), count - len(found)))
            found.extend(_positions(game, number, frozenset(drawn)))
    if not found:
        raise SourceError(bad.none_good())
    generator.shuffle(found)
    return found, games, bad


def band_of(value: int | None, starts: tuple[int, ...]) -> int | None:
    """Return where the band that `value` is in begins; None for None."""
    return None if value is None else max(start for start in starts if start <= max(value, starts[0]))


def _games(lines: Iterator[str]) -> Iterator[tuple[int, str]]:
    """Yield the first line's number and the text of each game: headers after something else begin one."""
    begin, parts, in_headers = 1, list[str](), False
    for number, line in enumerate(lines, 1):
        header = bool(_HEADER.match(line))
        if header and not in_headers and any(part.strip() for part in parts):
            yield begin, "".join(parts)
            begin, parts = number, []
        if header or line.strip():
            in_headers = header
        parts.append(line)
    if any(part.strip() for part in parts):
        yield begin, "".join(parts)


class _Builder(chess.pgn.GameBuilder[chess.pgn.Game]):
    """Keeps errors in the game; the base class logs them too."""

    def handle_error(self, error: Exception) -> None:
        self.game.errors.append(error)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Game:
    headers: chess.pgn.Headers
    begin: chess.Board
    moves: list[chess.Move]


def _read(line: int, text: str, bad: BadRows) -> Iterator[_Game]:
    """Yield the games in `text`: one, unless there are some without headers; what is no good goes to `bad`."""
    stream = io.StringIO(text)
    while (game := chess.pgn.read_game(stream, Visitor=_builder)) is not None:
        try:
            board = game.board()
        except ValueError as error:
            bad.add(line, f"no position to begin with: {error}")
            continue
        moves = list(game.mainline_moves())
        reason = _reason(game, board, moves)
        if reason:
            bad.add(line, reason)
        else:
            yield _Game(headers=game.headers, begin=board, moves=moves)


def _builder() -> _Builder:
    return _Builder(Game=chess.pgn.Game)


def _reason(game: chess.pgn.Game, board: chess.Board, moves: list[chess.Move]) -> str:
    """Return why a game is left out; empty if it is not."""
    if board.uci_variant != "chess" or board.chess960:
        return "a variant of chess"
    if game.errors:
        return f"can't be read: {game.errors[0]}"
    if not board.is_valid():
        return "begins with a position that can't be"
    if not moves:
        return "a game without moves"
    if not all(moves):
        return "a null move"
    return ""


def _positions(game: _Game, number: int, plies: frozenset[int]) -> Iterator[HeldOut]:
    """Yield the positions of a game at `plies`."""
    result = _RESULTS.get(game.headers.get("Result", "*"))
    ratings = {chess.WHITE: _rating(game, "WhiteElo"), chess.BLACK: _rating(game, "BlackElo")}
    board = game.begin.copy()
    for ply, move in enumerate(game.moves):
        if ply in plies:
            yield HeldOut(
                board=board.copy(),
                played=move,
                game=number,
                ply=ply,
                rating=ratings[board.turn],
                result=result if result is None or board.turn else 1.0 - result,
            )
        board.push(move)


def _rating(game: _Game, header: str) -> int | None:
    text = game.headers.get(header, "")
    return int(text) if text.isdecimal() and 0 < int(text) < 10_000 else None

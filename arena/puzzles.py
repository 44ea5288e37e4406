"""Puzzles: Lichess's CSV files, and the share of puzzles that a ranker solves.

    FEN,Moves,Rating                                              the least that a file must have
    PuzzleId,FEN,Moves,Rating,RatingDeviation,Popularity,…        Lichess's own columns

Moves are UCI; the first is the opponent's, then the solver and the opponent take turns. A file may be compressed
with zstd (.zst) and may lack the header line, if its columns are as above. https://database.lichess.org/#puzzles
"""

import csv
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import chess

from arena.rankings import Ranker
from arena.text_files import BadRow, BadRows, open_text
from common.errors import SourceError

BAND = 200
"""Width of a rating band, in points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A position in which the solver is to move."""

    board: chess.Board
    """With the moves of the puzzle made so far; not to be changed."""
    expected: chess.Move


@dataclass(frozen=True, kw_only=True, slots=True)
class Puzzle:
    """A puzzle whose moves are all legal."""

    tasks: tuple[Task, ...]
    """What the solver has to find, at least one."""
    rating: int | None
    """Its Glicko-2 rating on Lichess; None where the file gives none."""


def read_puzzles(path: Path, *, limit: int | None = None, seed: int = 0) -> tuple[list[Puzzle], BadRows]:
    """Return the puzzles of a file, or `limit` of them drawn at random, and the rows that are none.

    Raises SourceError, naming the line, if the file can't be read, or no row of it is a puzzle.
    """
    with open_text(path) as file:
        rows = _rows(path, file)
        sample = _reservoir(rows, limit, random.Random(seed)) if limit is not None else list(rows)
    bad = BadRows(path)
    puzzles = []
    for line, row in sample:
        try:
            puzzles.append(_puzzle(row))
        except BadRow as error:
            bad.add(line, str(error))
    if not puzzles:
        raise SourceError(bad.none_good())
    random.Random(seed).shuffle(puzzles)
    return puzzles, bad


def solved(puzzles: Sequence[Puzzle], ranker: Ranker) -> list[float]:
    """Return for each puzzle the chance that every move of the solver's is right: 0 or 1 unless moves are level.

    Any move that mates is right and ends the puzzle, as on Lichess. Tasks are ranked in rounds, all puzzles that
    may still be solved side by side.
    """
    chances = [1.0] * len(puzzles)
    mated = [0.0] * len(puzzles)
    for number in range(max((len(puzzle.tasks) for puzzle in puzzles), default=0)):
        open_ones = [i for i, puzzle in enumerate(puzzles) if number < len(puzzle.tasks) and chances[i] > 0]
        tasks = [puzzles[index].tasks[number] for index in open_ones]
        for index, task, ranking in zip(open_ones, tasks, ranker.rank([task.board for task in tasks]), strict=True):
            mates = {move for move in ranking.first if move != task.expected and _mates(task.board, move)}
            mated[index] += chances[index] * ranking.chance_of(mates)
            chances[index] *= ranking.chance_of({task.expected})
    return [min(1.0, chance + early) for chance, early in zip(chances, mated, strict=True)]


def band_of(rating: int | None) -> int | None:
    """Return the lowest rating of the band that `rating` is in; None for None."""
    return None if rating is None else rating // BAND * BAND


def _mates(board: chess.Board, move: chess.Move) -> bool:
    if not board.gives_check(move):
        return False
    board = board.copy(stack=False)
    board.push(move)
    return board.is_checkmate()


Row = tuple[str, str, str]
"""FEN, moves and rating, as they stand in the file."""


def _rows(path: Path, file: Iterable[str]) -> Iterator[tuple[int, Row]]:
    """Yield the number of the line and the fields of each row; raise SourceError unless it has the columns."""
    columns: tuple[int, int, int | None] | None = None
    reader = csv.reader(file)
    try:
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            if columns is None:
                columns = _columns(path, reader.line_num, row)
                if not _looks_like_fen(row, columns[0]):
                    continue
            yield reader.line_num, _fields(row, columns)
    except csv.Error as error:
        raise SourceError(f"{path}:{reader.line_num}: not a puzzle file: {error}") from error


def _columns(path: Path, line: int, first: Sequence[str]) -> tuple[int, int, int | None]:
    """Return where FEN, moves and rating stand."""
    names = [name.strip().lower() for name in first]
    if "fen" in names and "moves" in names:
        return names.index("fen"), names.index("moves"), names.index("rating") if "rating" in names else None
    for start in (0, 1):
        if _looks_like_fen(first, start) and len(first) > start + 1:
            return start, start + 1, start + 2 if len(first) > start + 2 else None
    raise SourceError(f"{path}:{line}: not a puzzle file: no columns FEN and Moves, but {_shown(','.join(first))}")


def _looks_like_fen(row: Sequence[str], column: int) -> bool:
    return column < len(row) and row[column].count("/") == 7


def _fields(row: Sequence[str], columns: tuple[int, int, int | None]) -> Row:
    fen, moves, rating = columns
    return (
        row[fen] if fen < len(row) else "",
        row[moves] if moves < len(row) else "",
        row[rating] if rating is not None and rating < len(row) else "",
    )


def _reservoir(rows: Iterator[tuple[int, Row]], limit: int, generator: random.Random) -> list[tuple[int, Row]]:
    """Return `limit` rows, each as likely as any (algorithm R of J. S. Vitter, ACM TOMS 11 (1985), p. 38)."""
    kept: list[tuple[int, Row]] = []
    for number, row in enumerate(rows):
        if number < limit:
            kept.append(row)
            continue
        place = generator.randrange(number + 1)
        if place < limit:
            kept[place] = row
    return kept


def _puzzle(row: Row) -> Puzzle:
    """Return the puzzle of a row; raise BadRow."""
    fen, moves, rating = row
    board = _board(fen)
    line = moves.split()
    if len(line) < 2:
        raise BadRow("fewer than two moves")
    tasks = []
    for number, uci in enumerate(line):
        move = _move(board, uci)
        if number % 2:
            tasks.append(Task(board=board.copy(), expected=move))
        board.push(move)
    return Puzzle(tasks=tuple(tasks), rating=_rating(rating))


def _board(fen: str) -> chess.Board:
    try:
        board = chess.Board(fen.strip())
    except ValueError as error:
        raise BadRow(f"no FEN: {_shown(str(error))}") from error
    if not board.is_valid():
        raise BadRow(f"no position that can be: {_shown(fen)}")
    return board


def _move(board: chess.Board, uci: str) -> chess.Move:
    try:
        return board.parse_uci(uci)
    except ValueError as error:
        raise BadRow(f"no legal move: {_shown(uci)}") from error


def _rating(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        rating = float(text)
    except ValueError as error:
        raise BadRow(f"no rating: {_shown(text)}") from error
    if not -10_000 < rating < 10_000:
        raise BadRow(f"no rating: {_shown(text)}")
    return int(rating)


def _shown(text: str, characters: int = 60) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return repr(printable if len(printable) <= characters else printable[: characters - 1] + "…")

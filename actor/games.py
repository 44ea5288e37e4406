"""From the PGN text of a unit's games to columns: what was played, and what can't be used and why.

Called by the actor's service, once a unit. The fast reader reads all games in one call; python-chess reads
again, carefully, those that it refuses or whose text may go on where it stopped. A game is rejected only
when both refuse it. Never raises on any text, never evaluates a position.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import chess
import numpy as np
import numpy.typing as npt
from rust_pgn_reader_python_binding import PyChunkView, parse_games_from_strings

from actor.columns import columns_of
from actor.mainline import RESULTS, STANDARD_START, Fault, Mainline, Start, read_mainline, start_of
from common import moves, scores
from common.messages import RawGame
from common.positions import Positions
from common.rejections import MAX_DETAIL, Rejection, RejectionReason
from common.settings import Side

MAX_TEXT_BYTES = 1024 * 1024
"""Longest text of a game; the longest real ones, with comments, have a fifth of it."""

MAX_PLIES = 20_000
"""Most moves of a game; the rules end a game before 17,700."""

MAX_UNIT_PLIES = 1_000_000
"""Most moves of a unit's games together, so that its batch stays within its limits, with a row for each move."""

_BOM = b"\xef\xbb\xbf"
_MARKERS = {"White": "1-0", "Black": "0-1", "Draw": "1/2-1/2", "Unknown": "*"}
_EVAL = "[%eval"


@dataclass(frozen=True, kw_only=True, eq=False)
class Game:
    """One game of n moves that can be used."""

    number: int
    """Game number, from 0 over all sources in order."""
    headers: Mapping[str, str]
    """The tags as they stand."""
    start_fen: str | None
    """FEN of the start position, as python-chess writes it; None for the standard start."""
    start_fullmove: int
    """Fullmove number of the start position."""
    start_white_to_move: bool
    actions: npt.NDArray[np.uint16]
    """[n] index of each move, from its mover's side."""
    positions: Positions
    """[n + 1] every position, the final one included, each seen from its side to move."""
    result: int | None
    """Half points of white: 0, 1 or 2; None for a game without a result."""
    terminal_score: int | None
    """Exact score of the final position from its side to move, if that is checkmate or stalemate."""
    comment_scores: npt.NDArray[np.int16]
    """[n + 1] score of each position that a comment gives, from its side to move; 0 elsewhere."""
    has_comment_score: npt.NDArray[np.bool_]
    """[n + 1] whether a comment gives a score of the position."""

    def __len__(self) -> int:
        return len(self.actions)

    @cached_property
    def moves_uci(self) -> list[str]:
        """[n] each move in UCI's notation."""
        sides = (Side.WHITE, Side.BLACK) if self.start_white_to_move else (Side.BLACK, Side.WHITE)
        tables = [moves.uci_table(side) for side in sides]
        return [tables[ply % 2][action] for ply, action in enumerate(self.actions.tolist())]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """What is known of one game beside its columns."""

    headers: Mapping[str, str]
    start: Start
    marker: str | None
    comment_scores: Mapping[int, int]
    """Score from white's side, by ply of the position that it is a score of."""


def read_games(raw_games: Sequence[RawGame], *, comments: bool) -> tuple[list[Game], list[Rejection]]:
    """Return the games that can be used, and the others with the reason, both in the order of `raw_games`.

    `comments` says whether scores are taken from `[%eval …]` comments: the comment after a move scores the
    position after it, one before the first move scores the start, those in variations count for nothing.
    """
    games: list[Game] = []
    rejections: list[Rejection] = []
    room = MAX_UNIT_PLIES
    for part in _parts(raw_games):
        for raw, outcome in zip(part, _read(part, comments), strict=True):
            if isinstance(outcome, Game) and len(outcome) > room:
                outcome = _too_long(len(outcome))
            if isinstance(outcome, Game):
                games.append(outcome)
                room -= len(outcome)
            else:
                rejections.append(_rejection(raw, outcome))
    return games, rejections


def _parts(raw_games: Sequence[RawGame]) -> Iterator[Sequence[RawGame]]:
    """Yield the games in runs of about MAX_TEXT_BYTES, or of one: text becomes fifty times as much in columns."""
    begin = size_bytes = 0
    for index, raw in enumerate(raw_games):
        size_bytes += len(raw.text)
        if size_bytes > MAX_TEXT_BYTES and index > begin:
            yield raw_games[begin:index]
            begin, size_bytes = index, len(raw.text)
    if begin < len(raw_games):
        yield raw_games[begin:]


def _read(raw_games: Sequence[RawGame], comments: bool) -> list[Game | Fault]:
    outcomes: dict[int, Game | Fault] = {}
    texts: dict[int, str] = {}
    for index, raw in enumerate(raw_games):
        if len(raw.text) > MAX_TEXT_BYTES:
            detail = f"the text has {len(raw.text)} bytes"
            outcomes[index] = Fault(reason=RejectionReason.TOO_LARGE, detail=detail)
        else:
            texts[index] = _decoded(raw.text)
    outcomes |= _read_fast(texts, raw_games, comments)
    unread = {index: text for index, text in texts.items() if index not in outcomes}
    outcomes |= _read_carefully(unread, raw_games)
    return [outcomes[index] for index in range(len(raw_games))]


def _decoded(text: bytes) -> str:
    text = text.removeprefix(_BOM)
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _read_fast(texts: Mapping[int, str], raw_games: Sequence[RawGame], comments: bool) -> dict[int, Game | Fault]:
    """Return the games, by index, that the fast reader reads and whose reading is beyond doubt."""
    chunk = _parse([text if text.strip() else "*" for text in texts.values()], comments)
    if chunk is None:
        return {}
    valid, markers, tags = chunk.valid.tolist(), chunk.outcome, chunk.headers
    first_moves = chunk.move_offsets.tolist()
    said = chunk.comments if comments else []
    readings: dict[int, _Reading] = {}
    for row, text in enumerate(texts.values()):
        # Without a result marker it may have stopped short: at a blank line, or in what is never closed.
        marker = markers[row]
        if not valid[row] or marker is None or first_moves[row] == first_moves[row + 1]:
            continue
        start = _plain_start(tags[row])
        comment_scores = _comment_scores(said[first_moves[row] : first_moves[row + 1]], text) if comments else {}
        if start is not None and comment_scores is not None:
            readings[row] = _Reading(
                headers=_unescaped(tags[row]),
                start=start,
                marker=_MARKERS.get(marker),
                comment_scores=comment_scores,
            )
    indices = list(texts)
    return _assemble(chunk, readings, {row: raw_games[indices[row]] for row in readings}, indices)


def _read_carefully(texts: Mapping[int, str], raw_games: Sequence[RawGame]) -> dict[int, Game | Fault]:
    """Return the games, by index, as python-chess reads them: the fast reader gets its moves again."""
    read = {index: read_mainline(text) for index, text in texts.items()}
    outcomes: dict[int, Game | Fault] = {i: fault for i, fault in read.items() if isinstance(fault, Fault)}
    mainlines = {index: mainline for index, mainline in read.items() if isinstance(mainline, Mainline)}
    chunk = _parse([mainline.text for mainline in mainlines.values()], comments=False)
    indices = list(mainlines)
    readings: dict[int, _Reading] = {}
    for row, (index, mainline) in enumerate(mainlines.items()):
        if chunk is None or not chunk.valid[row]:
            refusal = "nothing read" if chunk is None else chunk.parse_errors[row]
            outcomes[index] = Fault(
                reason=RejectionReason.BAD_POSITION, detail=f"no legal game from its start: {refusal}"
            )
        else:
            readings[row] = _Reading(
                headers=_unescaped(mainline.headers),
                start=mainline.start,
                marker=mainline.marker,
                comment_scores=mainline.comment_scores,
            )
    if chunk is not None:
        outcomes |= _assemble(chunk, readings, {row: raw_games[indices[row]] for row in readings}, indices)
    return outcomes


def _parse(texts: list[str], comments: bool) -> PyChunkView | None:
    """Return what the fast reader reads in `texts`, one game each; None if it finds more or fewer."""
    if not texts:
        return None
    try:
        parsed = parse_games_from_strings(texts, num_threads=1, store_comments=comments)
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException:  # a panic in the reader is no Exception
        return None
    if parsed.num_games != len(texts) or parsed.num_chunks != 1:
        return None
    return parsed.chunks[0]


def _plain_start(tags: Mapping[str, str]) -> Start | None:
    """Return where a game starts if the fast reader reads the tags as we do, else None."""
    start = start_of(tags) if "FEN" in tags or "Variant" in tags else STANDARD_START
    if isinstance(start, Fault) or tags.get("FEN", start.fen) not in (start.fen, chess.STARTING_FEN):
        return None
    return start


def _comment_scores(said: Sequence[str | None], text: str) -> dict[int, int] | None:
    """Return the scores in the comments after each move, by ply of the position after it.

    None if `text` has evaluations that are not among them: in variations, before the first move, in one of
    several comments on a move.
    """
    found: dict[int, int] = {}
    for ply, comment in enumerate(said, 1):
        if comment is not None and _EVAL in comment:
            score = scores.from_comment(comment)
            if score is not None:
                found[ply] = score
    return found if len(found) == text.count(_EVAL) else None


def _unescaped(tags: Mapping[str, str]) -> Mapping[str, str]:
    if not any("\\" in value for value in tags.values()):
        return tags
    return {name: re.sub(r'\\(["\\])', r"\1", value) for name, value in tags.items()}


def _assemble(
    chunk: PyChunkView, readings: Mapping[int, _Reading], raw_games: Mapping[int, RawGame], indices: list[int]
) -> dict[int, Game | Fault]:
    """Return the games of `readings` (by row of the chunk) by their index in the unit."""
    plies = np.diff(chunk.move_offsets.astype(np.int64)).tolist()
    outcomes: dict[int, Game | Fault] = {
        indices[row]: _too_long(plies[row]) for row in readings if plies[row] > MAX_PLIES
    }
    if len(outcomes) == len(readings):
        return outcomes
    # Beside a game that is too long the others are copied, or it would stay in memory for as long as they do.
    crowded = max(plies) > MAX_PLIES
    start_clocks = {row: reading.start.halfmove_clock for row, reading in readings.items()}
    columns = columns_of(chunk, start_clocks)
    checkmate, stalemate = chunk.is_checkmate.tolist(), chunk.is_stalemate.tolist()
    comment_scores = np.zeros(len(columns.positions), np.int16)
    has_comment_score = np.zeros(len(columns.positions), np.bool_)
    for row, reading in readings.items():
        if indices[row] in outcomes:
            continue
        first, last = columns.first_positions[row], columns.first_positions[row + 1] - 1
        for ply, score in reading.comment_scores.items():
            comment_scores[first + ply] = score if columns.white_to_move[first + ply] else -score
            has_comment_score[first + ply] = True
        here = np.arange(first, last + 1) if crowded else slice(first, last + 1)
        actions = columns.actions[columns.first_moves[row] : columns.first_moves[row + 1]]
        outcomes[indices[row]] = Game(
            number=raw_games[row].number,
            headers=reading.headers,
            start_fen=reading.start.fen,
            start_fullmove=reading.start.fullmove_number,
            start_white_to_move=bool(columns.white_to_move[first]),
            actions=actions.copy() if crowded else actions,
            positions=columns.positions.take(here),
            result=RESULTS.get(reading.headers.get("Result", "").strip(), RESULTS.get(reading.marker or "*")),
            terminal_score=scores.CHECKMATED if checkmate[row] else scores.DRAWN if stalemate[row] else None,
            comment_scores=comment_scores[here],
            has_comment_score=has_comment_score[here],
        )
    return outcomes


def _too_long(plies: int) -> Fault:
    return Fault(reason=RejectionReason.TOO_LARGE, detail=f"the game has {plies} plies")


def _rejection(raw: RawGame, fault: Fault) -> Rejection:
    detail = fault.detail[:MAX_DETAIL]
    return Rejection(number=raw.number, source=raw.source, line=raw.line, reason=fault.reason, detail=detail)

"""The careful reading of one game with python-chess: for what the fast reader refuses or can't vouch for.

Called by actor.games for such games only; some 30 times slower than the fast reader. Gives the moves that
were played, or the one reason why the game can't be used. Never raises on any text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO

import chess
import chess.pgn

from common import scores
from common.rejections import RejectionReason

RESULTS = {"1-0": 2, "1/2-1/2": 1, "0-1": 0}
"""White's half points by result marker; `*` is none."""

STANDARD_VARIANTS = frozenset({"", "?", "-", "standard", "normal", "chess", "from position"})
"""Values of the Variant tag, in lower case, that mean standard chess."""

MAX_FEN_CHARACTERS = 200
"""Twice the longest FEN."""
MAX_HALFMOVE_CLOCK = 10_000
MAX_FULLMOVE_NUMBER = 1_000_000

_MARKERS = frozenset({*RESULTS, "*"})
_BLANK_LINES = re.compile(r"(?:\r\n?|\n)(?:[ \t\v\f]*(?:\r\n?|\n))*")
_HEADER_LINES = re.compile(r"(?:\s*[\[%;][^\n]*)*")
_TOKENS = re.compile(r"\{[^}]*\}|\{|;[^\n]*|^%[^\n]*|[()]|[^\s{}();]+", re.MULTILINE)
# Possessive, or the ways to share out a line of blanks among the three would grow with its cube.
_PART_OF_A_TAG = re.compile(r"\[\s*+[^\s\"\[\]]*+\s*+(?:\"(?:[^\"\\]|\\.)*+\"?)?\s*+")
# A token that only the rest of it could make a move; a square at its end makes it one already.
_PART_OF_A_MOVE = re.compile(
    r"(?:\d+\.+)?(?!.*[a-h][1-8]$)(?:[KQRBN][a-h]?[1-8]?x?[a-h]?|[a-h][1-8]?x?[a-h]?|[O0]-?|O-O-|0-0-)"
)
# Faults of a start position that read as another one: rights without a rook, a capture that isn't there.
_MENDABLE = chess.STATUS_BAD_CASTLING_RIGHTS | chess.STATUS_INVALID_EP_SQUARE


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a game can't be used."""

    reason: RejectionReason
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The position that a game starts from."""

    fen: str | None
    """As python-chess writes it; None for the standard start."""
    fullmove_number: int
    halfmove_clock: int


STANDARD_START = Start(fen=None, fullmove_number=1, halfmove_clock=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mainline:
    """What was played in one game."""

    headers: Mapping[str, str]
    start: Start
    text: str
    """The game anew, as the fast reader reads it: start and moves, without anything else."""
    marker: str | None
    """Result marker of the movetext."""
    comment_scores: Mapping[int, int]
    """Score from white's side, by ply of the position that it is a score of."""


def read_mainline(text: str) -> Mainline | Fault:
    """Return what was played in the game in `text`, or why it can't be used."""
    text = _BLANK_LINES.sub("\n", text).strip()
    try:
        visitor = chess.pgn.read_game(StringIO(text), Visitor=_MainlineVisitor)
    except (ValueError, KeyError, IndexError, AssertionError, RecursionError) as error:
        return Fault(reason=RejectionReason.ILLEGAL_MOVE, detail=f"can't be read: {error}")
    if visitor is None:
        return Fault(reason=RejectionReason.NO_MOVES, detail="there is no game")
    fault = visitor.fault or find_cut(text)
    if fault is not None:
        return fault
    if not visitor.sans:
        return Fault(reason=RejectionReason.NO_MOVES, detail="the game has no moves")
    fen = visitor.start.fen
    tags = "" if fen is None else f'[SetUp "1"]\n[FEN "{fen}"]\n\n'
    return Mainline(
        headers=visitor.headers,
        start=visitor.start,
        text=f"{tags}{' '.join(visitor.sans)} *",
        marker=visitor.marker,
        comment_scores=visitor.comment_scores,
    )


def start_of(headers: Mapping[str, str]) -> Start | Fault:
    """Return where a game with these tags starts, or why it can't be used: a variant, or a bad position."""
    variant = headers.get("Variant", "")
    if variant.strip().lower() not in STANDARD_VARIANTS:
        return Fault(reason=RejectionReason.VARIANT, detail=f"the variant is {variant!r}")
    fen = headers.get("FEN", "").strip()
    if len(fen) > MAX_FEN_CHARACTERS:  # not looked at, or the cache would keep it
        return Fault(reason=RejectionReason.BAD_POSITION, detail=f"the FEN tag has {len(fen)} characters")
    return STANDARD_START if fen in ("", "?", "-") else _start_at(fen)


@lru_cache(maxsize=4096)
def _start_at(fen: str) -> Start | Fault:
    try:
        board = chess.Board(fen, chess960=True)
    except (ValueError, IndexError) as error:
        return Fault(reason=RejectionReason.BAD_POSITION, detail=f"the FEN tag is no position: {error}")
    if board.has_chess960_castling_rights():
        return Fault(reason=RejectionReason.VARIANT, detail="the start position castles as in Chess960")
    board = chess.Board(fen)
    status = board.status() & ~_MENDABLE
    if status != chess.STATUS_VALID:
        names = ", ".join(flag.name or "?" for flag in chess.Status if flag in status)
        return Fault(reason=RejectionReason.BAD_POSITION, detail=f"the FEN tag can't occur in chess: {names}")
    if board.halfmove_clock > MAX_HALFMOVE_CLOCK or board.fullmove_number > MAX_FULLMOVE_NUMBER:
        return Fault(reason=RejectionReason.BAD_POSITION, detail="the FEN tag counts too many moves")
    clean = board.fen()
    return Start(
        fen=None if clean == chess.STARTING_FEN else clean,
        fullmove_number=board.fullmove_number,
        halfmove_clock=board.halfmove_clock,
    )


def find_cut(text: str) -> Fault | None:
    """Return where the text of a game, without blank lines, breaks off: in a comment, variation, tag or move.

    What stands behind a result marker is not looked at.
    """
    header = _HEADER_LINES.match(text)
    begin = header.end() if header else 0
    if begin == len(text) and _PART_OF_A_TAG.fullmatch(text, text.rfind("\n") + 1):
        return Fault(reason=RejectionReason.CUT_OFF, detail="the text ends within a tag")
    depth, last = 0, ""
    for match in _TOKENS.finditer(text, begin):
        token = match[0]
        if token == "{":
            return Fault(reason=RejectionReason.CUT_OFF, detail="the text ends within a comment")
        if token == "(":
            depth += 1
        elif token == ")":
            depth = max(0, depth - 1)
        elif token[0] not in "{;%" and depth == 0:
            if token in _MARKERS:
                return None
            last = token
    if depth:
        return Fault(reason=RejectionReason.CUT_OFF, detail="the text ends within a variation")
    if _PART_OF_A_MOVE.fullmatch(last):
        return Fault(reason=RejectionReason.CUT_OFF, detail=f"the text ends within a move: {last[:20]}")
    return None


class _MainlineVisitor(chess.pgn.BaseVisitor["_MainlineVisitor"]):
    """Collects the moves played up to the result marker or the first fault, and what comments say of them."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.start = STANDARD_START
        self.sans: list[str] = []
        self.marker: str | None = None
        self.fault: Fault | None = None
        self.comment_scores: dict[int, int] = {}
        # What python-chess sets its board up from: our reading of the start, not the tags as they stand.
        self._board_tags = chess.pgn.Headers({})

    def begin_headers(self) -> chess.pgn.Headers:
        return self._board_tags

    def visit_header(self, tagname: str, tagvalue: str) -> None:
        self.headers[tagname] = tagvalue

    def end_headers(self) -> chess.pgn.SkipType | None:
        start = start_of(self.headers)
        if isinstance(start, Fault):
            self.fault = start
            return chess.pgn.SKIP
        self.start = start
        if start.fen is not None:
            self._board_tags["FEN"] = start.fen
        return None

    def begin_variation(self) -> chess.pgn.SkipType:
        return chess.pgn.SKIP

    def begin_parse_san(self, board: chess.Board, san: str) -> chess.pgn.SkipType | None:  # noqa: ARG002
        return chess.pgn.SKIP if self.marker is not None or self.fault is not None else None

    def visit_move(self, board: chess.Board, move: chess.Move) -> None:
        if not move:
            self.fault = Fault(reason=RejectionReason.NULL_MOVE, detail=self._at("a null move"))
        else:
            self.sans.append(board.san(move))

    def visit_comment(self, comment: str) -> None:
        if self.marker is None and self.fault is None:
            score = scores.from_comment(comment)
            if score is not None:
                self.comment_scores.setdefault(len(self.sans), score)

    def visit_result(self, result: str) -> None:
        if self.marker is None:
            self.marker = result

    def handle_error(self, error: Exception) -> None:
        if self.fault is None:
            ambiguous = isinstance(error, chess.AmbiguousMoveError)
            reason = RejectionReason.AMBIGUOUS_MOVE if ambiguous else RejectionReason.ILLEGAL_MOVE
            self.fault = Fault(reason=reason, detail=self._at(str(error)))

    def result(self) -> "_MainlineVisitor":
        return self

    def _at(self, what: str) -> str:
        return f"after {len(self.sans)} plies: {what}"

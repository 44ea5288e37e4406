"""Independent oracle: what python-chess alone makes of a game, and a simple way to cut files into games."""

import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import chess
import chess.pgn
import zstandard

from common.messages import RawGame

# A tag line that does not follow another tag line opens a game; comments hold `[%eval` and the like, no tags.
_OPENING = re.compile(rb"(?m)^\[[A-Za-z]")


@dataclass(frozen=True)
class OracleGame:
    headers: dict[str, str]
    fens: list[str]
    moves: list[str]
    clocks: list[int]
    repetitions: list[int]
    result: int | None
    errors: list[Exception]
    terminal_score: int | None
    white_evals: list[int | None]


def read_bytes(path: Path) -> bytes:
    if path.suffix == ".zst":
        with path.open("rb") as file:
            return zstandard.ZstdDecompressor().stream_reader(file).read()
    return path.read_bytes()


def cut(content: bytes) -> list[bytes]:
    starts = [0]
    in_tags = True
    offset = 0
    seen_text = False
    for line in content.split(b"\n"):
        stripped = line.strip().removeprefix(b"\xef\xbb\xbf")
        is_tag = bool(_OPENING.match(stripped))
        if is_tag and not in_tags and seen_text:
            starts.append(offset)
            seen_text = False
        if stripped:
            in_tags = is_tag
            seen_text = seen_text or not is_tag
        offset += len(line) + 1
    ends = [*starts[1:], len(content)]
    return [content[start:end] for start, end in zip(starts, ends, strict=True)]


def raw_games(texts: list[bytes], source: str = "games.pgn") -> list[RawGame]:
    return [RawGame(number=number, source=source, line=number + 1, text=text) for number, text in enumerate(texts)]


def decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def read(text: bytes) -> OracleGame | None:
    """Read a game as python-chess does, blank lines between its moves aside."""
    lines = [line for line in decoded(text).replace("\r", "").split("\n") if line.strip()]
    game = chess.pgn.read_game(io.StringIO("\n".join(lines)))
    if game is None:
        return None
    board = game.board()
    fens, clocks, moves, repetitions = [], [], [], []
    seen: Counter[str] = Counter()
    nodes = [game, *game.mainline()]
    for node in nodes:
        if node.move is not None:
            moves.append(node.move.uci())
            board.push(node.move)
        fens.append(board.fen())
        clocks.append(board.halfmove_clock)
        identity = fens[-1].rsplit(" ", 2)[0]
        repetitions.append(min(seen[identity], 255))
        seen[identity] += 1
    results = {"1-0": 2, "1/2-1/2": 1, "0-1": 0}
    scores = [node.eval() for node in nodes]
    return OracleGame(
        headers=dict(game.headers),
        fens=fens,
        moves=moves,
        clocks=clocks,
        repetitions=repetitions,
        result=results.get(game.headers.get("Result", "*")),
        errors=list(game.errors),
        terminal_score=-32000 if board.is_checkmate() else 0 if board.is_stalemate() else None,
        white_evals=[None if score is None else score.white().score(mate_score=32000) for score in scores],
    )

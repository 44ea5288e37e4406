"""Engine answers: the bytes that a UCI engine prints, turned into a score and a move for each `bestmove`.

Pure: bytes in, answers out, however the bytes are cut. Called by the engine. Never keeps more than one
unfinished line.
"""

import re
from typing import NamedTuple

from common import scores
from common.errors import EngineDied

LINE_BYTES_MAX = 1 << 20
"""Longest line that an engine may print."""

_SCORE = re.compile(rb" score (cp|mate) (-?\d{1,9})(?: (?:lower|upper)bound)?(?: nodes (\d{1,18}))?")
_CENTIPAWNS_BELIEVED = 1_000_000
_MATE_BELIEVED = scores.MATE_MOVES_MAX
_END = re.compile(rb"\nbestmove([^\n]*)(?=\n)")


class Answer(NamedTuple):
    """What an engine makes of one position."""

    score: int
    """int16 code, from its side to move."""
    best_move: str
    """In UCI's notation, as the engine gives it, unchecked."""


class Answers:
    """Reads an engine's output: the last score before a `bestmove` is the answer to one `go`."""

    def __init__(self) -> None:
        self.nodes = 0
        """Nodes of all answers so far, as far as the engine says them."""
        self._unfinished = b"\n"
        self._score: tuple[int, int] | None = None

    def feed(self, data: bytes) -> list[Answer]:
        """Return the answers that `data` completes.

        Raises EngineDied if an answer comes without a score, a score is beyond belief, or a line never ends.
        """
        *answers, rest = _END.split(self._unfinished + data)
        found = []
        for said, move in zip(answers[::2], answers[1::2], strict=True):
            last = self._last_score(said) or self._score
            self._score = None
            if last is None:
                raise EngineDied("the engine gave a best move without a score")
            found.append(
                Answer(last[0], move.split(maxsplit=1)[0].decode("ascii", "replace") if move.strip() else "")
            )
            self.nodes += last[1]
        line = rest.rfind(b"\n")
        if line >= 0:
            self._score = self._last_score(rest[:line]) or self._score
            rest = rest[line:]
        if len(rest) > LINE_BYTES_MAX:
            raise EngineDied(f"the engine printed a line of more than {LINE_BYTES_MAX} bytes")
        self._unfinished = rest
        return found

    @staticmethod
    def _last_score(lines: bytes) -> tuple[int, int] | None:
        """Return score and nodes of the last `info … score …` in `lines`, None if there is none."""
        end = len(lines)
        while (at := lines.rfind(b" score ", 0, end)) >= 0:
            start = lines.rfind(b"\n", 0, at) + 1
            match = _SCORE.match(lines, at)
            if match is not None and not lines.startswith(b"info string", start):
                return _believed(match[1].decode(), int(match[2])), int(match[3] or 0)
            end = start
        return None


def _believed(kind: str, value: int) -> int:
    """Return the int16 score of UCI's `score kind value`; raise EngineDied if no sane engine says it."""
    if abs(value) > (_CENTIPAWNS_BELIEVED if kind == "cp" else _MATE_BELIEVED):
        raise EngineDied(f"the engine gave a score beyond belief: {kind} {value}")
    return scores.from_uci(kind, value)

"""Cuts the lines of PGN text into games, without understanding a single move.

Owns where one game ends and the next begins; `broker.sources` feeds it lines. It must never raise on any
input, and never hold more than one game of MAX_GAME_BYTES.

The rules, in the order of what people's files look like:

- A header block and the movetext after it are one game, whatever blank lines lie between or inside.
- A tag outside a comment begins a new game once movetext has been seen. Before any movetext it does so
  where its name stands in the header block already, and it follows a blank line or is the block's first
  name: two header blocks with no moves between are two games, a tag given twice in a block is one game.
- A termination marker (`1-0`, `0-1`, `1/2-1/2`, `*`) outside comments and variations ends the game. Moves
  after it, on the same line too, are a new game without headers; comments and variations after it still
  belong to it.
- A blank line alone ends nothing. After one, though, moves that count from `1.` anew, White to move, are a
  new game: this is how games without headers or results follow one another. (Inside a variation, only in
  a game without headers.)
- A comment that is never closed must not swallow the file: after a blank line inside a comment, a line that
  is a whole tag named `Event`, or like the game's own first tag, begins a new game. In a game without
  headers so do, after a blank line, moves that count from `1.`.
- `%` in the first column hides a line; `;` hides the rest of one. Both stay in the game's text.
- Text that is neither tag, comment nor movetext is skipped before the first game and between two games. A
  result without tags and moves is no game.
"""

import re
from collections.abc import Iterable, Iterator

MAX_GAME_BYTES = 1024 * 1024
"""A longer game is handed on as its first MAX_GAME_BYTES + 1 bytes: its length says that it is too large."""

_SPACE, _PERCENT, _PARENTHESIS, _SEMICOLON, _BRACKET, _BRACE = b" %(;[{"

_NAME = rb"[^\s\"\]%][^\s\"\]]*"
_TAG = re.compile(rb"\s*\[\s*(" + _NAME + rb')\s*"')
_PLAIN_TAG_LINE = re.compile(rb"\[(" + _NAME + rb')\s+"[^"\\]*"\]\s*\Z')
_WHOLE_TAG_LINE = re.compile(rb"\[\s*(" + _NAME + rb')\s*".*"\s*\]\s*\Z')
_WELL_FORMED_TAG = re.compile(rb"\s*\[\s*(" + _NAME + rb')\s*"(?:[^"\\]|\\.)*"\s*\]')
_MOVE = (
    rb"(?:[NBKRQP]?[a-h]?[1-8]?[x:-]?[a-h][1-8](?:=?[nbrqkNBRQK])?|[PNBRQK]?@[a-h][1-8]"
    rb"|O-O(?:-O)?|0-0(?:-0)?|--|Z0|0000|@@@@)(?![\w/-])"
)
_MOVETEXT = re.compile(rb"(?:\d++\s*+\.*+\s*+)?" + _MOVE)
_FIRST_MOVE = re.compile(rb"\s*1\s*\.\s*" + _MOVE)
_MARKER = rb"\*|(?<![\w/-])(?:1-0|0-1|1/2-1/2)(?![\w/-])"
_TERMINATION = re.compile(_MARKER)
_SPECIAL = re.compile(rb"\{[^}]*\}?|;.*|[()]|" + _MARKER)
#: What may stand between games without being movetext: space, closed comments, NAGs, results.
# Plain repeats: possessive ones go wrong in early releases of Python 3.11. Nothing follows, so none backtracks.
_FILLER = re.compile(rb"(?:\s+|\{[^}]*\}|\$\d+|[!?]+|" + _MARKER + rb")*")
_FILLER_BEFORE_MOVES = re.compile(rb"(?:\s+|\{[^}]*\})*")


def split(blocks: Iterable["LineBlock"]) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, text) of each game in `blocks`; the text's lines end in `\\n` alone."""
    splitter = Splitter()
    for block in blocks:
        for line in block.lines:
            splitter.add(line)
            if splitter.games:
                yield from splitter.take()
        if block.fragment:
            splitter.add(block.fragment)
            splitter.continue_line()
            yield from splitter.take()
    splitter.finish()
    yield from splitter.take()


class LineBlock:
    """A run of lines without their line ends, and the beginning of a line that is too long to hold."""

    __slots__ = ("fragment", "lines")

    def __init__(self, lines: list[bytes], fragment: bytes = b"") -> None:
        self.lines = lines
        self.fragment = fragment


class Splitter:
    """The state of the cutting: add lines, take finished games, `finish` at the end of the source."""

    def __init__(self) -> None:
        self.games: list[tuple[int, bytes]] = []
        """Games finished and not taken yet: line number from 1, text."""
        self._line = 0
        self._continued = False
        self._in_comment = False
        self._depth = 0
        self._after_blank = True
        self._begin(1)

    def add(self, line: bytes) -> None:
        """Take the next line of the source, without its line end."""
        if self._continued:
            self._continued = False
            self._scan(line)
            return
        self._line += 1
        first = line[0] if line else _SPACE
        if first <= _SPACE and (not line or line.isspace()):
            self._blank_lines += 1
            self._after_blank = True
            return
        if self._in_comment:
            self._comment_line(line)
        elif first == _BRACKET or first <= _SPACE:
            self._bracket_line(line)
        elif first == _PERCENT:
            self._append(line)
        else:
            self._text_line(line)
        self._after_blank = False

    def continue_line(self) -> None:
        """Say that what is added next continues the line that was added last."""
        self._continued = True

    def take(self) -> list[tuple[int, bytes]]:
        """Return the finished games and forget them."""
        games, self.games = self.games, []
        return games

    def finish(self) -> None:
        """End the last game at the end of the source."""
        if self._tags or self._moves:
            text = b"\n".join(self._parts)
            self.games.append((self._first_line, text[: MAX_GAME_BYTES + 1]))
        self._begin(self._line)

    # One game's state: `_tags` empty and `_moves` false before it begins, `_ended` after its result.

    def _begin(self, line: int) -> None:
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._blank_lines = 0
        self._first_line = line
        self._first_tag = b""
        self._tags: set[bytes] = set()
        self._moves = False
        self._ended = False
        self._in_comment = False
        self._depth = 0

    def _append(self, part: bytes) -> None:
        if self._size_bytes > MAX_GAME_BYTES + 1:
            return
        if not self._parts:
            self._first_line = self._line
        elif self._blank_lines:
            # Blank lines count only once something follows them: those after the last game are no text.
            self._parts += [b""] * min(self._blank_lines, MAX_GAME_BYTES)
            self._size_bytes += self._blank_lines
        self._blank_lines = 0
        self._parts.append(part)
        self._size_bytes += len(part) + 1

    def _append_part(self, part: bytes) -> None:
        """Append a part of a line that was cut, unless nothing is left of it."""
        part = part.rstrip()
        if part:
            self._append(part)

    def _comment_line(self, line: bytes) -> None:
        if self._after_blank and self._begins_after_open_comment(line):
            self.finish()
            self._line -= 1  # counted already
            self.add(line)
        elif b"}" in line:
            self._scan(line)
        else:
            self._append(line)

    def _begins_after_open_comment(self, line: bytes) -> bool:
        tag = _WHOLE_TAG_LINE.match(line)
        if tag:
            return tag[1] in (b"Event", self._first_tag)
        return self._moves and not self._tags and _FIRST_MOVE.match(line) is not None

    def _bracket_line(self, line: bytes) -> None:
        tag = _PLAIN_TAG_LINE.match(line)
        if tag is None:
            if _TAG.match(line):
                self._scan(line)
            else:
                self._text_line(line)
            return
        name = tag[1]
        if self._tag_begins_game(name):
            self.finish()
        self._note_tag(name)
        self._append(line)

    def _note_tag(self, name: bytes) -> None:
        if not self._tags:
            self._first_tag = name
        if self._size_bytes <= MAX_GAME_BYTES:  # bounds the names, too
            self._tags.add(name)

    def _tag_begins_game(self, name: bytes) -> bool:
        # With neither tags nor moves so far there is only a preamble, which `finish` drops.
        if self._moves or not self._tags:
            return True
        return name in self._tags and (self._after_blank or name == self._first_tag)

    def _text_line(self, line: bytes) -> None:
        if not self._moves or (self._ended and self._depth == 0):
            self._scan(line)
        elif self._after_blank and self._counts_anew(line):
            self.finish()
            self._scan(line)
        elif b"{" in line or b"(" in line or b")" in line or b";" in line:
            self._scan(line)
        elif b"1-0" in line or b"0-1" in line or b"1/2-" in line or b"*" in line:
            self._last_line(line)
        else:
            self._append(line)

    def _counts_anew(self, line: bytes) -> bool:
        return (self._depth == 0 or not self._tags) and _FIRST_MOVE.match(line) is not None

    def _last_line(self, line: bytes) -> None:
        marker = _TERMINATION.search(line)
        if marker is None or self._depth or marker.end() != len(line.rstrip()):
            self._scan(line)
        else:
            self._ended = True
            self._append(line)

    def _scan(self, line: bytes) -> None:
        """Take a line that needs a closer look."""
        begin = at = 0  # `begin` is where the current game's part of the line begins
        while at < len(line):
            if self._in_comment:
                close = line.find(b"}", at)
                if close < 0:
                    break
                self._in_comment = False
                at = close + 1
            elif self._moves and (self._depth or not self._ended):
                at = self._within(line, at)
            else:
                at, begin = self._between(line, at, begin)
        self._append_part(line[begin:])

    def _within(self, line: bytes, at: int) -> int:
        """Go on inside the movetext to the next thing that matters; return where to go on."""
        special = _SPECIAL.search(line, at)
        if special is None:
            return len(line)
        token = special[0]
        if token[0] == _BRACE:
            self._in_comment = token[-1:] != b"}"
        elif token == b"(":
            self._depth += 1
        elif token == b")":
            self._depth = max(0, self._depth - 1)
        elif token[0] != _SEMICOLON:
            self._ended = self._ended or self._depth == 0
        return special.end()

    def _between(self, line: bytes, at: int, begin: int) -> tuple[int, int]:
        """Go on before the moves or after a result; return where to go on and where the game begins."""
        in_headers = bool(self._tags) and not self._moves
        at = _end(_FILLER_BEFORE_MOVES.match(line, at) if in_headers else _FILLER.match(line, at), at)
        if at == len(line):
            return at, begin
        if line[at] == _BRACE:
            self._in_comment = True
            return at + 1, begin
        if line[at] == _SEMICOLON:
            return len(line), begin
        if line[at] == _PARENTHESIS and self._ended:
            self._depth = 1
            return at + 1, begin
        tag = _TAG.match(line, at)
        if tag:
            if self._tag_begins_game(tag[1]):
                begin = self._cut(line, at, begin)
            self._note_tag(tag[1])
            well_formed = _WELL_FORMED_TAG.match(line, at)
            if well_formed:
                return well_formed.end(), begin
            # A tag with stray quotes ends at the line's last `"]`.
            return max(line.rfind(b'"]', at) + 2, tag.end()), begin
        if in_headers:
            # Whatever this is, no header stands here: `[` without a tag's name is passed over.
            self._moves = line[at] != _BRACKET
            return (at if self._moves else len(line)), begin
        if _MOVETEXT.match(line, at):
            if self._ended:
                begin = self._cut(line, at, begin)
            self._moves = True
            return at, begin
        # Neither tag, comment nor move: no part of any game.
        self._append_part(line[begin:at])
        return len(line), len(line)

    def _cut(self, line: bytes, at: int, begin: int) -> int:
        """End the game before byte `at` of `line`; return `at`, where the next one begins."""
        self._append_part(line[begin:at])
        self.finish()
        return at


def _end(match: re.Match[bytes] | None, otherwise: int) -> int:
    return match.end() if match else otherwise

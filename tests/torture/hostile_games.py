"""PGN that nobody would write by accident, fed to the readers of the broker and of the actor.

    python -m tests.torture.hostile_games GAMES BOMB_BYTES SEED     prints one line of JSON: a Found

A process of its own, whose memory is measured. Each game comes out as one that can be used, or is rejected with a
reason; nothing raises; bombs are read as streams.
"""

import bz2
import gzip
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
import zstandard

from actor.games import read_games
from broker.sources import check, games
from broker.splitter import LineBlock, split
from common.errors import SourceError
from common.messages import RawGame
from common.rejections import MAX_DETAIL
from tests.torture.peak import peak_bytes

SIZE = 1_000_000
"""Characters of a large game, a little below the limit."""
PIECES = (
    '[Event "x"]\n', '[FEN "8/8/8/8/8/8/4P3/4K2k w - - 0 1"]\n', '[Result "1-0"]', "\n\n", " ", "\n", "1. e4 ",
    "e5 ", "2. Nf3 ", "Ke2 ", "cxd8Q ", "O-O-O-O ", "{", "}", "(", ")", ";", "%", "$1 ", "[%eval 0.3]",
    "[%eval #-3]", "--", "1-0 ", "* ", "\x00", "\r", "\x1a", "\ufeff", "\u2028", "🙈", "\\", '"', "[", "]", "Z0 ",
    "e2e4 ", "e8=Q ", "1... ",
)  # fmt: skip
FENS = (
    "/".join(["KKKKKKKK"] * 8) + " w - - 0 1", "8" * 100 + " w - - 0 1", "9/9/9/9/9/9/9/9 w - - 0 1",
    "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkqKQkqKQkq - 0 1", "4k3/8/8/8/8/8/8/4K3 w - e9 0 1",
    "4k3/8/8/8/8/8/8/4K3 w - - -1 -1", "4k3/8/8/8/8/8/8/4K3 w - - 0 " + "9" * 5000, "k" * 64, "", " ", "\x00",
    "pppppppp/4k3/8/8/8/8/4K3/PPPPPPPP b - - 0 1", "4k3/8/8/8/8/8/8/4K3 x - - 0 1", "8/8/8/8/8/8/8/8 w - - 0 1",
    "QQQQQQQQ/QQQQQQQQ/QQQQQQQQ/QQQQQQQQ/QQQQQQQQ/QQQQQQQQ/QQQQQQQQ/K6k w - - 0 1", "4" * SIZE,
)  # fmt: skip


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What came of hostile games."""

    games: int
    used: int
    rejected: dict[str, int]
    """By reason."""
    bomb_bytes: int
    """Unpacked bytes of the bombs that were read."""
    failures: list[str]
    slowest_s: float
    memory_max_bytes: int


def monsters() -> dict[str, bytes]:
    """Return large or deep games by what is wrong with them."""
    deep = SIZE // 10
    found = {
        "variations 100,000 deep": "1. e4 " + "(e5 " * deep + ")" * deep + " e5 1-0",
        "variations never closed": "1. e4 " + "(e5 " * (2 * deep) + "1-0",
        "nothing but open variations": "1. e4 " + "(" * SIZE,
        "nothing but closed variations": "1. e4 " + ")" * SIZE + " *",
        "a comment never closed": "1. e4 {" + "x" * SIZE,
        "comments opened again and again": "1. e4 " + "{ " * (SIZE // 2),
        "comments closed again and again": "1. e4 " + "} " * (SIZE // 2) + "*",
        "a tag without end": '[Event "' + "x" * SIZE + '"]\n\n1. e4 *',
        "a tag never closed": '[Event "' + "x" * SIZE,
        "a tag of blanks": "[" + " " * SIZE + "]",
        "a tag of blanks and quotes": "[a " + '" ' * (SIZE // 2) + "]",
        "tags of blanks": ("[" + " " * 1000 + "]\n") * (SIZE // 1000),
        "a tag's name without end": "[" + "x" * SIZE + ' "y"]\n\n1. e4 *',
        "50,000 tags": "".join(f'[T{number} "x"]\n' for number in range(50_000)) + "\n1. e4 *",
        "tags on one line": '[A "x"]' * (SIZE // 14) + " " * (SIZE // 2),
        "tags that are none": '[A "x ' * (SIZE // 6),
        "escapes without end": '[A "' + "\\" * SIZE + '"]\n\n1. e4 *',
        "NULs": "\x00" * SIZE,
        "NULs among moves": "1. e4\x00 e5\x00 " * 1000 + "*",
        "a number of a megabyte": "1" * SIZE + ". e4 *",
        "numbers and no moves": "1. " * (SIZE // 3) + "*",
        "a glyph of 5,000 digits": "1. e4 $" + "9" * 5000 + " e5 *",
        "glyphs without end": "1. e4 " + "$1 " * (SIZE // 3) + "*",
        "a move without end": "1. e4 N" + "f" * SIZE + " *",
        "260,000 plies": "Nf3 Nf6 Ng1 Ng8 " * (SIZE // 16) + "*",
        "evaluations without end": "1. e4 { " + "[%eval 0.1] " * (SIZE // 12) + "} *",
        "an evaluation without end": "1. e4 { [%eval " + "9" * SIZE + "] } *",
        "evaluations of blanks": "1. e4 { " + "[%eval " * (SIZE // 7) + "} *",
        "lines of blanks": "1. e4\n" + (" " * 1000 + "\n") * (SIZE // 1001) + "e5 *",
        "blank lines": "1. e4" + "\n" * SIZE + "e5 *",
        "carriage returns": "1. e4" + "\r" * SIZE + "e5 *",
        "a line comment without end": "1. e4 ; " + "x " * (SIZE // 2),
        "results without end": "1. e4 " + "1-0 " * (SIZE // 4),
        "games on one line": "1. e4 1-0 " * (SIZE // 10),
        "commands of a terminal": "1. e4 \x1b[2J\x1b]0;x\x07 *",
        "text from right to left": '[White "\u202egnp.exe"]\n\n1. e4 *',
        "other alphabets": "1. е4 e5 *",
    }
    texts = {name: text.encode() for name, text in found.items()}
    texts |= {f"the position {fen[:20]!r}": f'[FEN "{fen}"]\n\n1. e4 *'.encode() for fen in FENS}
    texts["no UTF-8"] = b'[White "\xff\xfe\xed\xa0\x80"]\n\n1. e4 \xff *'
    texts["binary"] = bytes(range(256)) * (SIZE // 256)
    return texts


def feed(count: int, bomb_bytes: int, seed: int) -> Found:
    """Read every monster, `count` games that are made of pieces, and bombs that unpack to `bomb_bytes` each."""
    rng = random.Random(seed)
    failures: list[str] = []
    rejected: Counter[str] = Counter()
    used = tried = 0
    slowest_s = 0.0
    texts = [text for text in monsters().values() if len(text) <= 1 << 20]
    made = ["".join(rng.choices(PIECES, k=rng.choice((3, 10, 60)))).encode() for _ in range(count)]
    for part in [*([text] for text in texts), *(made[at : at + 16] for at in range(0, count, 16))]:
        begun_s = time.perf_counter()
        try:
            good, bad = _read(part)
        except Exception as error:
            failures.append(f"{part[0][:60]!r}: {error!r}"[:300])
            continue
        slowest_s = max(slowest_s, time.perf_counter() - begun_s)
        tried += len(part)
        used += good
        rejected.update(bad)
        if good + len(bad) != len(part):
            failures.append(f"{len(part)} games in, {good} and {len(bad)} out")
    for text in [*texts, *made]:
        begun_s = time.perf_counter()
        for _ in split(iter([LineBlock(text.split(b"\n"))])):
            pass
        slowest_s = max(slowest_s, time.perf_counter() - begun_s)
    with tempfile.TemporaryDirectory() as folder:
        written = bombs(Path(folder), bomb_bytes)
        for path in written:
            _read_bomb(path, failures)
    return Found(
        games=tried, used=used, rejected=dict(rejected), bomb_bytes=len(written) * bomb_bytes,
        failures=failures[:20], slowest_s=slowest_s,
        memory_max_bytes=peak_bytes(),
    )  # fmt: skip


def _read(texts: list[bytes]) -> tuple[int, list[str]]:
    raw = [RawGame(number=number, source="a.pgn", line=1, text=text) for number, text in enumerate(texts)]
    found, rejections = read_games(raw, comments=True)
    for game in found:
        assert len(game.positions) == len(game) + 1 == len(game.moves_uci) + 1
    for rejection in rejections:
        assert "\n" not in rejection.detail
        assert 0 < len(rejection.detail) <= MAX_DETAIL
    return len(found), [rejection.reason.value for rejection in rejections]


def bombs(folder: Path, size_bytes: int) -> list[Path]:
    """Write files that unpack to `size_bytes`: a line without end, and lines without end, in each packing."""
    chunk = 1 << 20
    paths = []
    for name, content in (
        ("line", b"e" * chunk),
        ("lines", (b"\n" + b" " * 63) * (chunk // 64)),
        ("zeros", bytes(chunk)),
    ):
        for suffix, pack in (("zst", zstandard.compress), ("gz", gzip.compress), ("bz2", bz2.compress)):
            path = folder / f"{name}.pgn.{suffix}"
            path.write_bytes(pack(b'[Event "x"]\n\n1. e4 ') + pack(content) * (size_bytes // chunk))
            paths.append(path)
    return paths


def _read_bomb(path: Path, failures: list[str]) -> None:
    """Read a bomb as a source."""
    try:
        try:
            check(path)
        except SourceError as error:
            if "\n" in str(error):
                failures.append(f"{path.name}: refused in more than one line")
        with games([path]) as found:
            texts = [len(game.text) for game in found]
        if any(size > (1 << 20) + 1 for size in texts):
            failures.append(f"{path.name}: a game of {max(texts)} bytes")
    except Exception as error:
        failures.append(f"{path.name}: {error!r}"[:300])


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    found = feed(*map(int, sys.argv[1:]))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")

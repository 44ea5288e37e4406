import bz2
import difflib
import gzip
import io
import json
import logging
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import chess.pgn
import pytest
import zstandard

from broker import sources
from broker.sources import Games, check, fingerprint, games, keep_stdin
from broker.splitter import MAX_GAME_BYTES
from common.errors import SourceError

GAME = b'[Event "a"]\n[Result "1-0"]\n\n1. e4 e5 1-0\n'


def zstd(data: bytes) -> bytes:
    return zstandard.compress(data, 3)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def texts(path: Path) -> list[bytes]:
    return [game.text for game in games([path])]


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as error:
        check(path)
    message = str(error.value)
    assert "\n" not in message
    return message


# Reading


def test_games_are_numbered_over_all_sources_and_lines_count_in_each(tmp_path: Path) -> None:
    first = write(tmp_path / "a.pgn", b"\n" + GAME + b"\n" + GAME)
    second = write(tmp_path / "b.pgn", GAME)
    found = [(game.number, game.source, game.line) for game in games([first, str(second)])]
    assert found == [(0, str(first), 2), (1, str(first), 7), (2, str(second), 1)]


@pytest.mark.parametrize("compress", [bytes, zstd, gzip.compress, bz2.compress])
@pytest.mark.parametrize("name", ["a.pgn", "a.pgn.zst", "a"])
def test_compression_is_recognised_by_content(
    tmp_path: Path, compress: Callable[[bytes], bytes], name: str
) -> None:
    path = write(tmp_path / name, compress(GAME * 3))
    check(path)
    assert texts(path) == [GAME.rstrip()] * 3


@pytest.mark.parametrize("compress", [zstd, gzip.compress, bz2.compress])
def test_files_of_several_compressed_streams_are_read_to_their_end(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = write(tmp_path / "a.pgn", compress(GAME) + compress(GAME))
    assert len(texts(path)) == 2


def test_zstd_files_with_skippable_frames_are_read(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    assert len(texts(write(tmp_path / "a.zst", skippable + zstd(GAME) + skippable))) == 1


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_line_ends_and_byte_order_marks_are_evened_out(
    tmp_path: Path, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"\xef\xbb\xbf" + GAME + b"\n\xef\xbb\xbf" + GAME + b"\n"
    path = write(tmp_path / "a.pgn", data.replace(b"\n", end))
    for block_bytes in (1, 2, 7, 1 << 18):
        monkeypatch.setattr(sources, "_BLOCK_BYTES", block_bytes)
        assert [(game.line, game.text) for game in games([path])] == [(1, GAME.rstrip()), (6, GAME.rstrip())]


def test_the_last_game_needs_no_line_end(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.pgn", GAME + b"\r\n1. d4\r")) == [GAME.rstrip(), b"1. d4"]


def test_an_endless_line_takes_bounded_memory_and_the_next_game_is_whole(tmp_path: Path) -> None:
    endless = b'[Event "a"]\n1. e4 {' + b"x" * (48 << 20) + b"}\n\n" + GAME
    path = write(tmp_path / "a.pgn.zst", zstd(endless))
    tracemalloc.start()
    try:
        lengths = [len(game.text) for game in games([path])]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lengths == [MAX_GAME_BYTES + 1, len(GAME.rstrip())]
    assert peak_bytes < 48 << 20


def test_many_games_on_one_line_longer_than_any_block_are_all_read(tmp_path: Path) -> None:
    count = 200_000
    path = write(tmp_path / "a.pgn", b"e4 e5 1-0 " * count)
    assert sum(1 for _ in games([path])) == count


@pytest.mark.parametrize("compress", [zstd, gzip.compress, bz2.compress])
def test_a_file_cut_short_is_reported_after_the_games_before_the_cut(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    noise = b"".join(b'[Event "%s"]\n1. e4 *\n' % os.urandom(20).hex().encode() for _ in range(200_000))
    data = compress(noise)
    path = write(tmp_path / "a.pgn", data[: len(data) // 2])
    read = games([path])
    with pytest.raises(
        SourceError, match=r"a.pgn: damaged or cut short near byte [\d,]+ of [\d,]+, after "
    ) as error:
        for _ in read:
            pass
    assert read.games_read > 1000
    assert f"after {read.games_read:,} games" in str(error.value)


@pytest.mark.parametrize("compress", [zstd, gzip.compress, bz2.compress])
def test_a_damaged_file_is_reported_in_one_line(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    data = bytearray(compress(GAME * 1000))
    data[len(data) // 2 :] = b"\xff" * 40
    path = write(tmp_path / "a.pgn", bytes(data))
    with pytest.raises(SourceError, match="damaged or cut short") as error:
        list(games([path]))
    assert "\n" not in str(error.value)


def test_bytes_read_reaches_the_size_of_all_sources(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.pgn", GAME * 50_000), write(tmp_path / "b.pgn.zst", zstd(GAME))]
    with Games(paths) as read:
        assert read.bytes_read == 0
        next(read)
        assert 0 < read.bytes_read < read.size_bytes
        assert sum(1 for _ in read) == 50_000
        assert read.bytes_read == read.size_bytes == sum(path.stat().st_size for path in paths)


def test_closing_ends_the_games(tmp_path: Path) -> None:
    read = Games([write(tmp_path / "a.pgn", GAME * 2)])
    next(read)
    read.close()
    assert list(read) == []


# Checks at the start


def test_a_good_file_passes(tmp_path: Path) -> None:
    check(write(tmp_path / "a.pgn", GAME))
    check(write(tmp_path / "b.pgn", b"1. e4 e5"))
    check(write(tmp_path / "c.pgn", GAME[:-9] + b"{" + b"x" * 100_000 + b"} *"))


def test_a_missing_file_is_named_with_near_ones(tmp_path: Path) -> None:
    write(tmp_path / "games.pgn.zst", GAME)
    message = refusal(tmp_path / "game.pgn")
    assert f"{tmp_path}/game.pgn: no such file; did you mean {tmp_path}/games.pgn.zst?" in message


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path / 'none'} either" in refusal(tmp_path / "none" / "a.pgn")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "a directory" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "use - for standard input" in refusal(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pgn", GAME)
    path.chmod(0)
    assert "can't be read: Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (zstd(b""), "no game in it"),
        (b"\n \n\n", "no game in it"),
        (b"% nothing\n; here\n{ at all }\n", "no game in it: there is no tag and no move in it"),
        (b"A text about something else entirely.\n" * 9, "not PGN"),
        (b"id,name\n1,a\n" * 99_999, "no tag and no move in its first 64 KiB"),
        (b"rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - bm e4;\n", "not PGN"),
        (bytes(range(256)) * 40, "a binary file"),
        (b"PK\x03\x04" + bytes(99), "a zip archive"),
        (GAME.decode().encode("utf-16"), "UTF-16"),
        (GAME.decode().encode("utf-16-le"), "a binary file"),
        (zstd(GAME * 9)[:-9], "cut short"),
        (b"\x28\xb5\x2f\xfdno zstd at all", "damaged"),
    ],
)
def test_what_is_not_pgn_is_refused_with_its_reason(tmp_path: Path, data: bytes, says: str) -> None:
    assert says in refusal(write(tmp_path / "a.pgn", data))


# Standard input and fingerprints


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_standard_input_is_kept_as_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        kept = keep_stdin(tmp_path / "run", io.BytesIO(zstd(GAME)))
    assert kept == tmp_path / "run" / "games-stdin.pgn"
    assert texts(kept) == [GAME.rstrip()]
    assert [(record.message, record.__dict__["size_bytes"]) for record in caplog.records] == [
        ("standard input kept", kept.stat().st_size)
    ]
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize("again", [io.BytesIO(GAME), io.BytesIO(b""), Terminal()])
def test_the_same_input_nothing_or_a_terminal_goes_on_with_the_file_kept(tmp_path: Path, again: io.BytesIO) -> None:
    kept = keep_stdin(tmp_path, io.BytesIO(GAME))
    assert keep_stdin(tmp_path, again) == kept
    assert kept.read_bytes() == GAME
    assert list(tmp_path.iterdir()) == [kept]


def test_other_input_never_replaces_the_file_kept(tmp_path: Path) -> None:
    kept = keep_stdin(tmp_path, io.BytesIO(GAME))
    with pytest.raises(SourceError, match="use another run directory"):
        keep_stdin(tmp_path, io.BytesIO(GAME + GAME))
    assert kept.read_bytes() == GAME
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(("stream", "says"), [(io.BytesIO(b""), "empty"), (Terminal(), "is a terminal")])
def test_no_input_at_all_is_refused(tmp_path: Path, stream: io.BytesIO, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        keep_stdin(tmp_path, stream)
    assert list(tmp_path.iterdir()) == []


def test_a_fingerprint_covers_the_whole_of_a_small_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pgn", GAME)
    mark = fingerprint(path)
    assert (mark.name, mark.size_bytes, len(mark.sha256)) == ("a.pgn", len(GAME), 64)
    assert fingerprint(str(path)) == mark
    assert fingerprint(write(path, GAME.replace(b"e4", b"d4"))) != mark


def test_a_fingerprint_of_a_large_file_covers_its_size_beginning_middle_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "WHOLE_HASH_BYTES", 100)
    monkeypatch.setattr(sources, "PART_HASH_BYTES", 10)
    data = bytes(range(200))
    mark = fingerprint(write(tmp_path / "a", data))
    for changed, differs in ((5, True), (50, False), (105, True), (150, False), (195, True)):
        other = bytearray(data)
        other[changed] ^= 1
        assert (fingerprint(write(tmp_path / "a", bytes(other))) != mark) is differs
    assert fingerprint(write(tmp_path / "a", data + b"x")) != mark


# Against python-chess's own reader, on real files

DIFFERENCES = {
    # Two blank lines between headers and moves: python-chess takes the moves for a game of their own.
    "games-a.pgn.zst": (31_990, 31_997),
    # A blank line between the moves and the result, which python-chess takes for a game.
    "chesslib__ep.pgn": (1, 2),
    "chesslib__z0.pgn": (1, 2),
    # Games without headers, one a line, each ended by `*`: python-chess goes on to the next blank line.
    "pgn-extract__test-fuzzydepth.pgn": (4, 1),
    # Games of one line each, `[Result "1-0"] e4 *`: python-chess takes the whole line for headers.
    "pgn-extract__test-nobadresults.pgn": (9, 1),
    # A blank line between a comment and the result.
    "pgn4web__live-placeholder.pgn": (1, 2),
    # Garbage before the first tag is a game to python-chess, and two games on one line are a single one.
    "pgn4web__test.pgn": (15, 14),
    # A comment between headers and moves, with blank lines around it.
    "pgnnet__demoGames.pgn": (2, 4),
    # Header blocks without moves, parted by a blank line: python-chess makes one game of them all.
    "scalachess__uzchesscup.pgn": (45, 1),
}
"""Games of ours and of python-chess, where they differ."""

ONLY_MERGED_THERE = {
    "pgn-extract__test-fuzzydepth.pgn",
    "pgn-extract__test-nobadresults.pgn",
    "pgn4web__test.pgn",
    "scalachess__uzchesscup.pgn",
}
"""Where python-chess merges games; elsewhere its games are ours and some without headers besides."""

ODD_FILES = 69


def decoded(data: bytes) -> str:
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def content(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(data).read()
    return decoded(data).replace("\r\n", "\n")


def headers_in(text: str, limit: int | None = None) -> Iterator[str]:
    """Yield the headers of each game that python-chess finds in `text`, as text."""
    handle = io.StringIO(text)
    while limit != 0 and (headers := chess.pgn.read_headers(handle)) is not None:
        yield json.dumps(dict(headers.items()))
        limit = None if limit is None else limit - 1


def headers_of(text: bytes) -> str:
    return next(headers_in(decoded(text)))


def test_every_odd_file_has_the_games_that_python_chess_finds(shared_data: Path) -> None:
    paths = sorted((shared_data / "odd").iterdir())
    assert len(paths) == ODD_FILES
    for path in paths:
        ours = [headers_of(game.text) for game in games([path])]
        theirs = list(headers_in(content(path)))
        if path.name not in DIFFERENCES:
            assert ours == theirs, path.name
            continue
        assert (len(ours), len(theirs)) == DIFFERENCES[path.name], path.name
        if path.name not in ONLY_MERGED_THERE:
            matched = sum(
                block.size for block in difflib.SequenceMatcher(None, ours, theirs, False).get_matching_blocks()
            )
            assert matched == len(ours), path.name


@pytest.mark.parametrize(
    "name", ["games/online-clk.pgn.zst", "games/online-lichess.pgn.zst", "evals/lichess-evals.pgn.zst"]
)
def test_real_files_have_the_games_that_python_chess_finds(shared_data: Path, name: str) -> None:
    path = shared_data / name
    ours = [headers_of(game.text) for game in games([path])]
    assert ours == list(headers_in(content(path)))


def test_a_large_file_has_the_games_that_python_chess_finds(shared_data: Path) -> None:
    path = shared_data / "games" / "games-a.pgn.zst"
    ours = [headers_of(game.text) for game in games([path])]
    theirs = list(headers_in(content(path)))
    assert (len(ours), len(theirs)) == DIFFERENCES[path.name]
    assert ours == [headers for headers in theirs if headers != "{}"]


@pytest.mark.parametrize(
    "folder_and_name",
    ["games/online-lichess.pgn.zst", "odd/pgn4web__test.pgn", "odd/chesslib__Morphy_UTF8.pgn.zst"],
)
def test_each_game_begins_on_the_line_that_it_names(shared_data: Path, folder_and_name: str) -> None:
    path = shared_data / folder_and_name
    lines = content(path).split("\n")
    for game in games([path]):
        assert decoded(game.text).split("\n")[0] in lines[game.line - 1]

"""Sources of games: PGN files, compressed or not, read as one stream of games.

Owns opening, decompressing, checking and fingerprinting sources, and keeping standard input. Called by the
broker's `units` and by whoever assembles a run. It must never hold a whole file: memory stays below a few
times `splitter.MAX_GAME_BYTES`, whatever the file. A compressed file is recognised by its first bytes,
not by its name.
"""

import bz2
import difflib
import gzip
import hashlib
import logging
import os
import stat
import sys
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import zstandard

from broker.splitter import LineBlock, split
from common.errors import SourceError
from common.messages import RawGame

logger = logging.getLogger(__name__)

STDIN = "-"
"""The name of standard input among the sources; `keep_stdin` turns it into a file."""
HEAD_BYTES = 64 * 1024
"""A source must show a tag or a move in this much of its decompressed beginning."""
WHOLE_HASH_BYTES = 64 * 1024 * 1024
"""Up to this size the fingerprint's hash covers the whole file."""
PART_HASH_BYTES = 4 * 1024 * 1024
"""Of a larger file it covers this much of its beginning, middle and end."""

_BLOCK_BYTES = 256 * 1024
_MAX_LINE_BYTES = 1024 * 1024
# zstd can blow 4 bytes up to 128 KiB: little goes in at a time, so that little comes out.
_ZSTD_BLOCK_BYTES = 128

_ZSTD, _ZSTD_SKIPPABLE = b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"
_BZIP2_BLOCK, _BZIP2_END = b"1AY&SY", b"\x17rE8P\x90"
_BOM = b"\xef\xbb\xbf"
_TEXT = bytes(byte for byte in range(256) if byte >= 32 or byte in b"\t\n\v\f\r\x1a\x1b")
_RIGHTS = "see to its rights, or name another"
_DAMAGE = (EOFError, OSError, zlib.error, zstandard.ZstdError)
_NOT_PGN = {
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it first",
    b"\xfd7zXZ\x00": "xz-compressed; decompress it first (.zst, .gz and .bz2 are read as they are)",
    b"Rar!": "a RAR archive; unpack it first",
    b"SQLite format 3\x00": "an SQLite database; name PGN files",
    b"\xff\xfe": "UTF-16 text; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16 text; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFingerprint:
    """What tells one source from another; equal fingerprints are taken for equal games."""

    name: str
    """File name without its folder."""
    size_bytes: int
    """Size of the file as it stands on disk, compressed or not."""
    sha256: str
    """Hex SHA-256 of the file's bytes; of a file over WHOLE_HASH_BYTES, of its size as a decimal number and
    a line end, then its first, middle (from half its size on) and last PART_HASH_BYTES."""


class Games(Iterator[RawGame]):
    """The games of `sources`, in order, numbered from 0; opens one file at a time and reads it as a stream.

    Raises SourceError, one line with source, byte offset and games so far, where a file can't be read or
    decompressed.
    """

    def __init__(self, sources: Sequence[str | Path]) -> None:
        self._sources = [str(source) for source in sources]
        self._sizes_bytes = [_size_bytes(source) for source in self._sources]
        self._read_before_bytes = 0
        self._file: BufferedReader | None = None
        self._games = self._read()
        self.games_read = 0
        """Games yielded so far."""

    @property
    def size_bytes(self) -> int:
        """Size of all sources on disk."""
        return sum(self._sizes_bytes)

    @property
    def bytes_read(self) -> int:
        """Bytes of the files on disk (as they stand, not decompressed) that were read so far."""
        return self._read_before_bytes + (self._file.tell() if self._file else 0)

    def __next__(self) -> RawGame:
        return next(self._games)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file that is open; no more games come."""
        self._games.close()

    def _read(self) -> Generator[RawGame]:
        for source, size_bytes in zip(self._sources, self._sizes_bytes, strict=True):
            with _open(source) as file:
                self._file = file
                try:
                    for line, text in split(_line_blocks(_decompressed(file))):
                        yield RawGame(number=self.games_read, source=source, line=line, text=text)
                        self.games_read += 1
                except _DAMAGE as error:
                    raise SourceError(_damage(source, file, self.games_read, error)) from error
                finally:
                    self._file = None
            self._read_before_bytes += size_bytes


def games(sources: Sequence[str | Path]) -> Games:
    """Return the games of `sources` in order, read as they are asked for."""
    return Games(sources)


def check(source: str | Path) -> None:
    """Raise SourceError, one line that says what to do, unless `source` can be read and begins like PGN."""
    source = str(source)
    if _size_bytes(source) == 0:
        raise SourceError(f"{source}: the file is empty; leave it out, or get it again")
    with _open(source) as file:
        for magic, what in _NOT_PGN.items():
            if file.peek(16).startswith(magic):
                raise SourceError(f"{source}: not PGN but {what}")
        try:
            head, is_whole = _head(file)
        except _DAMAGE as error:
            raise SourceError(_damage(source, file, 0, error)) from error
    if not head.strip():
        raise SourceError(
            f"{source}: there is no game in it, only {len(head):,} bytes of blank space; leave it out"
        )
    if len(head.translate(None, _TEXT)) > len(head) // 1000:
        raise SourceError(f"{source}: not PGN but a binary file; name PGN files, plain or .zst, .gz, .bz2")
    if next(split(_line_blocks(iter([head]))), None) is None:
        where = "it" if is_whole else f"its first {HEAD_BYTES // 1024} KiB"
        raise SourceError(
            f"{source}: not PGN, or no game in it: there is no tag and no move in {where}; leave it out"
        )


def fingerprint(source: str | Path) -> SourceFingerprint:
    """Return the fingerprint of the file `source`; reads all of it, or 12 MiB of a file over 64 MiB."""
    size_bytes = _size_bytes(str(source))
    digest = hashlib.sha256()
    with _open(str(source)) as file:
        if size_bytes <= WHOLE_HASH_BYTES:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        else:
            digest.update(b"%d\n" % size_bytes)
            for start in (0, size_bytes // 2, size_bytes - PART_HASH_BYTES):
                file.seek(start)
                digest.update(file.read(PART_HASH_BYTES))
    return SourceFingerprint(name=Path(source).name, size_bytes=size_bytes, sha256=digest.hexdigest())


def keep_stdin(directory: Path, stream: BinaryIO | None = None) -> Path:
    """Copy standard input (or `stream`) to `directory`/games-stdin.pgn and return that path.

    The file appears whole or not at all. One that an earlier start kept stands: it is returned where nothing
    comes in now (a terminal, or no bytes) or the same bytes do; other bytes raise SourceError.
    """
    stream = sys.stdin.buffer if stream is None else stream
    kept = directory / "games-stdin.pgn"
    if stream.isatty():
        if kept.exists():
            return kept
        raise SourceError("standard input is a terminal: pipe games into it, or name a file instead of -")
    partial = directory / "games-stdin.pgn.partial"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        size_bytes = _copy(stream, partial)
        if kept.exists():
            same = size_bytes == 0 or fingerprint(kept).sha256 == fingerprint(partial).sha256
            partial.unlink()
            if not same:
                raise SourceError(f"standard input is not what {kept} was made from; use another run directory")
            return kept
        if size_bytes == 0:
            partial.unlink()
            raise SourceError("standard input is empty: there is no game to read; pipe PGN into it, or name a file")
        partial.rename(kept)
        _sync_directory(directory)
    except OSError as error:
        raise SourceError(
            f"{kept}: can't keep standard input: {error.strerror}; make room or rights there"
        ) from error
    logger.info("standard input kept", extra={"path": str(kept), "size_bytes": size_bytes})
    return kept


def _size_bytes(source: str) -> int:
    """Return the size of the file `source`; raise SourceError unless it is a file."""
    path = Path(source)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise SourceError(f"{source}: no such file{_near_names(path)}") from error
    except OSError as error:
        raise SourceError(f"{source}: can't be read: {error.strerror}; {_RIGHTS}") from error
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{source}: a directory; name the PGN files in it")
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{source}: not a plain file, so it can't be read again; use - for standard input")
    return status.st_size


def _near_names(path: Path) -> str:
    try:
        names = sorted(entry.name for entry in path.absolute().parent.iterdir() if entry.is_file())
    except OSError:
        return f"; there is no folder {path.parent} either"
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    near = near or [name for name in names if name.split(".")[0] == path.name.split(".")[0]][:3]
    return (
        f"; did you mean {' or '.join(str(path.parent / name) for name in near)}?"
        if near
        else "; check its name and place"
    )


def _open(source: str) -> BufferedReader:
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise SourceError(f"{source}: can't be read: {error.strerror}; {_RIGHTS}") from error


def _damage(source: str, file: BufferedReader, games_read: int, error: Exception) -> str:
    size_bytes = os.fstat(file.fileno()).st_size
    reason = " ".join(str(error).split())
    return (
        f"{source}: damaged or cut short near byte {file.tell():,} of {size_bytes:,}, "
        f"after {games_read:,} games: {reason}; get it again"
    )


def _decompressed(file: BufferedReader) -> Iterator[bytes]:
    """Yield the content of `file` in blocks of bounded size."""
    magic = file.peek(16)
    if magic.startswith(_ZSTD) or (magic[1:4] == _ZSTD_SKIPPABLE and 0x50 <= magic[0] <= 0x5F):
        return _zstd_decompressed(file)
    if magic.startswith(_GZIP):
        return _blocks(gzip.GzipFile(fileobj=file))
    if magic.startswith(_BZIP2) and magic[4:10] in (_BZIP2_BLOCK, _BZIP2_END):
        return _blocks(bz2.BZ2File(file))
    return _blocks(file)


def _blocks(stream: BufferedIOBase) -> Iterator[bytes]:
    while block := stream.read(_BLOCK_BYTES):
        yield block


def _zstd_decompressed(file: BufferedReader) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor()
    frame = None
    gathered = bytearray()
    while data := file.read(_ZSTD_BLOCK_BYTES):
        while data:
            frame = frame or decompressor.decompressobj()
            gathered += frame.decompress(data)
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
        if len(gathered) >= _BLOCK_BYTES:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)
    if frame is not None:
        raise EOFError("the compressed data ends in the middle")


def _line_blocks(blocks: Iterator[bytes]) -> Iterator[LineBlock]:
    """Yield the lines of `blocks`; line ends may be LF, CRLF or CR; byte-order marks are dropped."""
    rest = b""
    for block in blocks:
        data = rest + block
        # A CR at the very end may be half of a CRLF; a line cut in two may hold half of a byte-order mark.
        held = b"\r" if data.endswith(b"\r") else b""
        if b"\r" in data:
            data = data[: len(data) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        last = lines.pop()
        if _BOM in data:
            lines = [line.replace(_BOM, b"") for line in lines]
        if len(last) > _MAX_LINE_BYTES:
            # In movetext a space parts tokens; without one in reach there is nothing to keep whole.
            space = last.rfind(b" ", len(last) // 2)
            cut = len(last) if space < 0 else space
            yield LineBlock(lines, last[:cut])
            last = last[cut:]
        else:
            yield LineBlock(lines)
        rest = last + held
    last_lines = rest.replace(b"\r", b"").replace(_BOM, b"")
    yield LineBlock([last_lines] if last_lines else [])


def _head(file: BufferedReader) -> tuple[bytes, bool]:
    """Return the first HEAD_BYTES of the content, and whether that is all of it."""
    head = b""
    for block in _decompressed(file):
        head += block
        if len(head) > HEAD_BYTES:
            return head[:HEAD_BYTES], False
    return head, True


def _copy(stream: BinaryIO, path: Path) -> int:
    size_bytes = 0
    with path.open("wb") as file:
        while block := stream.read(_BLOCK_BYTES):
            size_bytes += file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return size_bytes


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

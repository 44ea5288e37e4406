"""A disk that forgets: what a traced process wrote, synced and sent, and what a power cut at any moment leaves.

`disk_trace.c`, preloaded into the process, records every call in order. The model is the strictest that POSIX
allows: of a file, what was there at its last sync; of a directory, the names that were there when it was synced
itself. Beside it a kinder and more confusing one: of what was not synced, any block and any name may be there.
"""

import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from unittest import SkipTest

from common import wire
from common.errors import MessageError
from common.messages import Stored

_HEAD = Struct("<cQQII")
_BLOCK_BYTES = 512
_GREETING_BYTES = 64


def build(folder: Path) -> Path:
    """Compile the library that records; skips where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SkipTest("no C compiler (cc) to build the recorder of disk calls with")
    library = folder / "disk_trace.so"
    source = Path(__file__).with_name("disk_trace.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def environment(library: Path, root: Path, trace: Path) -> dict[str, str]:
    """Return what makes a process record what it does below `root` into `trace`."""
    return {"LD_PRELOAD": str(library), "DISK_TRACE_ROOT": str(root), "DISK_TRACE_FILE": str(trace)}


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call; see disk_trace.c."""

    op: str
    inode: int
    """The socket, of what was sent."""
    offset: int
    path: str
    data: bytes


def read_trace(path: Path) -> Iterator[Call]:
    """Yield the recorded calls in order."""
    content = path.read_bytes()
    at = 0
    while at < len(content):
        op, inode, offset, path_bytes, data_bytes = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        name = content[at : at + path_bytes].decode()
        at += path_bytes
        yield Call(op.decode(), inode, offset, name, content[at : at + data_bytes])
        at += data_bytes


@dataclass(slots=True)
class File:
    """A file as the process sees it, and as the disk has it."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes since, as offset and data, and cuts, as size and None."""


@dataclass(slots=True)
class Directory:
    """The names in a directory as the process sees them, and as the disk has them."""

    names: dict[str, "File | Directory"] = field(default_factory=dict)
    synced: dict[str, "File | Directory"] = field(default_factory=dict)


class Disk:
    """What is below `root`, call after call. `root` itself has been there since before."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tree = Directory()
        self._by_inode: dict[int, File | Directory] = {}

    def apply(self, call: Call) -> None:
        """Carry out a recorded call."""
        match call.op:
            case "c" | "m":
                self._by_inode[call.inode] = made = File() if call.op == "c" else Directory()
                self._parent(call.path).names[Path(call.path).name] = made
            case "o":
                found = self._find(call.path)
                if found is not None:
                    self._by_inode[call.inode] = found
            case "u" | "d":
                self._parent(call.path).names.pop(Path(call.path).name, None)
            case "r" | "l":
                moved = self._find(call.path)
                if moved is not None:
                    target = call.data.decode()
                    if call.op == "r":
                        del self._parent(call.path).names[Path(call.path).name]
                    self._parent(target).names[Path(target).name] = moved
            case "w" | "t" | "f":
                self._change(self._by_inode.get(call.inode), call)

    def after_power_cut(self, to: Path, kept: random.Random | None = None) -> None:
        """Write what is left after a power cut to `to`: what was synced, with `kept` some of the rest, too."""
        _write(self._tree, to, kept)

    def _change(self, node: File | Directory | None, call: Call) -> None:
        if isinstance(node, Directory) and call.op == "f":
            node.synced = dict(node.names)
        elif isinstance(node, File):
            if call.op == "f":
                node.synced = bytes(node.content)
                node.unsynced.clear()
            else:
                data = call.data if call.op == "w" else None
                _put(node.content, call.offset, data)
                node.unsynced.append((call.offset, data))

    def _find(self, path: str) -> "File | Directory | None":
        node: File | Directory | None = self._tree
        for name in Path(path).relative_to(self._root).parts:
            node = node.names.get(name) if isinstance(node, Directory) else None
        return node

    def _parent(self, path: str) -> Directory:
        parent = self._find(str(Path(path).parent))
        assert isinstance(parent, Directory), path
        return parent


def acknowledged(calls: list[Call]) -> Iterator[tuple[int, set[int]]]:
    """Yield where in `calls` each acknowledgement went out, by the bytes on the wire (ZMTP), and its units."""
    streams: dict[int, bytearray] = {}
    for at, call in enumerate(calls):
        if call.op != "s":
            continue
        if call.data[:1] == b"\xff" and call.data[9:10] == b"\x7f":  # a new connection
            streams[call.inode] = bytearray()
        stream = streams.setdefault(call.inode, bytearray())
        stream += call.data
        for frame in _frames(stream):
            try:
                stored = wire.decode(frame, Stored)
            except MessageError:
                continue
            yield at, {unit.unit for unit in stored.units}


def _frames(stream: bytearray) -> Iterator[bytes]:
    """Take the whole frames out of a stream, behind its greeting, which stays."""
    while len(stream) >= _GREETING_BYTES + 2:
        flags = stream[_GREETING_BYTES]
        size_bytes = 8 if flags & 2 else 1
        begin = _GREETING_BYTES + 1 + size_bytes
        size = int.from_bytes(stream[_GREETING_BYTES + 1 : begin], "big")
        if len(stream) < begin + size:
            return
        frame = bytes(stream[begin : begin + size])
        del stream[_GREETING_BYTES : begin + size]
        if not flags & 4:
            yield frame


def _put(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write `data` at `offset`, or cut to `offset` where there is none; a hole is zeros."""
    if len(content) < offset:
        content += bytes(offset - len(content))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def _write(directory: Directory, to: Path, kept: random.Random | None) -> None:
    to.mkdir(parents=True, exist_ok=True)
    names = dict(directory.synced)
    if kept is not None:
        for name in sorted({*directory.names, *directory.synced}):
            if directory.names.get(name) is not directory.synced.get(name) and kept.random() < 0.5:
                now = directory.names.get(name)
                names = {**names, name: now} if now is not None else {k: v for k, v in names.items() if k != name}
    for name, node in names.items():
        if isinstance(node, Directory):
            _write(node, to / name, kept)
        else:
            (to / name).write_bytes(_left(node, kept))


def _left(file: File, kept: random.Random | None) -> bytes:
    content = bytearray(file.synced)
    for offset, data in file.unsynced if kept is not None else ():
        if data is None:
            if kept is not None and kept.random() < 0.5:
                _put(content, offset, None)
            continue
        for start in range(0, len(data), _BLOCK_BYTES):
            if kept is not None and kept.random() < 0.5:
                _put(content, offset + start, data[start : start + _BLOCK_BYTES])
    return bytes(content)


def fresh(folder: Path) -> Path:
    """Return `folder`, emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder

"""Small and read-only file systems for a test, gone when it ends; only root can have them."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import SkipTest

_CHUNKS = (65536, 4096, 512, 1)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Give `folder` as a file system of so many bytes in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write below `folder` meanwhile, root included; what is open for writing stays so."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no byte free on `disk` meanwhile."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in _CHUNKS:
                _write_until_full(file.fileno(), bytes(size))
        yield
    finally:
        filler.unlink(missing_ok=True)


def _write_until_full(file: int, chunk: bytes) -> None:
    while True:
        try:
            os.write(file, chunk)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return


def _mount(*arguments: str) -> None:
    if os.geteuid() != 0:
        raise SkipTest("only root can mount the small and read-only file systems of this test")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SkipTest(f"can't mount here: {done.stderr.strip()}")

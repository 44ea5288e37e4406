"""Files that are on disk when the call returns, and never half there."""

import os
from contextlib import suppress
from pathlib import Path

from common.errors import RunDirectoryError


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` into `path` by way of a temporary file: the old one stays until the new is whole.

    Raises OSError, with the old file kept, when the disk is full or fails.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Write `content` to `path` and wait until it is on disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the names in the directory `path` are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make `path` and what is missing above it, on disk by name when the call returns.

    Raises RunDirectoryError when it can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"{path}: can't be written: {error.strerror}") from error
    # All of them: another service may have made one a moment ago. Not every one has to be ours to sync.
    for above in path.absolute().parents:
        with suppress(OSError):
            sync_directory(above)

"""Files that are on disk when the call returns, and never half there."""

import os
from pathlib import Path


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

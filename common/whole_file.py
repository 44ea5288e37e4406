"""Files that are whole or as before: written beside their place and then renamed, or added to all at once.

`whole_file` is for what a command writes for its operator: an old file stays until the new one is whole.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from common.errors import SettingsError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to; left without an error it becomes `path`, else `path` is as before.

    Raises SettingsError where the file can't be made; what writes to it does so in `explained(path)`.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with explained(path):
            file = temporary.open("wb")
        try:
            yield file
        finally:
            with explained(path):
                file.close()
        with explained(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's errors into one line that names `path`."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path}: can't be written: {error.strerror or error}") from error


def append_whole(descriptor: int, content: bytes) -> None:
    """Add `content` to an open file, all of it or nothing: half a record would spoil the next one.

    Raises OSError, with the file as before, when the disk is full or fails.
    """
    end = os.fstat(descriptor).st_size
    left = memoryview(content)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError:
        os.ftruncate(descriptor, end)
        raise

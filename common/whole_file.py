"""A file that appears whole or not at all: written beside its place under another name, then renamed.

For what a command writes for its operator. An old file stays until the new one is whole.
"""

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

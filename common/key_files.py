"""Files of keys, whatever they are keys for: for their owner alone, written once, never over another.

Everything raises SettingsError, one clear line that names the file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import SettingsError
from common.whole_file import explained

SECRET_MODE, PUBLIC_MODE = 0o600, 0o644
DIRECTORY_MODE, FOLDER_MODE = 0o700, 0o777
"""Of a folder of secrets, and of any other: the umask takes from it."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the system's errors into one line that names `path`."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror}; keys are for their owner alone") from error


def is_there(path: Path) -> bool:
    """Whether a file is there; SettingsError where one may not look."""
    with reading(path):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def listed(folder: Path, ending: str) -> list[Path]:
    """Return the files in a folder whose names end so, sorted; none where there is no such folder."""
    with reading(folder), suppress(FileNotFoundError):
        return sorted(path for path in folder.iterdir() if path.name.endswith(ending))
    return []


def make_folder(path: Path, mode: int = DIRECTORY_MODE) -> None:
    """Make a folder and those above it, unless it is there."""
    with explained(path):
        path.mkdir(mode=mode, parents=True, exist_ok=True)


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that is not there yet, and have it on disk."""
    with explained(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def refuse_open(path: Path) -> None:
    """Raise SettingsError for a secret that others may read."""
    with reading(path):
        mode = path.stat().st_mode
    if mode & 0o077:
        raise SettingsError(f"{path}: others may read it; type: chmod 600 {path}")

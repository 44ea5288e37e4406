"""Where an operator's DIR or FILE of logs leads: to a run's log files, or to files that were copied from hosts."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from common.errors import SettingsError
from common.log_lines import LOG_FILE, TRACE_FILE, LogLines, read_log_lines, rotated_files


@dataclass(frozen=True, slots=True)
class LogSource:
    """One log file, or a collector's log file with those that it was rotated to."""

    path: Path
    rotated: bool

    def lines(self, where: Callable[[bytes], object] | None = None) -> LogLines:
        """Return its lines, the oldest file's first; `where` as `read_log_lines` has it."""
        return read_log_lines(self.path, rotated=self.rotated, where=where)


def log_sources(names: Iterable[Path], *, trace: bool = False) -> list[LogSource]:
    """Return what the files and directories called `names` hold.

    A directory is a run's, or one with a collector's files; `trace` takes their spans, too. Raises SettingsError
    where there are no logs.
    """
    return [source for name in names for source in _sources(name, (LOG_FILE, TRACE_FILE) if trace else (LOG_FILE,))]


def _sources(name: Path, files: Iterable[str]) -> list[LogSource]:
    if not name.exists():
        raise SettingsError(f"{name}: no such file or directory; name a run's directory or a file of log lines")
    if not name.is_dir():
        return [LogSource(name, rotated=False)]
    for directory in (name / "logs", name):
        found = [LogSource(directory / file, rotated=True) for file in files if rotated_files(directory / file)]
        if found:
            return found
    raise SettingsError(f"{name}: no {LOG_FILE} in it or in its logs/; is it a run's directory?")


@contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn what goes wrong in reading `path` into one line that names it."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, zstandard.ZstdError) as error:
        raise SettingsError(f"{path}: damaged: {error}") from error


@contextmanager
def compressed(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    """Give what to write to so that `file` gets it, compressed as its name's `suffix` says."""
    if suffix == ".gz":
        with gzip.GzipFile(fileobj=file, mode="wb") as target:
            yield target  # type: ignore[misc]
    elif suffix == ".zst":
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as target:
            yield target
    else:
        yield file

"""A run directory: who holds it, what it was made with, and whether this start may go on with it."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from broker.sources import SourceFingerprint
from common.errors import RunDirectoryError
from common.files import write_whole
from common.run_files import SETTINGS_FILE
from common.settings import Settings, differences, identity, to_toml

ORIGIN_FILE = "origin.json"
REPORT_FILE = "report.json"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was made with: all that its weights depend on."""

    settings: dict[str, str]
    """Settings that decide the weights, as TOML."""
    sources: list[SourceFingerprint]


origin_decoder = msgspec.json.Decoder(Origin)


class RunDirectory:
    """The directory of a run, locked while it is entered: one `rookery up` at a time.

    Holds settings.toml, origin.json, starts.jsonl, report.json, rejected.jsonl, evaluations.db, logs/ and
    agents/NAME/.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    @property
    def settings_file(self) -> Path:
        """The settings that the services of this run read."""
        return self.path / SETTINGS_FILE

    @property
    def origin_file(self) -> Path:
        """What the run was made with, for good: settings.toml may be edited."""
        return self.path / ORIGIN_FILE

    @property
    def report_file(self) -> Path:
        """The report of the last start."""
        return self.path / REPORT_FILE

    @property
    def starts_file(self) -> Path:
        """When the run was started, and what each start came to."""
        return self.path / "starts.jsonl"

    @property
    def rejected_file(self) -> Path:
        """Every rejected game, one JSON object a line."""
        return self.path / "rejected.jsonl"

    def __enter__(self) -> "RunDirectory":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path}: can't write there: {error.strerror}; choose another --run"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise RunDirectoryError(
                f"{self.path}: another `rookery up` is at work there; wait for it or choose another --run"
            ) from error
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._lock)

    def check(self, settings: Settings, sources: Sequence[SourceFingerprint]) -> None:
        """Raise RunDirectoryError, naming each difference, when the directory was made with others."""
        if not self.origin_file.exists():
            return
        try:
            origin = origin_decoder.decode(self.origin_file.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RunDirectoryError(f"{self.origin_file}: can't be read: {error}") from error
        found = differences(origin.settings, identity(settings)) + _other_games(origin.sources, sources)
        if found:
            raise RunDirectoryError(
                f"{self.path} was made otherwise: {'; '.join(found)}. "
                "Choose another --run, or give the same games and settings"
            )

    def claim(self, settings: Settings, sources: Sequence[SourceFingerprint]) -> None:
        """Write down settings and sources, which `check` has found to be right."""
        origin = Origin(settings=identity(settings), sources=list(sources))
        try:
            write_whole(self.origin_file, msgspec.json.format(msgspec.json.encode(origin)) + b"\n")
            write_whole(self.settings_file, to_toml(settings).encode())
        except OSError as error:
            raise RunDirectoryError(f"{self.path}: can't write there: {error.strerror}") from error


def _other_games(kept: Sequence[SourceFingerprint], given: Sequence[SourceFingerprint]) -> list[str]:
    if len(kept) != len(given):
        return [f"games are {len(kept)} files there, {len(given)} here"]
    return [
        f"games file {number} is {old.name} ({old.size_bytes} bytes) there, "
        f"{new.name} ({new.size_bytes} bytes, other content) here"
        for number, (old, new) in enumerate(zip(kept, given, strict=True), start=1)
        if (old.size_bytes, old.sha256) != (new.size_bytes, new.sha256)
    ]

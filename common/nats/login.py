"""What a process shows to a NATS server, and what it expects the server to show: an nkey or JWT, and TLS."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsLogin:
    """Files of one process's credentials. Nothing of them is kept in memory, shown or logged."""

    seed_file: Path | None = None
    """An nkey's seed."""
    credentials_file: Path | None = None
    """A JWT and its nkey's seed, as `nsc` writes them."""
    ca_file: Path | None = None
    """Who has signed the server's certificate; None for whom the system trusts."""

    def options(self) -> dict[str, Any]:
        """Return what nats-py's `connect` takes of it; raise SettingsError for a missing or odd file."""
        options: dict[str, Any] = {}
        if self.seed_file is not None:
            _check_seed(self.seed_file)
            options["nkeys_seed"] = str(self.seed_file)
        if self.credentials_file is not None:
            _read(self.credentials_file)
            options["user_credentials"] = str(self.credentials_file)
        if self.ca_file is not None:
            options["tls"] = _trusting(self.ca_file)
        return options


NOBODY = NatsLogin()
"""Shows nothing: for a server that lets everybody in."""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: can't be read: {error.strerror}; check --keys") from error


def _check_seed(path: Path) -> None:
    import nkeys  # type: ignore[import-untyped]

    try:
        nkeys.from_seed(bytearray(_read(path).strip())).wipe()
    except (nkeys.NkeysError, ValueError) as error:
        raise SettingsError(f"{path}: no seed of an nkey; check --keys") from error


def _trusting(path: Path) -> ssl.SSLContext:
    _read(path)
    try:
        return ssl.create_default_context(cafile=str(path))
    except ssl.SSLError as error:
        raise SettingsError(f"{path}: no certificates: {error.reason or error}; check --keys") from error

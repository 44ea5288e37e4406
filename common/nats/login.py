"""What a process shows to a NATS server, and what it expects the server to show: an nkey or JWT, and TLS.

KEYS/nats/                      in the directory that the setting `keys` names
    ca.pem                      who has signed the servers' certificates: every host needs it
    broker.nk                   the broker's seed
    actors/far-0.nk             that actor's seed; learners/, collectors/, operators/ alike
    actors/far-0.creds          in its place: a JWT and its seed, as `nsc` writes them
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from common.errors import SettingsError
from common.key_files import refuse_open
from common.keys import KeyHolder

FOLDER = "nats"
CA, SEED, CREDENTIALS = "ca.pem", ".nk", ".creds"


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsLogin:
    """Files of one process's credentials. Nothing of them is kept in memory, shown or logged."""

    seed_file: Path | None = None
    """An nkey's seed."""
    credentials_file: Path | None = None
    """A JWT and its nkey's seed, as `nsc` writes them."""
    ca_file: Path | None = None
    """Who has signed the server's certificate; None for whom the system trusts."""

    @classmethod
    def of(cls, keys: Path, holder: KeyHolder) -> Self:
        """Return what `holder` has in the directory `keys`; raise SettingsError where there is nothing."""
        seed = seed_file(keys, holder)
        credentials, ca = seed.with_suffix(CREDENTIALS), keys / FOLDER / CA
        if not (seed.exists() or credentials.exists()):
            raise SettingsError(
                f"{seed}: no such file; `rookery keys add … --nats` on the broker's host makes it: copy it here"
            )
        return cls(
            seed_file=None if credentials.exists() else seed,
            credentials_file=credentials if credentials.exists() else None,
            ca_file=ca if ca.exists() else None,
        )

    def options(self) -> dict[str, Any]:
        """Return what nats-py's `connect` takes of it; raise SettingsError for a missing or odd file."""
        options: dict[str, Any] = {}
        for secret in filter(None, (self.seed_file, self.credentials_file)):
            _read(secret)
            refuse_open(secret)
        if self.seed_file is not None:
            _check_seed(self.seed_file)
            options["nkeys_seed"] = str(self.seed_file)
        if self.credentials_file is not None:
            options["user_credentials"] = str(self.credentials_file)
        if self.ca_file is not None:
            options["tls"] = _trusting(self.ca_file)
        return options


NOBODY = NatsLogin()
"""Shows nothing: for a server that lets everybody in."""


def seed_file(keys: Path, holder: KeyHolder) -> Path:
    """Return where a holder's seed is in the directory `keys`."""
    folder = keys / FOLDER / f"{holder.role.value}s" if holder.role is not None else keys / FOLDER
    return folder / f"{holder.name}{SEED}"


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

"""CURVE keys on disk: a pair for each process, secrets readable by their owner only, public ones listed by role.

    KEYS/                           the setting `keys`
        broker.key                  the broker's public key: every host needs it
        broker.key_secret           on the broker's host only
        actors/far-0.key_secret     on the host of that actor only; learners/, collectors/, operators/ alike
        allow/actors/far-0.key      on the broker's host: who may come in, by role
        revoked/actors/far-0.key    who may no more

An actor's, collector's or operator's key has its name, a learner's has its agent's. Files are in the format of
pyzmq's certificates (ZPL); keys are Z85 text of 40 characters.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zmq.auth
from zmq.utils import z85

from common.errors import SettingsError
from common.key_files import (
    DIRECTORY_MODE,
    FOLDER_MODE,
    PUBLIC_MODE,
    SECRET_MODE,
    is_there,
    listed,
    make_folder,
    reading,
    refuse_open,
    write_new,
)
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.whole_file import explained
from common.words import NAME, NAME_RULE

PUBLIC, SECRET = ".key", ".key_secret"


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """What a peer shows to the broker, and what it expects the broker to show."""

    broker_public: bytes
    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BrokerKeys:
    """What the broker shows, and where it looks up who may come in."""

    secret: bytes = field(repr=False)
    directory: "KeyDirectory"


class KeyDirectory:
    """The files of a directory of keys. Everything that it raises is SettingsError, one clear line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # Making and managing --------------------------------------------------------------------------

    def init(self) -> None:
        """Make the directory and the broker's key pair; raise SettingsError where there is one already."""
        if is_there(self._public(BROKER)):
            raise SettingsError(f"{self._public(BROKER)} is there already: this directory has its broker's keys")
        with explained(self.path):
            self.path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            for role in Role:
                (self.path / "allow" / f"{role.value}s").mkdir(parents=True, exist_ok=True)
                (self.path / f"{role.value}s").mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        self._make_pair(BROKER)

    def add(self, holder: KeyHolder) -> None:
        """Make a key pair and allow it; raise SettingsError where that name has one or had one."""
        if not NAME.fullmatch(holder.name):
            raise SettingsError(f"{holder.name!r} is no name: {NAME_RULE}")
        if not is_there(self.path / "allow"):
            raise SettingsError(f"{self.path} is no directory of keys: type `rookery keys init` first")
        for path in (self._public(holder), self._secret(holder)):
            if is_there(path):
                raise SettingsError(f"{path} is there already; to replace it, revoke that key first")
        self._make_pair(holder)

    def revoke(self, holder: KeyHolder) -> Path:
        """Allow a key no more; its public half is kept among the revoked ones. Return where."""
        public = self._public(holder)
        if holder.role is not None and not is_there(public) and self.has_secret(holder):
            with explained(self._secret(holder)):  # a pair that was half made
                self._secret(holder).unlink()
            return self._secret(holder)
        if holder.role is None or not is_there(public):
            known = ", ".join(self.names(holder.role)) if holder.role is not None else ""
            raise SettingsError(f"{holder} has no key in {public.parent}; there are: {known or 'none'}")
        with explained(public):
            kept = self.path / "revoked" / f"{holder.role.value}s"
            kept.mkdir(parents=True, exist_ok=True)
            number = sum(1 for _ in kept.glob(f"{holder.name}{PUBLIC}*"))
            target = kept / f"{holder.name}{PUBLIC}{f'.{number}' if number else ''}"
            public.rename(target)
            self._secret(holder).unlink(missing_ok=True)
        return target

    def allowed(self) -> Iterator[tuple[KeyHolder, Path]]:
        """Yield who is allowed, by role and name, with the file of the public key."""
        for role in Role:
            for path in listed(self.path / "allow" / f"{role.value}s", PUBLIC):
                yield KeyHolder(role, path.name.removesuffix(PUBLIC)), path

    def stamps(self) -> dict[Path, tuple[int, int, int]]:
        """Return what tells each allowed public key's file from what it was before it was changed."""
        found = {}
        for _, path in self.allowed():
            with reading(path), suppress(FileNotFoundError):  # revoked at this very moment
                status = path.stat()
                found[path] = (status.st_mtime_ns, status.st_ino, status.st_size)
        return found

    def revoked(self) -> list[Path]:
        """Return the public keys that are allowed no more."""
        return [
            path
            for role in Role
            for path in listed(self.path / "revoked" / f"{role.value}s", "")
            if PUBLIC in path.name
        ]

    def names(self, role: Role) -> list[str]:
        """Return the names in a role whose secret keys are here."""
        return [path.name.removesuffix(SECRET) for path in listed(self.path / f"{role.value}s", SECRET)]

    def has_secret(self, holder: KeyHolder) -> bool:
        """Whether the secret key of a holder is in this directory."""
        return is_there(self._secret(holder))

    # Using ---------------------------------------------------------------------------------------

    def peer(self, holder: KeyHolder) -> PeerKeys:
        """Return what a peer needs to connect."""
        broker, _ = _read(self._public(BROKER), f"copy the broker's {BROKER.name}{PUBLIC} there")
        here = ", ".join(self.names(holder.role)) if holder.role is not None else ""
        public, secret = self._read_secret(
            holder, f"make it with `rookery keys add` and copy it there (here are: {here or 'none'})"
        )
        return PeerKeys(broker, public, secret)

    def broker(self) -> BrokerKeys:
        """Return what the broker needs to listen."""
        _, secret = self._read_secret(BROKER, "type `rookery keys init`")
        return BrokerKeys(secret, self)

    def broker_public(self) -> bytes:
        """Return the broker's public key."""
        return _read(self._public(BROKER), "type `rookery keys init`")[0]

    def _read_secret(self, holder: KeyHolder, advice: str) -> tuple[bytes, bytes]:
        path = self._secret(holder)
        public, secret = _read(path, advice)
        if secret is None:
            raise SettingsError(f"{path} has no secret key in it: {advice}")
        refuse_open(path)
        return public, secret

    def _public(self, holder: KeyHolder) -> Path:
        folder = self.path / "allow" / f"{holder.role.value}s" if holder.role is not None else self.path
        return folder / f"{holder.name}{PUBLIC}"

    def _secret(self, holder: KeyHolder) -> Path:
        folder = self.path / f"{holder.role.value}s" if holder.role is not None else self.path
        return folder / f"{holder.name}{SECRET}"

    def _make_pair(self, holder: KeyHolder) -> None:
        public, secret = (key.decode("ascii") for key in zmq.curve_keypair())
        # The secret first: one without its public half lets nobody in.
        _write(
            self._secret(holder),
            f"# Secret key of {holder}: whoever has it is {holder}.",
            public,
            secret,
            mode=SECRET_MODE,
        )
        _write(self._public(holder), f"# Public key of {holder}.", public, mode=PUBLIC_MODE)


def public_key(path: Path) -> bytes:
    """Return the public key in a file; raise SettingsError where there is none."""
    return _read(path, "replace the file")[0]


def _read(path: Path, advice: str) -> tuple[bytes, bytes | None]:
    """Return the public and, where there is one, the secret key in a file."""
    try:
        public, secret = zmq.auth.load_certificate(path)
    except OSError as error:  # pyzmq's own, without a number, where there is no file
        reason = error.strerror or ("it can't be read" if is_there(path) else "there is no such key")
        raise SettingsError(f"{path}: {reason}; {advice}") from error
    except (ValueError, IndexError) as error:
        raise SettingsError(f"{path}: no key in it; {advice}") from error
    try:
        whole = all(len(key) == 40 and z85.decode(key) for key in (public, secret) if key is not None)
    except (ValueError, KeyError, struct.error):
        whole = False
    if not whole:
        raise SettingsError(f"{path}: no key in it (a key is Z85 text of 40 characters); {advice}")
    return public, secret


def _write(path: Path, title: str, public: str, secret: str | None = None, *, mode: int) -> None:
    lines = [title, "curve", f'    public-key = "{public}"']
    lines += [f'    secret-key = "{secret}"'] if secret is not None else []
    make_folder(path.parent, FOLDER_MODE)
    write_new(path, ("\n".join(lines) + "\n").encode("ascii"), mode=mode)

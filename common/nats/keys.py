"""The keys of a fleet on NATS, on disk: an nkey for each process, the servers' certificate and their configuration.

    KEYS/nats/                      in the directory that the setting `keys` names
        ca.pem                      who signs the servers' certificate: every host needs it
        ca-key.pem                  its key; stays where the keys are made
        broker.nk                   the broker's seed
        actors/far-0.nk             that actor's seed; learners/, collectors/, operators/ alike
        broker.pub                  the broker's public key
        allow/actors/far-0.pub      who may come in, by role
        revoked/actors/far-0.pub    who may no more
        namespace                   of the run that the keys are for
        server.pem, server-key.pem  the servers' certificate and its key: every server needs them,
        nats-server.conf            and what it is started with,
        users.conf                  and the list of who may come in, written anew with each change

An nkey is a pair of Ed25519: the seed is the secret half, which its holder alone has. Needs the extra `nats`.
"""

import base64
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nkeys  # type: ignore[import-untyped]

from common.errors import SettingsError
from common.key_files import (
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
from common.nats import fleet_config
from common.nats.certificates import Authority, Certified
from common.nats.fleet_config import ConfigFiles, Fleet
from common.nats.login import CA, CREDENTIALS, FOLDER, SEED, seed_file
from common.nats.names import NatsNames
from common.whole_file import explained, whole_file
from common.words import NAME, NAME_RULE

PUBLIC = ".pub"
_SEED_BYTES = 32
_PUBLIC_BYTES = 35
"""A byte of what it is, 32 of the key, two to check them."""


class NatsKeys:
    """The files of a directory of keys that are for NATS. All it raises is SettingsError, one clear line."""

    def __init__(self, keys: Path) -> None:
        """`keys` is what the setting names; its folder for NATS is this one's `path`."""
        self._keys, self.path = keys, keys / FOLDER
        self.configuration_file = self.path / "nats-server.conf"
        self.users_file = self.path / "users.conf"
        self._ca = self.path / CA
        self._ca_key = self.path / "ca-key.pem"
        self._certificate, self._key = self.path / "server.pem", self.path / "server-key.pem"
        self._namespace = self.path / "namespace"

    # Making and managing ---------------------------------------------------------------------------

    def init(self, fleet: Fleet, names: NatsNames) -> None:
        """Make certificates, the broker's key and the configuration; refuse where there are some."""
        if is_there(self._ca):
            raise SettingsError(f"{self._ca} is there already: this directory has its keys for NATS")
        authority = Authority.make(f"Rookery {names.namespace}")
        server = authority.certify(fleet.servers[0][0], fleet.hosts)
        make_folder(self._keys)
        make_folder(self.path)
        for role in Role:
            make_folder(self._allowed(role))
            make_folder(self.path / f"{role.value}s")
        write_new(self._namespace, f"{names.namespace}\n".encode(), mode=PUBLIC_MODE)
        write_new(self._ca_key, authority.pem().key, mode=SECRET_MODE)
        self._write_server(server)
        self._make_pair(BROKER)
        self._write_users()
        text = fleet_config.configuration(fleet, self._files()).encode()
        write_new(self.configuration_file, text, mode=SECRET_MODE)
        write_new(self._ca, authority.pem().certificate, mode=PUBLIC_MODE)

    def certify(self, fleet: Fleet) -> None:
        """Make the servers' certificate anew: for other hosts, or because it comes to its end."""
        with reading(self._ca_key):
            pem = Certified(self._ca.read_bytes(), self._ca_key.read_bytes())
        self._write_server(Authority.read(pem).certify(fleet.servers[0][0], fleet.hosts))

    def add(self, holder: KeyHolder) -> None:
        """Make a key and allow it; refuse where that name has one."""
        if not NAME.fullmatch(holder.name):
            raise SettingsError(f"{holder.name!r} is no name: {NAME_RULE}")
        self._check_made()
        for path in (self.public_file(holder), seed_file(self._keys, holder)):
            if is_there(path):
                raise SettingsError(f"{path} is there already; to replace it, revoke that key first")
        self._make_pair(holder)
        self._write_users()

    def revoke(self, holder: KeyHolder) -> Path:
        """Allow a key no more; its public half is kept among the revoked ones. Return where."""
        self._check_made()
        public, seed = self.public_file(holder), seed_file(self._keys, holder)
        if holder.role is None or not (is_there(public) or is_there(seed)):
            known = ", ".join(other.name for other, _ in self.allowed() if other.role is holder.role)
            raise SettingsError(f"{holder} has no key in {public.parent}; there are: {known or 'none'}")
        kept = seed  # of a pair that was half made
        with explained(public):
            if is_there(public):
                folder = self.path / "revoked" / f"{holder.role.value}s"
                folder.mkdir(parents=True, exist_ok=True)
                number = sum(1 for _ in folder.glob(f"{holder.name}{PUBLIC}*"))
                kept = public.rename(folder / f"{public.name}{f'.{number}' if number else ''}")
            self._write_users()
            seed.unlink(missing_ok=True)
        return kept

    def allowed(self) -> Iterator[tuple[KeyHolder, Path]]:
        """Yield who is allowed, by role and name, with the file of the public key; the broker not among them."""
        for role in Role:
            for path in listed(self._allowed(role), PUBLIC):
                yield KeyHolder(role, path.name.removesuffix(PUBLIC)), path

    def revoked(self) -> list[Path]:
        """Return the public keys that are allowed no more."""
        folders = (self.path / "revoked" / f"{role.value}s" for role in Role)
        return [path for folder in folders for path in listed(folder, "") if PUBLIC in path.name]

    # Using -----------------------------------------------------------------------------------------

    def holders(self) -> list[KeyHolder]:
        """Return whose seeds, or credentials of `nsc`, are here."""
        found = [
            KeyHolder(role, path.name.removesuffix(ending))
            for role in Role
            for ending in (SEED, CREDENTIALS)
            for path in listed(self.path / f"{role.value}s", ending)
        ]
        return [*dict.fromkeys(found), *([BROKER] if self.has_secret(BROKER) else [])]

    def has_secret(self, holder: KeyHolder) -> bool:
        """Whether the seed of a holder is in this directory."""
        return is_there(seed_file(self._keys, holder))

    def check_secret(self, holder: KeyHolder) -> None:
        """Raise SettingsError for a seed, or credentials, that others may read."""
        seed = seed_file(self._keys, holder)
        refuse_open(seed if is_there(seed) else seed.with_suffix(CREDENTIALS))

    def public_file(self, holder: KeyHolder) -> Path:
        """Return where a holder's public key is while it is allowed."""
        folder = self.path if holder.role is None else self._allowed(holder.role)
        return folder / f"{holder.name}{PUBLIC}"

    # The files -------------------------------------------------------------------------------------

    def _allowed(self, role: Role) -> Path:
        return self.path / "allow" / f"{role.value}s"

    def _files(self) -> ConfigFiles:
        return ConfigFiles(
            configuration=self.configuration_file.absolute(), users=self.users_file.absolute(),
            ca=self._ca.absolute(), certificate=self._certificate.absolute(), key=self._key.absolute(),
        )  # fmt: skip

    def _check_made(self) -> None:
        if not is_there(self._namespace):
            raise SettingsError(f"{self.path} is where no keys are made: type `rookery keys init --nats` first")

    def _make_pair(self, holder: KeyHolder) -> None:
        seed = nkeys.encode_seed(os.urandom(_SEED_BYTES), nkeys.PREFIX_BYTE_USER)
        public: bytes = nkeys.from_seed(bytearray(seed)).public_key
        # The seed first: one without its public half lets nobody in.
        write_new(seed_file(self._keys, holder), seed + b"\n", mode=SECRET_MODE)
        write_new(self.public_file(holder), public + b"\n", mode=PUBLIC_MODE)

    def _write_server(self, server: Certified) -> None:
        with explained(self._key):
            self._key.unlink(missing_ok=True)
            self._certificate.unlink(missing_ok=True)
        write_new(self._key, server.key, mode=SECRET_MODE)
        write_new(self._certificate, server.certificate, mode=PUBLIC_MODE)

    def _write_users(self) -> None:
        with reading(self._namespace):
            names = NatsNames(self._namespace.read_text(encoding="ascii").strip())
        text = fleet_config.users([(BROKER, public_nkey(self.public_file(BROKER))), *self._sound()], names)
        with whole_file(self.users_file) as file, explained(self.users_file):
            os.fchmod(file.fileno(), SECRET_MODE)
            file.write(text.encode())

    def _sound(self) -> Iterator[tuple[KeyHolder, str]]:
        """Yield who is allowed, but for those whose file has no key in it: nobody comes in with that."""
        for holder, path in self.allowed():
            with suppress(SettingsError):
                yield holder, public_nkey(path)


def public_nkey(path: Path) -> str:
    """Return the public key in a file; raise SettingsError where there is none."""
    with reading(path):
        text = path.read_bytes().strip()
    try:
        raw = base64.b32decode(text)
    except ValueError:
        raw = b""
    whole = len(raw) == _PUBLIC_BYTES and raw[0] == nkeys.PREFIX_BYTE_USER
    if not whole or int.from_bytes(raw[-2:], "little") != nkeys.crc16(raw[:-2]):
        raise SettingsError(f"{path}: no public key of an nkey; replace the file")
    return text.decode("ascii")

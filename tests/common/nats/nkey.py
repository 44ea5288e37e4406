"""Making nkeys."""

import base64
import os
from pathlib import Path

import nkeys


def make_nkey(path: Path) -> str:
    """Write the seed of a new user to a file; return its public key."""
    raw = bytearray([nkeys.PREFIX_BYTE_SEED | nkeys.PREFIX_BYTE_USER >> 5, (nkeys.PREFIX_BYTE_USER & 31) << 3])
    raw += os.urandom(32)
    raw += nkeys.crc16(raw).to_bytes(2, "little")
    seed = base64.b32encode(bytes(raw)).rstrip(b"=")
    path.touch(mode=0o600)
    path.write_bytes(seed)
    public: bytes = nkeys.from_seed(bytearray(seed)).public_key
    return public.decode()

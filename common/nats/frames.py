"""How envelopes and bodies lie in one NATS message, which has no frames. Pure.

A peer's message to the broker: length of the session (2 bytes, big-endian), session, envelope. All else that has an
envelope: length of the envelope (4 bytes, big-endian), envelope, body.
"""

from common.errors import MessageError
from common.wire import MAX_ENVELOPE_BYTES

_SESSION_BYTES = 2
_ENVELOPE_BYTES = 4
MAX_SESSION_BYTES = 128
MAX_HEAD_BYTES = _ENVELOPE_BYTES + MAX_ENVELOPE_BYTES
"""What stands before a body, at most."""


def pack_said(session: str, envelope: bytes) -> bytes:
    """Return a peer's message to the broker."""
    said_by = session.encode()
    return len(said_by).to_bytes(_SESSION_BYTES, "big") + said_by + envelope


def unpack_said(payload: bytes) -> tuple[str, bytes]:
    """Return the session and the envelope of a peer's message; raise MessageError for what is none."""
    end = _SESSION_BYTES + int.from_bytes(payload[:_SESSION_BYTES], "big")
    if not _SESSION_BYTES < end <= min(len(payload), _SESSION_BYTES + MAX_SESSION_BYTES):
        raise MessageError(f"no session before the envelope: {len(payload)} bytes")
    try:
        return payload[_SESSION_BYTES:end].decode("ascii"), payload[end:]
    except UnicodeDecodeError as error:
        raise MessageError(f"a session that is no text: {error}") from error


def pack(envelope: bytes, body: bytes = b"") -> bytes:
    """Return an envelope and its body as one payload."""
    return b"".join((len(envelope).to_bytes(_ENVELOPE_BYTES, "big"), envelope, body))


def unpack(payload: bytes) -> tuple[bytes, bytes]:
    """Return the envelope and the body of a payload; raise MessageError where there is no envelope."""
    end = _ENVELOPE_BYTES + int.from_bytes(payload[:_ENVELOPE_BYTES], "big")
    if not _ENVELOPE_BYTES < end <= min(len(payload), MAX_HEAD_BYTES):
        raise MessageError(f"no envelope: {len(payload)} bytes")
    return payload[_ENVELOPE_BYTES:end], payload[end:]

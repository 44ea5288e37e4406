"""msgpack on the wire, decoded with limits and checked against the typed message before use.

The only module that packs or unpacks envelopes. Never opens a body; never uses pickle.
"""

from typing import Any, TypeVar

import msgpack  # type: ignore[import-untyped]
import msgspec

from common.errors import MessageError
from common.messages import PROTOCOL_VERSION, BatchHeader, Message

MAX_ENVELOPE_BYTES = 1024 * 1024
"""Bounds what an envelope can grow to in memory: a byte of msgpack can become an object of 64."""
MAX_ENVELOPE_ITEMS = 64 * 1024
"""Items of one list or map of an envelope; memory for them is taken before they are looked at."""
MAX_STATUS_BYTES = 64 * 1024 * 1024
"""Of the one envelope that grows with the fleet, about 500 bytes a service; only an operator takes it in."""
MAX_BODY_BYTES = 1024 * 1024 * 1024

T = TypeVar("T")

# Here and wherever bytes are decoded: a decoder for each type, made at import. What msgspec knows of a type is
# gathered when it is first decoded, and a second thread that comes upon it half gathered crashes (msgspec 0.22).
_DECODERS = [msgspec.msgpack.Decoder(kind) for kind in Message.__subclasses__()]
"""Of every message: `msgspec.convert` uses what was gathered for them."""
_BATCH_HEADER = msgspec.msgpack.Decoder(BatchHeader)
_BATCH: bytes = msgpack.packb({"v": PROTOCOL_VERSION, "kind": "batch"})[1:]
"""What stands after the first byte of a batch's envelope that `encode` made."""


class ProtocolMismatch(MessageError):
    """The peer speaks another version of the protocol."""

    reason = "another protocol version"

    def __init__(self, theirs: object) -> None:
        shown = theirs if isinstance(theirs, int) else "none" if theirs is None else "unreadable"
        super().__init__(
            f"protocol version {shown} is not ours ({PROTOCOL_VERSION}): "
            "run the same release of Rookery on all hosts"
        )


def encode(message: Message) -> bytes:
    """Return the envelope frame of `message`."""
    fields = msgspec.to_builtins(message, builtin_types=(bytes,))
    packed: bytes = msgpack.packb({"v": PROTOCOL_VERSION, **fields})
    return packed


def decode(frame: bytes, kinds: Any, limit_bytes: int = MAX_ENVELOPE_BYTES) -> Any:
    """Return the message in an envelope frame of at most `limit_bytes`, one of the types in the union `kinds`.

    Raises ProtocolMismatch for another protocol version and MessageError for anything else that is not
    exactly one well-formed message of those kinds.
    """
    fields = unpack(frame, limit_bytes)
    if not isinstance(fields, dict):
        raise MessageError("envelope is not a map")
    version = fields.pop("v", None)
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise ProtocolMismatch(version)
    if "kind" not in fields:
        raise MessageError("envelope: kind is missing")
    try:
        return msgspec.convert(fields, kinds)
    except msgspec.ValidationError as error:
        raise MessageError(f"envelope: {error}") from error


def decode_batch_header(frame: bytes) -> BatchHeader:
    """Return the envelope of a batch as `decode` does, in a third of the time: the broker's hot path.

    Straight from msgpack to the type, which needs no limits here: it has no containers to be made before
    their lengths are checked. Whatever is not plainly right goes through `decode`, which says what is wrong;
    only what stands in fields that are not known is passed over here without a look.
    """
    if frame.startswith(_BATCH, 1) and len(frame) <= MAX_ENVELOPE_BYTES:
        try:
            return _BATCH_HEADER.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    header: BatchHeader = decode(frame, BatchHeader)
    return header


def pack(value: Any) -> bytes:
    """Return plain values as msgpack, for bodies."""
    packed: bytes = msgpack.packb(value)
    return packed


def unpack(frame: bytes, limit_bytes: int) -> Any:
    """Return the one msgpack value in `frame`; over `limit_bytes` it is refused unread."""
    if len(frame) > limit_bytes:
        raise MessageError(f"too large: {len(frame)} bytes are over the limit of {limit_bytes}")
    try:
        # What a text says of its length is bounded by the frame's own, msgpack's default.
        return msgpack.unpackb(
            frame, raw=False, strict_map_key=True,
            max_array_len=MAX_ENVELOPE_ITEMS, max_map_len=MAX_ENVELOPE_ITEMS,
        )  # fmt: skip
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise MessageError(f"not msgpack: {error or type(error).__name__}") from error


def unpack_as(frame: bytes, decoder: msgspec.msgpack.Decoder[T], what: str) -> T:
    """Return the one msgpack value in `frame`, of the decoder's type: for what stands in bodies.

    Nothing else is ever made of the bytes, so that memory is bounded by what the type can hold. Raises
    MessageError, which calls the value `what`.
    """
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"{what}: {error}") from error

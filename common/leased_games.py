"""The body of a lease: the texts of its unit's games, packed."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import zstandard

from common import wire
from common.errors import MessageError
from common.messages import MAX_GAMES, RawGame

MAX_GAMES_BYTES = 256 * 1024 * 1024
"""Unpacked."""
_decoder = msgspec.msgpack.Decoder(Annotated[list[RawGame], msgspec.Meta(max_length=MAX_GAMES)])


def pack_games(games: Sequence[RawGame]) -> bytes:
    """Return the body of a lease."""
    return zstandard.compress(wire.pack([msgspec.to_builtins(game, builtin_types=(bytes,)) for game in games]), 1)


def unpack_games(body: bytes) -> list[RawGame]:
    """Return the games in the body of a lease; raise MessageError for anything else."""
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= MAX_GAMES_BYTES:
            raise MessageError(f"a lease's games: they say they have {size} bytes")
        raw = zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_GAMES_BYTES)
    except zstandard.ZstdError as error:
        raise MessageError(f"a lease's games: {error}") from error
    return wire.unpack_as(raw, _decoder, "a lease's games")

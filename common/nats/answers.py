"""The broker's answers to operators: one envelope, compressed, in parts where it is longer than a message may be.

Pure. Each part is a message of its own to the inbox that the question came with, with the headers of
common/nats/parts.py.
"""

from collections.abc import Iterator, Mapping

import zstandard

from common import wire
from common.errors import MessageError
from common.nats import parts
from common.nats.parts import Joiner, Part

MAX_PACKED_BYTES = wire.MAX_STATUS_BYTES


def parts_of(envelope: bytes, max_payload: int) -> Iterator[Part]:
    """Yield an answer's parts for a server that takes messages of `max_payload` bytes."""
    packed = zstandard.compress(envelope, 1)
    return parts.cut(packed, max_payload // 2, parts.new_sending())


class AnswerReader:
    """Joins an answer; one for each question."""

    def __init__(self) -> None:
        self._joiner: Joiner[None] = Joiner(
            max_payload_bytes=MAX_PACKED_BYTES, max_bytes=MAX_PACKED_BYTES, max_sendings=4
        )

    def read(self, headers: Mapping[str, str] | None, data: bytes) -> bytes | None:
        """Take a message in; return the envelope once all of it is there. Raises MessageError for what is none."""
        joined = self._joiner.add(parts.part_of(headers, data), None, 0.0)
        if joined is None:
            return None
        try:
            size = zstandard.frame_content_size(joined.payload)
            if not 0 <= size <= wire.MAX_STATUS_BYTES:
                raise MessageError(f"an answer: it says it has {size} bytes")
            decompressor = zstandard.ZstdDecompressor()
            return decompressor.decompress(joined.payload, max_output_size=wire.MAX_STATUS_BYTES)
        except zstandard.ZstdError as error:
            raise MessageError(f"an answer: {error}") from error

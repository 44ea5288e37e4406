"""Whether the body of published weights is what its envelope says; called by the broker, actors and learners.

Works on names, shapes and bytes alone, without numpy: the router keeps no other company.
"""

import hashlib
import math

from common.errors import MessageError
from common.messages import WeightsHeader
from common.wire import MAX_BODY_BYTES

ITEM_BYTES = {
    "float32": 4, "float16": 2, "int64": 8, "int32": 4, "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1,
}  # fmt: skip
"""Bytes of one value, by type."""

_NOT_SO = "weights are not what they say"


def check_weights(header: WeightsHeader, body: bytes) -> list[int]:
    """Return the size in bytes of each array in `body`; raise MessageError unless it is what `header` says.

    Every shape is then one that an array can have, and no two arrays are called the same.
    """
    if len(body) != header.size_bytes:
        raise MessageError(f"{_NOT_SO}: {len(body)} bytes, not {header.size_bytes}")
    if len({spec.name for spec in header.arrays}) != len(header.arrays):
        raise MessageError(f"{_NOT_SO}: two arrays are called the same")
    sizes = []
    for spec in header.arrays:
        # What is empty in one dimension must not be beyond all measure in the others.
        if math.prod(max(1, count) for count in spec.shape) * ITEM_BYTES[spec.dtype] > MAX_BODY_BYTES:
            raise MessageError(f"{_NOT_SO}: {spec.name} is larger than a message can be")
        sizes.append(math.prod(spec.shape) * ITEM_BYTES[spec.dtype])
    if sum(sizes) != len(body):
        raise MessageError(f"{_NOT_SO}: {len(body)} bytes where the arrays need {sum(sizes)}")
    if hashlib.sha256(body).hexdigest() != header.sha256:
        raise MessageError(f"{_NOT_SO}: the bytes are not those of the hash")
    return sizes

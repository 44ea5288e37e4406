"""Weights outside a model: the file that people take away, and the arrays that are published.

Named arrays and nothing else, so that nobody who reads them runs anything of ours.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from common.errors import StoreError
from common.files import write_whole
from common.messages import ArraySpec, WeightsHeader
from common.weights_check import check_weights

Arrays = Mapping[str, npt.NDArray[Any]]
"""Named arrays, in a fixed order."""


def pack(
    weights: Arrays, *, agent: str, session: str, version: int, step: int, network: str
) -> tuple[WeightsHeader, bytes]:
    """Return envelope and body of a message that publishes `weights`."""
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in weights.values())
    header = WeightsHeader(
        agent=agent,
        session=session,
        version=version,
        step=step,
        network=network,
        arrays=[
            ArraySpec(name=name, dtype=str(array.dtype), shape=list(array.shape)) for name, array in weights.items()
        ],
        size_bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )
    return header, body


def unpack(header: WeightsHeader, body: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays in `body`, read-only; raise MessageError unless it is what `header` describes."""
    sizes = check_weights(header, body)
    arrays: dict[str, npt.NDArray[Any]] = {}
    start = 0
    for spec, size in zip(header.arrays, sizes, strict=True):
        arrays[spec.name] = np.frombuffer(body[start : start + size], spec.dtype).reshape(spec.shape)
        start += size
    return arrays


def digest(weights: Arrays) -> str:
    """Return the SHA-256 of all arrays with their names, dtypes and shapes: equal only for equal weights."""
    total = hashlib.sha256()
    for name, array in sorted(weights.items()):
        total.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def save_weights(path: Path, weights: Arrays, about: Mapping[str, str | int]) -> None:
    """Write `weights` to the safetensors file `path`, whole or not at all, synced to disk.

    `about` says whose weights they are; it stands as JSON under `rookery` in the file's metadata. Equal
    weights and `about` give equal files. Raises OSError when the disk is full or fails.
    """
    # One metadata entry, since safetensors writes several in any order.
    metadata = {"rookery": json.dumps(dict(about), sort_keys=True)}
    content = safetensors.numpy.save(_contiguous(weights), metadata)
    write_whole(path, content)


def load_weights(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str | int]]:
    """Return the arrays of a file that `save_weights` wrote, and what it says about them.

    Raises StoreError when the file is missing or no such file.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
            about = json.loads((file.metadata() or {}).get("rookery", "{}"))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise StoreError(f"{path}: can't read the weights: {error}") from error
    return arrays, about


def _contiguous(weights: Arrays) -> dict[str, npt.NDArray[Any]]:
    return {name: np.ascontiguousarray(array) for name, array in weights.items()}

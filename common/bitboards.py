"""Bitboards: sets of squares as numbers, so that a few operations do for all squares of many boards at once."""

import numpy as np
import numpy.typing as npt

Bitboards = npt.NDArray[np.uint64]
"""[n] one bit a square, a1 the lowest."""


def bitboards_of(squares: npt.NDArray[np.bool_]) -> Bitboards:
    """Return sets of squares, bool [n, 64], as bitboards [n]."""
    packed: Bitboards = np.packbits(squares, axis=1, bitorder="little").view("<u8")[:, 0]
    return packed


def squares_of(bitboards: Bitboards) -> npt.NDArray[np.bool_]:
    """Return bitboards [n] as sets of squares, bool [n, 64]."""
    octets = bitboards.astype("<u8").view(np.uint8).reshape(len(bitboards), 8)
    return np.unpackbits(octets, axis=1, bitorder="little").view(np.bool_)

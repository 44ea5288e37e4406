"""Positions in the slots of a structured array, as the buffers that samples are drawn from keep them."""

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from common.positions import SQUARES, Positions

POSITION_COLUMNS: list[tuple[Any, ...]] = [
    ("boards", np.uint8, SQUARES),
    ("castling", np.uint8),
    ("en_passant", np.int8),
    ("halfmove_clock", np.uint16),
    ("repetitions", np.uint8),
]
"""The fields of a slot that are those of a position (see common.positions)."""


def columns_of(positions: Positions) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of n positions by the names of the fields that they go into."""
    return {field.name: getattr(positions, field.name) for field in fields(positions)}


def positions_in(slots: npt.NDArray[np.void]) -> Positions:
    """Return the positions in n slots, each column in one piece."""
    return Positions(**{field.name: np.ascontiguousarray(slots[field.name]) for field in fields(Positions)})

import dataclasses

import numpy as np

from common.positions import Positions
from learner.position_columns import POSITION_COLUMNS, columns_of, positions_in
from tests.learner.units import random_positions


def test_positions_come_back_from_slots_with_all_their_columns() -> None:
    positions = random_positions(np.random.default_rng(0), 20)
    slots = np.zeros(20, np.dtype(POSITION_COLUMNS))
    for name, column in columns_of(positions).items():
        slots[name] = column
    assert list(slots.dtype.names or ()) == [field.name for field in dataclasses.fields(Positions)]
    back = positions_in(slots)
    for name, column in columns_of(positions).items():
        found = getattr(back, name)
        assert found.dtype == column.dtype
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, column)

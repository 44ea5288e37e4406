import dataclasses

import numpy as np
import pytest

from common.changes import boards_of, changes_of
from common.errors import MessageError
from tests.common.batches import noise, played


def changes(batch):
    return changes_of(batch.positions.boards, batch.actions, batch.game_rows)


def test_a_row_of_a_real_game_changes_by_the_reply_alone():
    batch = played(1, games=4)
    firsts = np.cumsum(batch.game_rows) - batch.game_rows
    later = np.delete(changes(batch).counts, firsts)
    assert later.max() <= 4  # a reply changes two squares, castling up to four more with our own rook's two
    assert np.bincount(later).argmax() == 2


def test_boards_come_back_for_games_and_for_noise():
    for batch in (played(2), noise(3, [4, 0, 1, 7]), noise(1, []), noise(1, [0])):
        again = boards_of(changes(batch), batch.actions, batch.game_rows)
        np.testing.assert_array_equal(again, batch.positions.boards, strict=True)


def test_changes_that_no_boards_have_are_refused():
    batch = played(2)
    told = changes(batch)
    for name, place, value in (("movers", 3, 12), ("captured", 3, 12), ("squares", 40, 64), ("differences", 40, 0),
                               ("differences", 40, 77), ("squares", 1, 0)):  # fmt: skip
        column = getattr(told, name).copy()
        column[place] = value
        with pytest.raises(MessageError):
            boards_of(dataclasses.replace(told, **{name: column}), batch.actions, batch.game_rows)

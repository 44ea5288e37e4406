import numpy as np
import pytest

from arena.uci_info import centipawns, win_draw_loss
from common.scores import expected_score


@pytest.mark.parametrize("score", [0, 1, -1, 50, -300, 1000, 1999, -2000])
def test_centipawns_are_the_inverse_of_the_expected_score(score: int) -> None:
    worth = float(expected_score(np.array([score], np.int16))[0])
    assert abs(centipawns(worth) - score) <= 1


def test_centipawns_end_at_the_ends() -> None:
    assert (centipawns(0.0), centipawns(0.5), centipawns(1.0)) == (-2000, 0, 2000)


@pytest.mark.parametrize("worth", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_chances_add_up_to_one_and_to_the_expected_score(worth: float) -> None:
    win, draw, loss = win_draw_loss(worth)
    assert win + draw + loss == 1000
    assert min(win, draw, loss) >= 0
    assert (win + draw / 2) / 1000 == pytest.approx(worth, abs=0.001)

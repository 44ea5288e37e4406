import chess
import numpy as np
import pytest
import torch

from agent.networks import Mlp, Network
from agent.player import Judgement, Player
from common.settings import Side
from tests.common.boards import AWKWARD_FENS


def network(seed: int) -> Network:
    made = Mlp(accumulator=16, width=32)
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2, generator=generator)
    return made.requires_grad_(False)


WHITE, BLACK = network(1), network(2)


@pytest.fixture(scope="module")
def player() -> Player:
    return Player.of(white=WHITE, black=BLACK, tau=0.1)


BOARDS = [chess.Board(), *(board for fen in AWKWARD_FENS if any((board := chess.Board(fen)).legal_moves))]


def assert_alike(one: Judgement, other: Judgement) -> None:
    assert one.moves == other.moves
    assert one.value == pytest.approx(other.value, abs=1e-5)
    for name in ("priors", "action_values", "policy"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-3, atol=1e-5)


def test_a_judgement_is_over_the_legal_moves(player: Player) -> None:
    for board, judgement in zip(BOARDS, player.judge(BOARDS), strict=True):
        assert judgement.moves == tuple(board.legal_moves)
        assert 0.0 <= judgement.value <= 1.0
        assert judgement.priors.sum() == pytest.approx(1.0, abs=1e-5)
        assert (abs(judgement.action_values) <= 1.0).all()
        weights = judgement.priors * np.exp(judgement.action_values / 0.1)
        np.testing.assert_allclose(judgement.policy, weights / weights.sum(), rtol=1e-3, atol=1e-6)
        assert judgement.best == judgement.moves[int(weights.argmax())]


def test_a_board_is_judged_the_same_in_any_company(player: Player) -> None:
    together = player.judge(BOARDS)
    for board, judgement in zip(BOARDS, together, strict=True):
        assert_alike(player.judge([board])[0], judgement)
    for one, other in zip(player.judge(BOARDS[::-1]), together[::-1], strict=True):
        assert_alike(one, other)


def test_each_colour_is_judged_by_its_own_network(player: Player) -> None:
    alone = {
        True: Player.of(white=WHITE, black=WHITE, tau=0.1),
        False: Player.of(white=BLACK, black=BLACK, tau=0.1),
    }
    for board, judgement in zip(BOARDS, player.judge(BOARDS), strict=True):
        assert_alike(judgement, alone[board.turn].judge([board])[0])
    assert {board.turn for board in BOARDS} == {True, False}


def test_a_board_and_its_mirror_are_judged_alike_by_one_network() -> None:
    both = Player({Side.WHITE: WHITE, Side.BLACK: WHITE})
    for board in BOARDS:
        one, other = both.judge([board, board.mirror()])
        mirrored = {
            chess.Move(chess.square_mirror(m.from_square), chess.square_mirror(m.to_square), m.promotion): share
            for m, share in zip(other.moves, other.policy.tolist(), strict=True)
        }
        assert one.value == pytest.approx(other.value, abs=1e-5)
        assert [mirrored[move] for move in one.moves] == pytest.approx(one.policy.tolist(), abs=1e-4)


def test_no_boards_have_no_judgements(player: Player) -> None:
    assert player.judge([]) == []


def test_the_smaller_the_temperature_the_more_the_gains_decide() -> None:
    hot, cold = (Player.of(white=WHITE, black=BLACK, tau=tau).judge([chess.Board()])[0] for tau in (1e3, 1e-4))
    np.testing.assert_allclose(hot.policy, hot.priors, rtol=1e-2)
    assert cold.best == cold.moves[int(cold.action_values.argmax())]
    assert cold.policy.max() > 0.99

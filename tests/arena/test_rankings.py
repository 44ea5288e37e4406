"""Rankings: ties, and the orders of the ways of choosing."""

import chess
import numpy as np
import pytest

from arena.rankings import (
    JudgementRanker,
    LookaheadRanker,
    MaterialRanker,
    RandomRanker,
    Ranking,
    Remembering,
    SearchRanker,
)
from tests.arena.players import small_player

E4, D4, C4, F4 = (chess.Move.from_uci(uci) for uci in ("e2e4", "d2d4", "c2c4", "f2f4"))
TIED = Ranking(moves=(E4, D4, C4, F4), scores=np.array([1.0, 2.0, 2.0, 0.0]))


def test_level_moves_share_the_chance_of_being_played() -> None:
    assert TIED.first == [D4, C4]
    assert TIED.chance_of({D4}) == 0.5
    assert TIED.chance_of({D4, C4}) == 1.0
    assert TIED.chance_of({E4}) == 0.0


@pytest.mark.parametrize(
    ("move", "places", "chance"),
    [(D4, 1, 0.5), (D4, 2, 1.0), (E4, 2, 0.0), (E4, 3, 1.0), (F4, 3, 0.0), (F4, 4, 1.0), (F4, 9, 1.0)],
)
def test_level_moves_share_places(move: chess.Move, places: int, chance: float) -> None:
    assert TIED.chance_within(move, places) == chance


def test_an_illegal_move_is_never_found() -> None:
    assert TIED.chance_within(chess.Move.from_uci("a2a4"), 4) == 0.0


def test_random_moves_are_all_level() -> None:
    [ranking] = RandomRanker().rank([chess.Board()])
    assert ranking.chance_of({E4}) == pytest.approx(1 / 20)
    assert ranking.chance_within(E4, 5) == pytest.approx(5 / 20)


def test_material_takes_the_queen() -> None:
    board = chess.Board("4k3/8/8/3q1p2/4P3/8/8/4K3 w - - 0 1")
    [ranking] = MaterialRanker().rank([board])
    assert ranking.first == [chess.Move.from_uci("e4d5")]


def test_lookahead_mates_and_shuns_stalemate() -> None:
    board = chess.Board("k7/8/1K6/8/8/8/8/7R w - - 0 1")
    [ranking] = LookaheadRanker(small_player()).rank([board])
    assert ranking.first == [chess.Move.from_uci("h1h8")]
    assert ranking.scores.max() == 1.0


def test_lookahead_scores_are_the_opponents_values_turned() -> None:
    player, board = small_player(), chess.Board()
    [ranking] = LookaheadRanker(player).rank([board])
    for move, score in zip(ranking.moves, ranking.scores, strict=True):
        board.push(move)
        assert score == pytest.approx(1 - player.judge([board])[0].value, abs=1e-6)
        board.pop()


def test_a_judgement_is_ranked_by_what_is_asked_of_it() -> None:
    player, board = small_player(), chess.Board()
    [judgement] = player.judge([board])
    [ranking] = JudgementRanker(player, lambda judged: judged.policy).rank([board])
    assert ranking.first == [judgement.best]


def test_a_search_of_one_node_is_the_policy() -> None:
    player, boards = small_player(), [chess.Board(), chess.Board("8/8/8/4k3/8/8/4P3/4K3 w - - 0 1")]
    rankings = SearchRanker(player, 1).rank(boards)
    assert [ranking.first[0] for ranking in rankings] == [judgement.best for judgement in player.judge(boards)]


def test_a_player_is_asked_once_of_the_same_boards() -> None:
    player, boards = small_player(), [chess.Board()]
    asked = []

    class Counting:
        def judge(self, boards):
            asked.append(len(boards))
            return player.judge(boards)

    remembering = Remembering(Counting())
    first = remembering.judge(boards)
    assert remembering.judge(list(boards)) is first
    assert remembering.judge([chess.Board()]) is not first
    assert asked == [1, 1]

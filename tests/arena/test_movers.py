import chess
import numpy as np
import pytest

from agent.player import Judgement
from arena.movers import (
    Choice,
    MaterialGreedy,
    OnePlyMover,
    PolicyMover,
    PriorMover,
    RandomMover,
    SearchMover,
    after,
    centipawns,
    choices_of,
    final_score,
    material_gain,
    sensible,
)
from common.scores import expected_score
from tests.arena.players import ScriptedMover, first, small_player

BACK_RANK = "6k1/5ppp/8/8/8/8/8/R3K3 w - - 0 1"
BOARDS = [
    chess.Board(),
    chess.Board(BACK_RANK),
    chess.Board("rnbqkbnr/ppp1pppp/8/3p4/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 2"),
    chess.Board("8/P6k/8/8/8/8/8/K7 w - - 0 1"),
    chess.Board("rnbqkbnr/pppp1ppp/8/4p3/6P1/5P2/PPPPP2P/RNBQKBNR b KQkq - 0 2"),
]


@pytest.mark.parametrize(
    "mover",
    [
        RandomMover(1),
        MaterialGreedy(1),
        PolicyMover(small_player()),
        PolicyMover(small_player(), temperature=1.0),
        PolicyMover(small_player(), temperature=1.0, careful=True),
        PriorMover(small_player()),
        OnePlyMover(small_player()),
        SearchMover(small_player(), 8),
    ],
    ids=lambda mover: f"{type(mover).__name__} {mover.name}",
)
def test_every_mover_answers_each_board_with_a_legal_move_and_leaves_it_as_it_was(mover) -> None:
    boards = [board.copy() for board in BOARDS]
    moves = mover.choose(boards)
    assert [board.is_legal(move) for board, move in zip(boards, moves, strict=True)] == [True] * len(boards)
    assert boards == BOARDS
    assert mover.choose([]) == []


@pytest.mark.parametrize("kind", [RandomMover, MaterialGreedy])
def test_a_seed_fixes_the_moves(kind) -> None:
    boards = [chess.Board()] * 20
    assert kind(3).choose(boards) == kind(3).choose(boards)
    assert kind(3).choose(boards) != kind(4).choose(boards)


@pytest.mark.parametrize(
    ("fen", "uci", "gain"),
    [
        ("8/8/4k3/3q4/4P3/8/8/4K3 w - - 0 1", "e4d5", 9),
        ("1n5k/P7/8/8/8/8/8/K7 w - - 0 1", "a7b8q", 11),
        ("7k/P7/8/8/8/8/8/K7 w - - 0 1", "a7a8n", 2),
        ("7k/8/8/3pP3/8/8/8/K7 w - d6 0 1", "e5d6", 1),
        ("r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1", "e1g1", 0),
        ("4k2r/8/8/8/8/8/8/R3K2R w KQk - 0 1", "h1h8", 5),
    ],
)
def test_a_move_gains_what_it_takes_and_promotes_to(fen: str, uci: str, gain: int) -> None:
    board, move = chess.Board(fen), chess.Move.from_uci(uci)
    assert material_gain(board, move) == gain
    if not board.is_castling(move):
        assert MaterialGreedy().choose([board])[0] == move or gain == 2


def test_material_greedy_chooses_any_of_equal_moves() -> None:
    moves = MaterialGreedy(1).choose([chess.Board()] * 300)
    assert set(moves) == set(chess.Board().legal_moves)


def test_one_ply_sees_mate_whatever_its_network_says() -> None:
    choice = OnePlyMover(small_player()).explain([chess.Board(BACK_RANK)])[0]
    assert choice.move == chess.Move.from_uci("a1a8")
    assert choice.score_cp == 2000


def test_one_ply_gives_the_best_of_the_values_after_a_move() -> None:
    player, board = small_player(), chess.Board()
    values = {move: 1 - player.judge([after(board, move)])[0].value for move in board.legal_moves}
    best = max(values, key=values.__getitem__)
    assert OnePlyMover(player).explain([board]) == [Choice(move=best, score_cp=centipawns(values[best]))]


def test_a_third_repetition_and_the_fiftieth_move_are_draws_after_one_ply() -> None:
    board = chess.Board()
    for uci in ["g1f3", "g8f6", "f3g1", "f6g8"] * 2:
        assert final_score(board) is None
        board.push_uci(uci)
    assert final_score(board) == 0.5
    board.pop()
    assert final_score(after(board, chess.Move.from_uci("f6g8"))) == 0.5
    assert final_score(chess.Board("7k/8/8/8/8/8/R7/K7 b - - 100 90")) == 0.5
    assert final_score(chess.Board("7k/8/8/8/8/8/R7/K7 b - - 99 90")) is None
    assert final_score(chess.Board("7k/8/8/8/8/8/8/K7 b - - 0 1")) == 0.5
    assert final_score(chess.Board("7k/5Q2/6K1/8/8/8/8/8 b - - 0 1")) == 0.5
    assert final_score(chess.Board("7k/6Q1/6K1/8/8/8/8/8 b - - 0 1")) == 1.0


def test_policy_and_prior_play_what_they_rank_first() -> None:
    player = small_player()
    judged = player.judge(BOARDS)
    assert PolicyMover(player).choose(BOARDS) == [judgement.best for judgement in judged]
    assert PriorMover(player).choose(BOARDS) == [judgement.moves[judgement.priors.argmax()] for judgement in judged]


def test_a_temperature_draws_moves_as_often_as_the_policy_says() -> None:
    player, board = small_player(), chess.Board(BACK_RANK)
    judgement = player.judge([board])[0]
    moves = PolicyMover(player, temperature=1.0, seed=1).choose([board] * 3000)
    for move, share in zip(judgement.moves, judgement.policy.tolist(), strict=True):
        assert moves.count(move) / 3000 == pytest.approx(share, abs=0.04)


def judged(board: chess.Board, value: float) -> Judgement:
    """A judgement that takes all moves for equal."""
    moves = tuple(board.legal_moves)
    level = np.full(len(moves), 1 / len(moves), np.float32)
    return Judgement(value=value, moves=moves, priors=level, action_values=level * 0, policy=level)


def considered(board: chess.Board, value: float) -> set[str]:
    judgement = judged(board, value)
    return {move.uci() for move, fit in zip(judgement.moves, sensible(board, judgement), strict=True) if fit}


def test_a_careful_player_mates_where_it_can() -> None:
    assert considered(chess.Board(BACK_RANK), 0.1) == {"a1a8"}
    mover = PolicyMover(small_player(), careful=True)
    assert mover.choose([chess.Board(BACK_RANK)]) == [chess.Move.from_uci("a1a8")]


def test_a_careful_player_stalemates_only_when_it_is_not_better() -> None:
    board = chess.Board("k7/8/8/1K6/8/2Q5/8/8 w - - 0 1")
    drawing = {"c3c7"}
    assert considered(board, 0.9) == {move.uci() for move in board.legal_moves} - drawing
    assert considered(board, 0.4) == {move.uci() for move in board.legal_moves}


def test_a_careful_player_brings_back_no_position_while_it_is_better() -> None:
    board = chess.Board()
    for uci in ("g1f3", "g8f6", "f3g1"):
        board.push_uci(uci)
    assert "f6g8" not in considered(board, 0.6)
    assert "f6g8" in considered(board, 0.5)


def test_a_careful_player_with_drawing_moves_alone_makes_one() -> None:
    board = chess.Board("7k/8/8/8/8/8/6q1/7K w - - 0 1")
    assert considered(board, 0.9) == {"h1g2"}


def test_centipawns_are_those_of_the_expected_score() -> None:
    scores = np.array([-1500, -80, 0, 35, 900], np.int16)
    assert [centipawns(expected) for expected in expected_score(scores).tolist()] == scores.tolist()
    assert (centipawns(1.0), centipawns(0.0)) == (2000, -2000)


def test_a_mover_without_scores_is_asked_for_moves_alone() -> None:
    assert choices_of(ScriptedMover(first), [chess.Board()]) == [Choice(move=first(chess.Board()))]

import chess
import numpy as np
import pytest

from actor.games import Game, read_games
from actor.transitions import make_batch
from common import moves, scores
from common.batch import GAME_SIDES, decode, encode
from common.rejections import Rejection, RejectionReason
from common.settings import AgentSettings, Reward, Side
from common.transitions import END, transitions
from tests.actor.oracle import cut, raw_games, read_bytes
from tests.common.batches import assert_equal

TEXTS = [
    b'[WhiteElo "2500"]\n\n1. e4 e5 2. Nf3 Nc6 3. Bb5 1-0',
    b'[FEN "4k3/8/8/8/8/8/4p3/R3K2R b KQ - 3 30"]\n\n30... Kd7 31. Kxe2 Kc6 0-1',
    b"1. e4 *",
    b'[FEN "4k3/8/8/8/8/8/4p3/R3K2R b KQ - 3 30"]\n\n30... Kd7 *',
    b"1. f3 e5 2. g4 Qh4# 0-1",
]
WHITE = AgentSettings(name="white", side=Side.WHITE)
BLACK = AgentSettings(name="black", side=Side.BLACK)
BOTH = AgentSettings(name="both", side=Side.BOTH)


def read(texts: list[bytes]) -> list[Game]:
    games, rejections = read_games(raw_games(texts), comments=False)
    assert not rejections
    return games


def made_up_scores(games: list[Game]) -> list[np.ndarray]:
    """Score `100 * game + ply` for white, as the side to move sees it; terminal ones exact."""
    columns = []
    for index, game in enumerate(games):
        signs = [1 if game.start_white_to_move == (ply % 2 == 0) else -1 for ply in range(len(game) + 1)]
        column = np.array([sign * (100 * index + ply) for ply, sign in enumerate(signs)], np.int16)
        if game.terminal_score is not None:
            column[-1] = game.terminal_score
        columns.append(column)
    return columns


def test_white_gets_the_positions_with_white_to_move():
    games = read(TEXTS)
    batch = make_batch(7, WHITE, games, made_up_scores(games), [])
    assert (batch.unit, batch.agent, batch.side) == (7, "white", Side.WHITE)
    assert batch.game_numbers.tolist() == [0, 1, 2, 3, 4]
    assert batch.game_rows.tolist() == [3, 1, 1, 0, 2]
    assert batch.first_plies.tolist() == [0, 1, 0, 1, 0]
    assert batch.start_fullmoves.tolist() == [1, 31, 1, 31, 1]
    assert [moves.to_uci(a, Side.WHITE) for a in batch.actions] == [
        "e2e4", "g1f3", "f1b5", "e1e2", "e2e4", "f2f3", "g2g4",
    ]  # fmt: skip
    assert batch.scores.tolist() == [0, 2, 4, 101, 200, 400, 402]
    assert batch.results.tolist() == [2, 0, 255, 255, 0]
    assert batch.final_scores.tolist() == [5, 103, 201, 301, scores.CHECKMATED]


def test_black_gets_the_others_seen_from_its_own_side():
    games = read(TEXTS)
    batch = make_batch(7, BLACK, games, made_up_scores(games), [])
    assert batch.game_rows.tolist() == [2, 2, 0, 1, 2]
    assert batch.first_plies.tolist() == [1, 0, 1, 0, 1]
    assert batch.start_fullmoves.tolist() == [1, 30, 1, 30, 1]
    assert [moves.to_uci(a, Side.BLACK) for a in batch.actions] == [
        "e7e5", "b8c6", "e8d7", "d7c6", "e8d7", "e7e5", "d8h4",
    ]  # fmt: skip
    assert batch.scores.tolist() == [-1, -3, -100, -102, -300, -401, -403]
    assert batch.results.tolist() == [0, 2, 255, 255, 2]
    assert batch.final_scores.tolist() == [-5, -103, -201, -301, -scores.CHECKMATED]


def test_an_agent_that_plays_both_sides_gets_both_runs_of_each_game():
    games = read(TEXTS)
    unit_scores = made_up_scores(games)
    both, *single = (make_batch(7, agent, games, unit_scores, []) for agent in (BOTH, WHITE, BLACK))
    assert both.side is Side.BOTH
    assert both.game_numbers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert both.game_sides.tolist() == [0, 1] * 5
    assert (both.games_read, both.games_used) == (5, 5)
    for side, batch in enumerate(single):
        for name in ("game_rows", "first_plies", "start_fullmoves", "results", "final_scores"):
            assert getattr(both, name)[side::2].tolist() == getattr(batch, name).tolist(), name
        for name in ("actions", "scores"):
            assert getattr(both, name)[both.row_sides == side].tolist() == getattr(batch, name).tolist(), name
    assert_equal(decode(encode(both)), both)


def test_games_are_selected_by_the_query_and_all_are_accounted_for():
    games = read(TEXTS)
    agent = AgentSettings(name="strong", side=Side.WHITE, where="WhiteElo > 2200")
    rejections = [
        Rejection(number=9 + i, source="a", line=1, reason=RejectionReason.VARIANT, detail="x") for i in range(2)
    ]
    batch = make_batch(7, agent, games, made_up_scores(games), rejections)
    assert batch.game_numbers.tolist() == [0]
    assert (batch.games_read, batch.unselected, dict(batch.rejected)) == (7, 4, {"variant": 2})
    assert_equal(decode(encode(batch)), batch)


def test_a_unit_without_usable_games_makes_an_empty_batch():
    batch = make_batch(7, WHITE, [], [], [])
    assert len(batch) == 0
    assert_equal(decode(encode(batch)), batch)


@pytest.mark.parametrize("agent", [WHITE, BLACK, BOTH], ids=lambda agent: agent.name)
def test_the_way_from_text_to_transitions_equals_a_replay_with_python_chess(shared_data, agent):
    texts = cut(read_bytes(shared_data / "games" / "games-a.pgn.zst"))[:48]
    games = read(texts)
    unit_scores = made_up_scores(games)
    body = encode(make_batch(0, agent, games, unit_scores, []))
    rows = transitions(decode(body), Reward.SHAPED)
    row = 0
    for index, game in enumerate(games):
        for side in agent.side.colours:
            board = chess.Board()
            for ply, uci in enumerate(game.moves_uci):
                if board.turn == (side is Side.WHITE):
                    assert rows.positions.to_fen(row, side, int(rows.fullmoves[row])) == board.fen()
                    assert moves.to_uci(int(rows.actions[row]), side) == uci
                    assert (rows.game_numbers[row], rows.plies[row]) == (game.number, ply)
                    assert GAME_SIDES[rows.sides[row]] is side
                    worth = scores.expected_score(unit_scores[index][ply : ply + 1])[0]
                    assert rows.expected_scores[row] == worth
                    ends = ply + 2 >= len(game)
                    assert (rows.terminated[row] or rows.truncated[row]) == ends
                    assert rows.next_rows[row] == (END if ends else row + 1)
                    outcome = (
                        None if game.result is None else (game.result if side is Side.WHITE else 2 - game.result)
                    )
                    assert rows.terminated[row] == (ends and outcome is not None)
                    if rows.terminated[row]:
                        assert rows.rewards[row] == pytest.approx(outcome / 2 - worth, abs=1e-6)
                    row += 1
                board.push_uci(uci)
    assert row == len(rows)
    assert len(body) / len(rows) < 8.5

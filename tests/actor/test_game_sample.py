import logging

import numpy as np
import pytest

from actor.game_sample import record_game
from actor.games import Game, read_games
from common.logs import fields_of
from common.messages import RawGame
from common.scores import CHECKMATED, from_mate

RAW = RawGame(number=7, source="games.pgn", line=31, text=b'[Result "0-1"]\n\n1. f3 e5 2. g4 Qh4# 0-1\n')
AGENTS = ("white", "black")


@pytest.fixture(autouse=True)
def _traced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="trace")


def read(raw: RawGame) -> Game:
    return read_games([raw], comments=False)[0][0]


def test_a_game_is_told_with_its_moves_and_the_score_of_each_position_for_white(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scores = np.array([20, 35, -80, from_mate(1), CHECKMATED], np.int16)  # each for its side to move
    assert record_game(3, AGENTS, RAW, read(RAW), scores)
    (record,) = caplog.records
    assert record.getMessage() == "game"
    assert fields_of(record) == {
        "unit": 3, "game": 7, "source": "games.pgn", "line": 31, "result": "0-1",
        "start_fen": "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
        "moves": "f2f3 e7e5 g2g4 d8h4", "scores": "20 -35 -80 m-1 m0", "agents": "white black",
    }  # fmt: skip


def test_where_black_moves_first_the_scores_are_for_white_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    start = "6k1/8/8/8/8/8/4r3/6K1 b - - 0 1"
    raw = RawGame(number=0, source="a", line=1, text=f'[FEN "{start}"]\n\n1... Re7 2. Kg2 *\n'.encode())
    assert record_game(0, AGENTS, raw, read(raw), np.array([500, -480, from_mate(9)], np.int16))
    fields = fields_of(caplog.records[0])
    assert (fields["start_fen"], fields["scores"], fields["result"]) == (start, "-500 -480 m-9", "*")


def test_a_game_too_long_for_a_log_record_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    shuffles = " ".join(f"{n}. Nf3 Nf6 {n + 1}. Ng1 Ng8" for n in range(1, 1001, 2))
    raw = RawGame(number=0, source="a", line=1, text=f"{shuffles} *\n".encode())
    game = read(raw)
    assert not record_game(0, AGENTS, raw, game, np.zeros(len(game) + 1, np.int16))
    assert not caplog.records

from collections.abc import Sequence

import chess
import chess.engine
import numpy as np
import pandas as pd
import pytest

from actor.annotations import COLUMNS, ScoredGame, annotations
from actor.engine import Engine
from actor.games import Game, read_games
from actor.labels import Labels, Origin
from common.settings import EvaluationSource
from tests.actor.oracle import raw_games

NODES = 60

PLAYED = [
    b'[Result "1-0"]\n\n1. e4 e5 2. Bc4 Nc6 3. Qh5 Nf6 4. Qxf7# 1-0\n',
    b'[SetUp "1"]\n[FEN "7k/P7/8/8/8/8/5r2/K7 b - - 6 60"]\n[Result "*"]\n\n60... Kg7 61. a8=Q Rf1+ 62. Kb2 *\n',
    b'[SetUp "1"]\n[FEN "k7/8/1K6/8/8/8/8/4Q3 w - - 0 1"]\n\n1. Qe3 Kb8 2. Qd4 Ka8 3. Qc3 Kb8 4. Qf6 Ka8 *\n',
    b'[SetUp "1"]\n[FEN "7k/8/6K1/8/8/8/8/5Q2 w - - 0 1"]\n\n1. Qf7 1/2-1/2\n',
    b"1. Nf3 Nf6 2. Ng1 Ng8 3. Nf3 Nf6 4. Ng1 Ng8 5. e4 d5 6. e5 f5 7. exf6 *\n",
]
COMMENTED = b"1. e4 { [%eval 0.3] } e5 { [%eval 0.25,20] } 2. Qh5 { [%eval #-3] } Ke7 { [%eval #2] } 3. Qxe5# 1-0\n"


def games_of(texts: Sequence[bytes], *, comments: bool = False) -> list[Game]:
    games, rejections = read_games(raw_games(list(texts)), comments=comments)
    assert rejections == []
    return games


def scored(games: Sequence[Game], labels: Labels) -> list[ScoredGame]:
    tickets = labels.submit(games)
    found = {}
    while len(found) < len(tickets):
        found |= {labelled.ticket: labelled for labelled in labels.poll(1.0)}
    return [
        ScoredGame(game=game, scores=found[ticket].scores, origin=found[ticket].origin)
        for game, ticket in zip(games, tickets, strict=True)
    ]


def expected(game: Game, number: int, engine: chess.engine.SimpleEngine) -> list[dict[str, object]]:
    """The rows of a game by python-chess and one engine that is asked position by position."""
    board = chess.Board(game.start_fen or chess.STARTING_FEN)
    rows = []
    for ply, move in enumerate([*game.moves_uci, None]):
        if board.is_checkmate():
            score: chess.engine.Score = chess.engine.Mate(0)
        elif board.is_stalemate():
            score = chess.engine.Cp(0)
        else:
            score = engine.analyse(board, chess.engine.Limit(nodes=NODES), game=number)["score"].relative
        mate = score.mate()
        worth = (
            1 / (1 + np.exp(-0.00368208 * np.clip(score.score(), -2000, 2000)))
            if mate is None
            else 1 - (1 - 1 / (1 + np.exp(-7.36416))) * abs(mate) / (abs(mate) + 10)
        )
        if mate is not None and mate <= 0:
            worth = 1 - worth
        rows.append({
            "game": number, "ply": ply, "fen": board.fen(), "move": move,
            "score_cp": score.score(), "mate": mate,
            "expected_score": worth if board.turn else 1 - worth,
            "side": "white" if board.turn else "black",
            "source": "rules" if board.is_checkmate() or board.is_stalemate() else "engine",
        })  # fmt: skip
        if move is not None:
            board.push_uci(move)
    return rows


def test_rows_are_those_of_an_engine_that_is_asked_position_by_position(stockfish: str) -> None:
    games = games_of(PLAYED)
    with Engine(stockfish, nodes=NODES) as engine:
        found = annotations(scored(games, Labels(EvaluationSource.ENGINE, engine)))
    with chess.engine.SimpleEngine.popen_uci(stockfish) as oracle:
        oracle.configure({"Threads": 1, "Hash": 16})
        rows = [row for number, game in enumerate(games) for row in expected(game, number, oracle)]
    table = pd.DataFrame(rows).astype(COLUMNS)
    close = ["expected_score"]
    pd.testing.assert_frame_equal(found.drop(columns=close), table.drop(columns=close), check_exact=True)
    np.testing.assert_allclose(found["expected_score"], table["expected_score"], rtol=1e-6, atol=1e-7)
    assert table["mate"].notna().any()
    assert (table["source"] == "rules").sum() == 2


@pytest.mark.parametrize("source", [EvaluationSource.PGN, EvaluationSource.AUTO])
def test_comments_are_told_from_the_start_and_from_the_rules(source: EvaluationSource, stockfish: str) -> None:
    with Engine(stockfish, nodes=NODES) as engine:
        rows = annotations(scored(games_of([COMMENTED], comments=True), Labels(source, engine)))
    assert rows["source"].tolist() == ["assumed", "comment", "comment", "comment", "comment", "rules"]
    assert rows["score_cp"].tolist() == [20, -30, 25, pd.NA, pd.NA, pd.NA]
    assert rows["mate"].tolist() == [pd.NA, pd.NA, pd.NA, 3, 2, 0]
    white = rows["expected_score"].tolist()
    assert white[2] < white[1]
    assert white[3] < 0.01
    assert white[4] > 0.99
    assert white[5] == 1.0


def test_a_comment_is_laid_over_what_the_engine_says(stockfish: str) -> None:
    partly = b"1. e4 { [%eval 1.5] } e5 2. Nf3 *\n"
    with Engine(stockfish, nodes=NODES) as engine:
        rows = annotations(scored(games_of([partly], comments=True), Labels(EvaluationSource.AUTO, engine)))
    assert rows["source"].tolist() == ["engine", "comment", "engine", "engine"]
    assert rows["score_cp"][1] == -150


def test_no_games_give_no_rows_of_the_same_columns() -> None:
    rows = annotations([])
    assert len(rows) == 0
    assert {name: str(dtype) for name, dtype in rows.dtypes.items()} == COLUMNS


def test_the_origin_of_stored_scores_is_the_engine() -> None:
    [game] = games_of([PLAYED[4]])
    scores = np.zeros(len(game) + 1, np.int16)
    by_engine, by_store = (
        annotations([ScoredGame(game=game, scores=scores, origin=origin)])
        for origin in (Origin.ENGINE, Origin.STORE)
    )
    pd.testing.assert_frame_equal(by_engine, by_store)

import random
from collections import Counter
from pathlib import Path

import chess
import numpy as np
import pytest

from actor.games import Game, read_games
from agent.boards import actions_of, positions_of, repetitions_of, side_of, with_history
from common.moves import decode, uci_table
from common.positions import NO_FILE, concatenate
from common.settings import Side
from tests.actor.oracle import cut, raw_games, read_bytes
from tests.common import boards as oracle
from tests.common.batches import POSITION_COLUMNS, same_columns

GAMES = [
    "1. Nf3 Nf6 2. Ng1 Ng8 3. Nf3 Nf6 4. Ng1 Ng8 5. Nf3 Nf6 6. Ng1 Ng8 7. e4 e5 8. Nf3 Nc6 9. Ng1 Nb8 1/2-1/2",
    "1. e4 a6 2. e5 d5 3. exd6 b5 4. a4 b4 5. c4 bxc3 6. Nf3 cxb2 7. Bc4 bxa1=N 8. O-O Nf6 9. dxc7 g6 10. cxb8=R "
    "Rxb8 11. Nc3 Bg7 12. d3 O-O 13. Be3 Bb7 14. Qd2 Qa5 15. Rxa1 Rfc8 1-0",
    "1. d4 d5 2. Nc3 Nc6 3. Bf4 Bf5 4. Qd2 Qd7 5. O-O-O O-O-O 6. h4 h5 7. g4 hxg4 8. h5 g5 9. hxg6 Rxh1 "
    "10. gxf7 Rxg1 11. fxg8=Q Rxf1 12. Qxf8 0-1",
    "1. a4 h6 2. a5 b5 3. Ra3 h5 4. Ra1 h4 5. g4 Rh6 6. h3 Rh8 7. Nf3 Nf6 8. Ng1 Ng8 *",
]


def test_a_copy_remembers_what_can_repeat() -> None:
    board = chess.Board()
    for uci in ("e2e4", "e7e5", "g1f3", "g8f6", "f3g1", "f6g8"):
        board.push_uci(uci)
    twin = with_history(board)
    assert twin.fen() == board.fen()
    assert len(twin.move_stack) == 4
    twin.push_uci("g1f3")
    twin.pop()
    assert twin.is_repetition(2)
    assert board.is_repetition(2)
    assert len(board.move_stack) == 6


def test_repetitions_are_those_that_the_rules_count() -> None:
    for seed in range(20):
        board = chess.Board("r3k2r/p7/8/1p6/8/8/P1P5/R3K2R w KQkq - 0 1") if seed % 2 else chess.Board()
        seen: list[object] = [board._transposition_key()]
        dice = random.Random(seed)
        for _ in range(150):
            moves = [move for move in board.legal_moves if not board.is_zeroing(move) or dice.random() < 0.05]
            if not moves:
                break
            back = [
                move for move in moves if board.move_stack[-2:-1] == [chess.Move(move.to_square, move.from_square)]
            ]
            board.push(dice.choice(back or moves))
            key = board._transposition_key()
            assert repetitions_of(board) == sum(key == earlier for earlier in seen)
            seen.append(key)


def test_a_lost_right_to_take_in_passing_makes_a_position_new() -> None:
    board = chess.Board("4k3/8/8/8/1p6/8/P7/4K3 w - - 0 1")
    for uci in ("a2a4", "e8d8", "e1d1", "d8e8", "d1e1"):
        board.push_uci(uci)
    assert repetitions_of(board) == 0
    board = chess.Board("4k3/8/8/8/7p/8/P7/4K3 w - - 0 1")  # here nobody could take
    for uci in ("a2a4", "e8d8", "e1d1", "d8e8", "d1e1"):
        board.push_uci(uci)
    assert repetitions_of(board) == 1


# Rows of boards are the rows that actors make of whole games


def assert_rows_are_the_actors(games: list[Game]) -> Counter[str]:
    """Compare every position of `games`, and say what was among them."""
    among: Counter[str] = Counter()
    for game in games:
        board = chess.Board(game.start_fen) if game.start_fen else chess.Board()
        boards = [board.copy()]
        for ply, uci in enumerate(game.moves_uci):
            move = chess.Move.from_uci(uci)
            assert actions_of([move], side_of(board)).tolist() == [game.actions[ply]]
            among["castling"] += board.is_castling(move)
            among["en passant"] += board.is_en_passant(move)
            among["under-promotion"] += move.promotion not in (None, chess.QUEEN)
            board.push(move)
            boards.append(board.copy())
        same_columns(positions_of(boards), game.positions, POSITION_COLUMNS)
        among["repetition"] += int((game.positions.repetitions > 1).sum())
        among["capture offered in passing"] += int((game.positions.en_passant != NO_FILE).sum())
        among[f"{game.start_white_to_move} first"] += 1
    return among


def test_rows_are_those_that_the_actor_makes_of_its_games() -> None:
    black_first = '[SetUp "1"]\n[FEN "4k3/1p6/8/2P5/8/8/1p6/R3K2R b KQ - 3 9"]\n\n9... b5 10. cxb6 bxa1=B 11. O-O *'
    texts = [f'[Event "?"]\n\n{text}\n'.encode() for text in GAMES] + [black_first.encode()]
    games, rejections = read_games(raw_games(texts), comments=False)
    assert not rejections
    among = assert_rows_are_the_actors(games)
    kinds = {"castling", "en passant", "under-promotion", "repetition", "capture offered in passing"}
    assert {kind for kind, count in among.items() if count} == {*kinds, "True first", "False first"}


def test_rows_are_those_that_the_actor_makes_of_real_games(shared_data: Path) -> None:
    path = sorted((shared_data / "games").glob("*.pgn*"), key=lambda path: path.stat().st_size)[0]
    texts = cut(read_bytes(path))
    games, _ = read_games(raw_games(random.Random(0).sample(texts, min(len(texts), 60))), comments=False)
    among = assert_rows_are_the_actors(games)
    assert among["castling"] > 10


def test_rows_are_those_of_an_independent_reading() -> None:
    boards, expected = oracle.all_positions()
    same_columns(positions_of(boards), expected, POSITION_COLUMNS)
    same_columns(concatenate([positions_of([board]) for board in boards]), expected, POSITION_COLUMNS)
    assert len(positions_of([])) == 0


@pytest.mark.parametrize("side", [Side.WHITE, Side.BLACK])
def test_every_action_is_a_move_and_back(side: Side) -> None:
    moves = [chess.Move.from_uci(uci) for uci in uci_table(side)]
    np.testing.assert_array_equal(actions_of(moves, side), np.arange(1880))
    turned = 0 if side is Side.WHITE else 56
    starts, ends, _ = decode(np.arange(1880, dtype=np.uint16))
    assert [(move.from_square ^ turned, move.to_square ^ turned) for move in moves] == list(
        zip(starts.tolist(), ends.tolist(), strict=True)
    )

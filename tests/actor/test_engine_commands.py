from pathlib import Path

import chess
import pytest

from actor.engine_commands import BARRIER, game_commands, game_fens
from tests.actor.engine_games import MadeGame, boards_of, game_of, real_games

SHUFFLE = ["g1f3", "g8f6", "f3g1", "f6g8"]
PINNED_EN_PASSANT = "8/8/8/8/k2p3R/8/4P3/4K3 w - - 0 1"


def stockfish_fen(board: chess.Board) -> str:
    """The FEN with the en-passant square after every double step."""
    return board.fen(en_passant="fen")


def test_fens_are_those_of_python_chess(shared_data: Path) -> None:
    for game in real_games(shared_data, 25):
        assert game_fens(game) == [stockfish_fen(board) for board in boards_of(game)]


@pytest.mark.parametrize(
    ("start", "moves"),
    [
        (PINNED_EN_PASSANT, ["e2e4", "d4d3"]),
        ("r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 3 40", ["e8g8", "e1c1", "a8a1"]),
        ("7k/P7/8/8/8/8/8/K7 w - - 0 99", ["a7a8q", "h8h7"]),
        ("4k3/8/8/8/p7/8/R7/4K3 w - - 0 1", ["a2a4", "e8e7"]),
        ("4k3/8/8/8/8/8/R7/4K3 w - - 5 7", ["a2a4", "e8e7"]),
        ("4k3/8/8/8/1pPp4/8/8/4K3 b - c3 0 7", ["b4c3", "e1e2"]),
    ],
)
def test_fens_of_games_from_a_position_are_those_of_python_chess(start: str, moves: list[str]) -> None:
    game = game_of(moves, start)
    assert game_fens(game) == [stockfish_fen(board) for board in boards_of(game)]


def test_positions_go_without_moves_where_nothing_was_repeated() -> None:
    commands = game_commands(game_of(["e2e4", "e7e5", "g1f3"]), 7)
    assert commands[0].startswith(b"ucinewgame\nposition fen rnbqkbnr/")
    assert all(command.count(b"\n") == 2 for command in commands[1:])
    assert all(b" moves " not in command and command.endswith(b"\ngo nodes 7\n") for command in commands)


def test_a_repeated_position_and_those_after_it_go_with_their_moves_behind_a_barrier() -> None:
    commands = game_commands(game_of(["e2e4", "e7e5", *SHUFFLE, "f1c4", "d7d6"]), 7)
    assert [BARRIER in command for command in commands] == [False] * 6 + [True, True, False]
    base = b"position fen rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq e6 0 2"
    assert base + b" moves g1f3 g8f6 f3g1 f6g8\n" in commands[6]
    assert base + b" moves g1f3 g8f6 f3g1 f6g8 f1c4\n" in commands[7]


def test_the_barrier_is_a_checkmate() -> None:
    board = chess.Board(BARRIER.split(b"\n")[0].removeprefix(b"position fen ").decode())
    assert board.is_valid()
    assert board.is_checkmate()


def test_a_terminal_position_is_not_asked() -> None:
    mate = game_of(["f2f3", "e7e5", "g2g4", "d8h4"])
    assert mate.terminal_score == -32000
    assert len(game_commands(mate, 1)) == 4


def test_commands_stay_short_however_long_a_game_shuffles() -> None:
    game: MadeGame = game_of(SHUFFLE * 250)
    commands = game_commands(game, 1)
    assert len(commands) == 1001
    assert max(map(len, commands)) < 800

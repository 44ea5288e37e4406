import io
from collections.abc import Iterator
from pathlib import Path

import chess
import chess.pgn
import numpy as np
import pytest
from rich.console import Console

from arena.play_game import IllegalMove, Level, PlayGame, parse_move
from arena.play_terminal import PlayTerminal
from arena.play_view import board_view, moves_view, score_view
from tests.agent.scripted_player import ScriptedPlayer

SHORTEST = "8/8/8/8/8/5k2/7q/7K w - - 0 1"


def game(human: chess.Color = chess.WHITE, start: chess.Board | None = None) -> PlayGame:
    player = ScriptedPlayer()
    return PlayGame(player, human=human, level=Level(nodes=20), random=np.random.default_rng(1), start=start)  # type: ignore[arg-type]


def session(lines: str, *, width: int = 80, colour: bool = False, **others: object) -> str:
    """Return what a person sees who types `lines`."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="truecolor" if colour else None
    )
    terminal = PlayTerminal(
        ScriptedPlayer(),  # type: ignore[arg-type]
        **{"human": chess.WHITE, "level": Level(nodes=20), "seed": 1, "console": console, **others},  # type: ignore[arg-type]
    )
    typed: Iterator[str] = iter(lines.splitlines())
    terminal.run(lambda prompt: next(typed, None))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("text", ["Nf3", "nf3", "g1f3", "G1F3"])
def test_moves_are_read_in_either_notation(text: str) -> None:
    assert parse_move(chess.Board(), text) == chess.Move.from_uci("g1f3")


@pytest.mark.parametrize("text", ["O-O", "0-0", "o-o", "e1g1"])
def test_castling_is_read_however_it_is_written(text: str) -> None:
    board = chess.Board("4k3/8/8/8/8/8/8/4K2R w K - 0 1")
    assert parse_move(board, text) == chess.Move.from_uci("e1g1")


def test_a_pawn_is_no_bishop() -> None:
    board = chess.Board("4k3/8/8/8/8/2p5/1P6/4KB2 w - - 0 1")
    assert parse_move(board, "bxc3") == chess.Move.from_uci("b2c3")


@pytest.mark.parametrize("text", ["e5", "zz", "0000", "--", "e2e5", "Ke2", "e8=Q", ""])
def test_an_illegal_move_is_refused(text: str) -> None:
    with pytest.raises(IllegalMove):
        parse_move(chess.Board(), text)


def test_an_ambiguous_move_says_so() -> None:
    with pytest.raises(IllegalMove, match="several"):
        parse_move(chess.Board("4k3/8/8/8/8/8/8/N3K1N1 w - - 0 1".replace("N3K1N1", "1N2KN2")), "Nd2")


def test_undo_takes_back_both_sides_moves() -> None:
    played = game()
    played.play("e4")
    played.reply()
    assert played.undo() == 2
    assert played.board == chess.Board()
    assert played.undo() == 0


def test_resigning_and_drawing_end_the_game() -> None:
    played = game()
    played.resign()
    assert (played.result(), played.ending()) == ("0-1", "White resigns: Black wins.")
    drawn = game()
    for uci in ("g1f3", "g8f6", "f3g1", "f6g8") * 2:
        drawn.board.push_uci(uci)
    assert (drawn.result(), drawn.ending()) == ("1/2-1/2", "Draw by threefold repetition.")
    mated = game(start=chess.Board("7k/6Q1/6K1/8/8/8/8/8 b - - 0 1"))
    assert (mated.result(), mated.ending()) == ("1-0", "Checkmate: White wins.")


def test_a_game_can_be_typed_from_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "games.pgn"
    seen = session(f"e4\nd4\nundo\nNf3\nhint\ntop\nmoves\nfen\nsave {file}\nresign\n")
    assert "scripted plays " in seen
    assert "for you." in seen
    assert "White resigns: Black wins. 0-1" in seen
    with file.open() as stream:
        saved = chess.pgn.read_game(stream)
    assert saved is not None
    assert not saved.errors
    assert saved.headers["White"] == "Human"
    assert len(list(saved.mainline_moves())) == 4


def test_game_is_saved_at_the_end_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "games.pgn"
    session("e4\n", save=file)
    session("e4\n", save=file)
    assert file.read_text().count("[Event") == 2


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    assert "can't save to" in session(f"e4\nsave {tmp_path}\n")


def test_the_engine_begins_when_it_has_white_and_mates_when_it_can() -> None:
    board = chess.Board("6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1")
    seen = session("e4\nnew\n", human=chess.BLACK, start=board, level=Level(nodes=100))
    assert "scripted plays Rd8#. Its score: mates in 1." in seen
    assert "Checkmate: White wins. 1-0" in seen
    assert "the game is over" in seen


def test_changing_sides_lets_the_engine_move() -> None:
    seen = session("go\nfen\n")
    assert "You play black now." in seen
    assert " b KQkq" in seen


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("hello world", "no command hello"), ("zz", "zz is no legal move"), ("nodes 0", "nodes takes a number"),
        ("nodes x", "nodes takes a number"), ("temperature -1", "temperature takes a number"),
        ("temperature nan", "temperature takes a number"), ("new red", "new takes white or black"),
        ("save", "save takes the name"), ("undo", "no move to take back"), ("eval maybe", "eval takes on or off"),
        ("nodes 5", "5 nodes a move"), ("nodes 1", "1 node a move"), ("eval off", "hidden"),
        ("help", "make a move"), ("[red]", "[red] is no legal move"),
    ],
)  # fmt: skip
def test_every_command_answers(typed: str, said: str) -> None:
    assert said in session(typed + "\n")


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_nothing_is_wider_than_the_terminal(colour: bool, ascii_only: bool) -> None:
    seen = session("e4\ntop\nhelp\nflip\n", colour=colour, ascii_only=ascii_only)
    if not colour:
        assert max(map(len, seen.splitlines())) <= 80
        assert "\x1b" not in seen
    else:
        assert "\x1b[" in seen


def test_the_board_is_drawn_from_either_side_and_marks_the_last_move() -> None:
    board = chess.Board()
    board.push_uci("e2e4")
    view = board_view(board, white_below=True, ascii_only=True, colour=False).plain.splitlines()
    assert view[0] == " 8  r  n  b  q  k  b  n  r "
    assert view[4] == " 4  .  .  .  . [P] .  .  . "
    assert view[6] == " 2  P  P  P  P [.] P  P  P "
    turned = board_view(board, white_below=False, ascii_only=True, colour=False).plain.splitlines()
    assert turned[0] == " 1  R  N  B  K  Q  B  N  R "
    assert turned[8].split() == list("hgfedcba")


def test_only_the_last_moves_are_listed() -> None:
    board = chess.Board()
    for uci in ("e2e4", "e7e5", "g1f3", "b8c6"):
        board.push_uci(uci)
    assert moves_view(board) == "1. e4 e5 2. Nf3 Nc6"
    assert moves_view(board, 1) == "… 2...Nc6"


def test_scores_are_told_as_a_person_reads_them() -> None:
    assert score_view(0.5, None) == "50% (+0.00)"
    assert score_view(1.0, 3) == "mates in 3"
    assert score_view(0.0, -1) == "is mated in 1"

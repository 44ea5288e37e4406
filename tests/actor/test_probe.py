import chess
import pytest

from actor.engine_commands import Line, line_commands
from actor.probe import IllegalReplyError, Probe, line_of
from common.moves import to_uci
from common.probes import NO_REPLY
from common.scores import CHECKMATED, MATE
from common.settings import Side


def board_after(*moves: str, fen: str = chess.STARTING_FEN) -> chess.Board:
    board = chess.Board(fen)
    for move in moves:
        board.push_uci(move)
    return board


def probe_of(board: chess.Board, move: str) -> Probe:
    return Probe(board, chess.Move.from_uci(move), game=7, ply=4, version=2)


def fen_of(probe: Probe, side: Side, fullmove: int, *, after: bool) -> str:
    return (probe.after_position if after else probe.next_position).to_fen(0, side, fullmove)


def test_a_probe_asks_for_the_position_after_its_move_and_then_after_the_reply():
    board = board_after("e2e4", "e7e5")
    probe = probe_of(board.copy(), "g1f3")
    after = board_after("e2e4", "e7e5", "g1f3")
    assert probe.line == Line(after.fen())
    probe.answer(-31, "b8c6")
    following = board_after("e2e4", "e7e5", "g1f3", "b8c6")
    assert probe.line == Line(following.fen())
    probe.answer(28, "f1b5")
    assert probe.line is None
    assert (probe.after_score, probe.score, probe.ended) == (31, 28, False)
    assert (to_uci(probe.action, Side.WHITE), to_uci(probe.reply, Side.BLACK)) == ("g1f3", "b8c6")
    assert fen_of(probe, Side.BLACK, 2, after=True) == after.fen()
    assert fen_of(probe, Side.WHITE, 3, after=False) == following.fen()


@pytest.mark.parametrize(
    ("fen", "move", "score"),
    [
        ("6k1/5ppp/8/8/8/8/8/R6K w - - 0 1", "a1a8", MATE),
        ("7k/8/8/6Q1/8/8/8/K7 w - - 0 1", "g5g6", 0),
        ("7k/8/8/8/8/8/6p1/K5B1 w - - 99 80", "a1b2", None),
        ("7k/8/8/8/8/8/6p1/7K w - - 0 1", "h1g2", 0),
        ("7k/8/8/8/8/8/1R6/K7 w - - 149 180", "b2b3", 0),
    ],
    ids=["checkmate", "stalemate", "goes on", "too little material", "seventy-five moves"],
)
def test_a_move_that_ends_the_game_is_scored_by_the_rules(fen: str, move: str, score: int | None):
    probe = probe_of(chess.Board(fen), move)
    assert probe.ended == (score is not None)
    assert (probe.score, probe.after_score) == (score, score)
    assert (probe.line is None) == probe.ended
    if probe.ended:
        assert probe.reply == NO_REPLY
        assert not probe.next_position.boards.any()


def test_a_reply_that_mates_is_scored_by_the_rules():
    probe = probe_of(board_after("f2f3", "e7e5"), "g2g4")
    probe.answer(31999, "d8h4")
    assert (probe.after_score, probe.score, probe.ended, probe.line) == (-31999, CHECKMATED, True, None)
    assert to_uci(probe.reply, Side.BLACK) == "d8h4"


@pytest.mark.parametrize("reply", ["", "(none)", "e2e4", "a1a1", "0000", "e7e5e5", "é"])
def test_a_reply_that_is_no_legal_move_is_refused(reply: str):
    probe = probe_of(chess.Board(), "e2e4")
    with pytest.raises(IllegalReplyError):
        probe.answer(1, reply)


def test_a_line_names_the_square_behind_every_double_step_as_the_lines_of_games_do():
    assert line_of(board_after("e2e4")).fen.split()[3] == "e3"


SHUFFLE = ("g1f3", "g8f6", "f3g1", "f6g8")


def test_history_goes_with_a_line_only_where_a_position_has_occurred_twice():
    once = board_after("e2e4", "e7e5", *SHUFFLE[:3])
    assert line_of(once) == Line(once.fen())
    twice = board_after("e2e4", "e7e5", *SHUFFLE)
    assert line_of(twice) == Line(board_after("e2e4", "e7e5").fen(en_passant="fen"), SHUFFLE)
    later = board_after("e2e4", "e7e5", *SHUFFLE, "b1c3")
    assert line_of(later).moves == (*SHUFFLE, "b1c3")
    after_a_pawn = board_after("e2e4", "e7e5", *SHUFFLE, "a2a3")
    assert line_of(after_a_pawn).moves == ()
    assert once.fen() == board_after("e2e4", "e7e5", *SHUFFLE[:3]).fen()  # left as they were


def test_the_first_of_some_lines_clears_the_hash_and_moves_wait_for_the_search_before():
    lines = [Line("8/8/8/8/8/8/8/8 w - - 0 1"), Line("x", ("e2e4", "e7e5")), Line("y")]
    assert line_commands(lines, 50, b"wait\n") == [
        b"ucinewgame\nposition fen 8/8/8/8/8/8/8/8 w - - 0 1\ngo nodes 50\n",
        b"wait\nposition fen x moves e2e4 e7e5\ngo nodes 50\n",
        b"position fen y\ngo nodes 50\n",
    ]
    assert line_commands([], 50) == []

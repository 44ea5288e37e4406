import chess
import pytest

from arena.adjudication import Adjudication, Ending, Termination, ending_by_rules, forfeit
from arena.movers import NO_MOVE
from common.errors import SettingsError

NORMAL, EARLY = Termination.NORMAL, Termination.ADJUDICATION
RESIGN = Adjudication(resign_cp=500, resign_moves=2)
DRAW = Adjudication(draw_cp=10, draw_moves=2, draw_after=0)


def board_after(plies: int) -> chess.Board:
    """A board with so many moves on it; whose turn it is follows."""
    board = chess.Board()
    for number in range(plies):
        board.push_uci(("g1f3", "g8f6", "f3g1", "f6g8")[number % 4])
    return board


@pytest.mark.parametrize(
    ("fen", "ending"),
    [
        ("7k/6Q1/6K1/8/8/8/8/8 b - - 0 1", Ending("1-0", NORMAL, "checkmate")),
        ("7K/6q1/6k1/8/8/8/8/8 w - - 0 1", Ending("0-1", NORMAL, "checkmate")),
        ("7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", Ending("1/2-1/2", NORMAL, "stalemate")),
        ("7k/8/8/8/8/8/8/KN6 b - - 0 1", Ending("1/2-1/2", NORMAL, "insufficient material")),
        ("7k/8/8/8/8/8/8/KR6 b - - 100 90", Ending("1/2-1/2", NORMAL, "fifty-move rule")),
        ("7k/6Q1/6K1/8/8/8/8/8 b - - 100 90", Ending("1-0", NORMAL, "checkmate")),
        ("7k/8/8/8/8/8/8/KR6 b - - 99 90", None),
    ],
)
def test_the_rules_end_a_game(fen: str, ending: Ending | None) -> None:
    assert ending_by_rules(chess.Board(fen)) == ending


def test_the_third_repetition_ends_a_game_at_once() -> None:
    assert ending_by_rules(board_after(7)) is None
    assert ending_by_rules(board_after(8)) == Ending("1/2-1/2", NORMAL, "threefold repetition")


def test_nothing_is_adjudicated_unless_asked_for() -> None:
    assert Adjudication().ending(board_after(400), [-9999, 9999] * 200) is None


@pytest.mark.parametrize(
    ("scores", "result"),
    [
        ([600, -600, 600, -600], "1-0"),  # Black moved last
        ([-600, 600, -600], None),  # one move of White's is too few where two of Black's come between
        ([0, -600, 600, -600], None),
        ([600, -400, 600, -600], None),
        ([None, -600, None, -600], "1-0"),  # an opponent without scores has no say
        ([600, None, 600, None], None),  # the loser's own score is needed
        ([0, 700, -700, 700, -700], "0-1"),
        ([0, 700, -700, 400, -700], None),  # the winner doesn't agree
    ],
)
def test_a_player_that_knows_itself_lost_resigns_if_the_other_agrees(
    scores: list[int | None], result: str | None
) -> None:
    ending = RESIGN.ending(board_after(len(scores)), scores)
    assert ending == (Ending(result, EARLY, "the loser's own score") if result else None)


@pytest.mark.parametrize(
    ("scores", "drawn"),
    [([5, -5, 0, 10], True), ([5, -5, 0, 11], False), ([50, 5, -5, 0, 10], True), ([5, None, 0, None], False)],
)
def test_level_scores_of_both_are_a_draw(scores: list[int | None], drawn: bool) -> None:
    ending = DRAW.ending(board_after(len(scores)), scores)
    assert ending == (Ending("1/2-1/2", EARLY, "both scores level") if drawn else None)


def test_no_draw_is_adjudicated_early_in_a_game() -> None:
    late = Adjudication(draw_cp=10, draw_moves=2, draw_after=5)
    assert late.ending(board_after(9), [0] * 9) is None
    assert late.ending(board_after(10), [0] * 10) is not None


def test_a_game_of_the_greatest_length_is_a_draw() -> None:
    short = Adjudication(max_moves=3)
    assert short.ending(board_after(5), [None] * 5) is None
    assert short.ending(board_after(6), [None] * 6) == Ending("1/2-1/2", EARLY, "3 moves")


def test_a_move_that_is_not_legal_loses() -> None:
    board = chess.Board()
    wrong = forfeit(board, chess.Move.from_uci("e2e5"), "")
    assert wrong == Ending("0-1", Termination.RULES_INFRACTION, "illegal move e2e5")
    board.push_uci("e2e4")
    assert forfeit(board, NO_MOVE, "engine died") == Ending("1-0", Termination.ABANDONED, "engine died")


@pytest.mark.parametrize("wrong", [{"resign_cp": 0}, {"resign_moves": 0}, {"draw_cp": -1}, {"max_moves": 0}])
def test_what_can_not_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="adjudication"):
        Adjudication(**wrong)

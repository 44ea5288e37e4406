import pytest

from actor.engine_answers import LINE_BYTES_MAX, Answers
from common.errors import EngineDied

OUTPUT = (
    b"Stockfish 15.1 by the Stockfish developers (see AUTHORS file)\n"
    b"info string NNUE evaluation using nn-ad9b42354671.nnue enabled\n"
    b"info depth 1 seldepth 1 multipv 1 score cp 18 nodes 21 nps 21000 hashfull 0 tbhits 0 time 1 pv e2e4\n"
    b"info depth 2 seldepth 2 multipv 1 score cp -46 lowerbound nodes 67 nps 67000 time 1 pv d2d4\n"
    b"info depth 2 currmove e2e4 currmovenumber 1\n"
    b"bestmove e2e4 ponder e7e5\n"
    b"\nNodes searched: 0\n\n"
    b"info depth 9 score mate -3 nodes 5 pv a1a2\r\n"
    b"info string a score cp 7 that is none\r\n"
    b"bestmove a1a2\r\n"
    b"info depth 0 score mate 0\n"
    b"bestmove (none)\n"
)


def test_the_last_score_before_a_best_move_counts() -> None:
    answers = Answers()
    assert answers.feed(OUTPUT) == [(-46, "e2e4"), (-31997, "a1a2"), (-32000, "(none)")]
    assert answers.nodes == 72


@pytest.mark.parametrize("size", [1, 2, 7, 64, 333])
def test_answers_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    answers = Answers()
    found = []
    for start in range(0, len(OUTPUT), size):
        found += answers.feed(OUTPUT[start : start + size])
    assert found == [(-46, "e2e4"), (-31997, "a1a2"), (-32000, "(none)")]


def test_a_best_move_as_the_first_output_is_an_answer_without_a_score() -> None:
    with pytest.raises(EngineDied, match="without a score"):
        Answers().feed(b"bestmove e2e4\n")


def test_a_score_does_not_count_for_the_next_best_move() -> None:
    with pytest.raises(EngineDied, match="without a score"):
        Answers().feed(b"info score cp 1\nbestmove a1a2\nbestmove a1a2\n")


@pytest.mark.parametrize("score", ["cp 1000001", "cp -99999999", "mate 20000", "mate -12000"])
def test_a_score_beyond_belief_is_refused(score: str) -> None:
    with pytest.raises(EngineDied, match="beyond belief"):
        Answers().feed(f"info depth 1 score {score} nodes 1\nbestmove a1a2\n".encode())


def test_an_answer_waits_for_the_end_of_its_move() -> None:
    answers = Answers()
    assert answers.feed(b"info score cp 1\nbestmove a7a8") == []
    assert answers.feed(b"q\ninfo score cp 2\nbestmove\n") == [(1, "a7a8q"), (2, "")]


def test_large_scores_are_clipped() -> None:
    assert Answers().feed(b"info score cp 31000\nbestmove a1a2\n") == [(20000, "a1a2")]


def test_a_line_without_end_is_refused() -> None:
    answers = Answers()
    answers.feed(b"info string " + b"x" * (LINE_BYTES_MAX - 100))
    with pytest.raises(EngineDied, match="a line of more than"):
        answers.feed(b"x" * 100)


def test_lines_without_a_best_move_take_no_memory() -> None:
    answers = Answers()
    for _ in range(100):
        answers.feed(b"info depth 1 score cp 5 nodes 3\n" * 1000)
    assert len(answers._unfinished) < 100
    assert answers.feed(b"bestmove a1a2\n") == [(5, "a1a2")]

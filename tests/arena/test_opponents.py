import sys
from pathlib import Path

import chess
import chess.engine
import psutil
import pytest

from arena.movers import NO_MOVE
from arena.opponents import UciMover
from common.errors import EngineDied, EngineNotUsable

BAD = f"{sys.executable} {Path(__file__).parent / 'bad_engine.py'}"
NODES = chess.engine.Limit(nodes=200)
BOARDS = [
    chess.Board(),
    chess.Board("6k1/5ppp/8/8/8/8/8/R3K3 w - - 0 1"),
    chess.Board("7k/8/8/8/8/8/8/KR6 b - - 0 1"),
]


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_an_engine_answers_all_boards_with_moves_and_scores_and_ends_with_its_mover(stockfish: str) -> None:
    before = children()
    with UciMover(stockfish, limit=NODES, processes=2) as mover:
        assert len(children() - before) == 2 - 1  # the second starts when it is needed
        choices = mover.explain(BOARDS)
        assert len(children() - before) == 2
    assert children() == before
    assert mover.name.startswith("Stockfish")
    assert choices[1].move == chess.Move.from_uci("a1a8")
    assert choices[1].score_cp == 9_999
    assert all(board.is_legal(choice.move) for board, choice in zip(BOARDS, choices, strict=True))


def test_a_board_gets_the_same_answer_whoever_asked_before(stockfish: str) -> None:
    boards = [chess.Board(), chess.Board("r1bqkbnr/pppp1ppp/2n5/4p3/4P3/5N2/PPPP1PPP/RNBQKB1R w KQkq - 2 3")] * 4
    with UciMover(stockfish, limit=NODES, processes=2) as mover:
        assert mover.explain(boards) == list(reversed(mover.explain(boards[::-1])))
        assert len(set(mover.choose(boards[::2]))) == 1


@pytest.mark.parametrize(
    ("how", "reason"),
    [("illegal", "illegal answer"), ("garbage", "illegal answer"), ("crash", "engine died"), ("none", "no move"),
     ("hang", "no move in time")],
)  # fmt: skip
def test_what_no_engine_should_do_costs_one_move_and_the_engine_is_started_again(how: str, reason: str) -> None:
    before = children()
    with UciMover(f"{BAD} {how} 2", limit=NODES, processes=1, timeout_s=0.5) as mover:
        choices = mover.explain([chess.Board()] * 4)
        assert [choice.move == NO_MOVE for choice in choices] == [False, True, False, True]
        assert choices[1].failure.startswith(reason)
        assert mover.restarts == 1
    assert children() == before


@pytest.mark.parametrize(
    ("command", "options", "reason"),
    [
        ("/no/such/engine", {}, "No such file or directory"),
        ("/bin/true", {}, "doesn't speak UCI"),
        ("'", {}, "No closing quotation"),
        (f"{BAD} none", {"Sugar": 1}, "no option 'Sugar'"),
    ],
)
def test_an_engine_that_cannot_be_used_is_one_clear_line(
    command: str, options: dict[str, int], reason: str
) -> None:
    before = children()
    with pytest.raises(EngineNotUsable, match=reason) as caught:
        UciMover(command, limit=NODES, options=options)
    assert "\n" not in str(caught.value)
    assert children() == before


def test_options_go_by_any_spelling_and_their_limits_hold(stockfish: str) -> None:
    with UciMover(stockfish, limit=NODES, options={"skill level": 0, "HASH": "1"}, processes=1):
        pass
    with pytest.raises(EngineNotUsable, match="Skill Level"):
        UciMover(stockfish, limit=NODES, options={"skill level": 99})


def test_an_engine_that_cannot_be_started_again_ends_the_match(tmp_path: Path) -> None:
    script = tmp_path / "engine"
    script.write_text(f"#!/bin/sh\nexec {BAD} crash\n")
    script.chmod(0o755)
    with UciMover(str(script), limit=NODES, processes=1) as mover:
        script.unlink()
        with pytest.raises(EngineDied, match="can't be started again"):
            mover.explain([chess.Board()] * 5)

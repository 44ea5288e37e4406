from pathlib import Path
from types import ModuleType

import chess
import chess.engine
import pytest
import zstandard

from arena.openings import BUNDLED, load_openings
from common.errors import SourceError
from tests.samples.scripts import script_called

EPD = """\
# two of them
rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - hmvc 0; fmvn 2; id "one";
rnbqkbnr/pppppppp/8/8/3P4/8/PPP1PPPP/RNBQKBNR b KQkq d3 0 1
"""
PGN = """\
[Event "a"]

1. e4 { comment } (1. d4) e5 2. Nf3 *

[Event "b"]
[FEN "7k/8/8/8/8/8/P7/K7 w - - 0 1"]
[SetUp "1"]

*
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_called("make_openings")


def test_the_bundled_openings_are_500_positions_after_eight_plies_no_two_alike() -> None:
    openings = load_openings()
    boards = [opening.board() for opening in openings]
    assert len({board.epd() for board in boards}) == 500
    assert {board.ply() for board in boards} == {8}
    assert not any(board.is_game_over() for board in boards)
    assert BUNDLED.stat().st_size < 60_000


def test_the_script_made_the_bundled_openings_and_finds_them_balanced(script: ModuleType, stockfish: str) -> None:
    candidates = script.candidates(1, 8)
    tried = {board.epd(): board for _, board in zip(range(20), candidates, strict=False)}
    bundled = [opening.board().epd() for opening in load_openings()]
    among = [epd for epd in tried if epd in bundled]
    assert among == bundled[: len(among)]
    assert len(among) > 3
    with chess.engine.SimpleEngine.popen_uci(stockfish) as engine:
        assert abs(script.evaluate(engine, tried[among[0]], 50_000)) <= 100  # other builds may differ a little
        assert script.record(tried[among[0]], 1, 20).startswith('[Event "Opening 1"]')


@pytest.mark.parametrize("compressed", [False, True])
def test_epd_and_fen_lines_are_read(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / ("some.epd.zst" if compressed else "some.epd")
    path.write_bytes(zstandard.compress(EPD.encode()) if compressed else EPD.encode())
    one, two = load_openings(path)
    assert (one.board().turn, two.board().turn) == (chess.WHITE, chess.BLACK)
    assert one.moves == ()


def test_games_of_a_pgn_file_are_openings_by_their_main_line(tmp_path: Path) -> None:
    path = tmp_path / "some.pgn"
    path.write_text(PGN)
    one, two = load_openings(path)
    assert [move.uci() for move in one.moves] == ["e2e4", "e7e5", "g1f3"]
    assert two.board().fen() == "7k/8/8/8/8/8/P7/K7 w - - 0 1"
    assert one.board() is not one.board()


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.epd", "", "no openings"),
        ("a.pgn", "", "no openings"),
        ("a.epd", "8/8/8/8/8/8/8/8 w - - 0 1\n", "a.epd:1: no opening: no position that can be"),
        ("a.epd", "# x\nhello\n", "a.epd:2"),
        ("a.epd", "7k/5Q2/6K1/8/8/8/8/8 b - - 0 1\n", "without a legal move"),
        ("a.pgn", "1. e4 e5 2. Ke3 *\n", "game 1 is no opening: illegal"),
        ("a.pgn", '[FEN "what"]\n\n*\n', "game 1"),
        ("a.pgn", "1. f3 e5 2. g4 Qh4# *\n", "without a legal move"),
    ],
)
def test_what_is_no_opening_is_one_line_that_names_the_place(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=reason) as caught:
        load_openings(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        load_openings(tmp_path / "none.pgn")

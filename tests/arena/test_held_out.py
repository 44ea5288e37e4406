"""Held-out positions: what is drawn of games, and what is left out."""

from pathlib import Path

import chess
import pytest

from arena.held_out import PLY_BANDS, band_of, read_positions
from common.errors import SourceError

GAME = """[Event "?"]
[White "A"]
[Black "B"]
[WhiteElo "2000"]
[BlackElo "-"]
[Result "0-1"]

1. f3 e5 2. g4 Qh4# 0-1
"""


def read(tmp_path: Path, text: str, count: int = 100):
    path = tmp_path / "g.pgn"
    path.write_text(text)
    return read_positions(path, count=count)


def test_a_position_knows_its_move_its_player_and_what_became_of_it(tmp_path: Path) -> None:
    positions, games, bad = read(tmp_path, GAME)
    assert (len(positions), games, bad.count) == (4, 1, 0)
    first, second, *_ = sorted(positions, key=lambda position: position.ply)
    assert (first.played.uci(), first.rating, first.result) == ("f2f3", 2000, 0.0)
    assert (second.played.uci(), second.rating, second.result) == ("e7e5", None, 1.0)
    assert second.board.move_stack == [chess.Move.from_uci("f2f3")]


def test_a_sample_is_spread_over_games_and_drawn_by_its_seed(shared_data: Path) -> None:
    path = shared_data / "games" / "online-clk.pgn.zst"
    one, games, _ = read_positions(path, count=80, seed=5)
    same, _, _ = read_positions(path, count=80, seed=5)
    other, _, _ = read_positions(path, count=80, seed=6)
    assert len(one) == 80
    assert games == 10
    assert [position.board.fen() for position in one] == [position.board.fen() for position in same]
    assert [position.board.fen() for position in one] != [position.board.fen() for position in other]


def test_a_game_without_result_has_none(tmp_path: Path) -> None:
    positions, _, _ = read(tmp_path, GAME.replace("0-1", "*"))
    assert {position.result for position in positions} == {None}


def test_games_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    text = "\n".join(
        (
            GAME,
            GAME.replace("Qh4#", "Qh8"),
            GAME.replace('[Event "?"]', '[Variant "Atomic"]'),
            GAME.replace("1. f3 e5 2. g4 Qh4# 0-1", "0-1"),
            GAME.replace("e5", "--"),
        )
    )
    positions, games, bad = read(tmp_path, text)
    assert (len(positions), games, bad.count) == (4, 1, 4)


@pytest.mark.parametrize("content", ["", "FEN,Moves,Rating\n", "\x00\x01\x02", '[Event "x"]\n\n*\n'])
def test_a_file_without_games_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(SourceError, match="g.pgn"):
        read(tmp_path, content)


def test_comments_that_look_like_headers_begin_no_game(tmp_path: Path) -> None:
    text = GAME.replace("2. g4", "{[%clk\n0:01:00] and\n[%eval 0.3]} 2. g4")
    positions, games, bad = read(tmp_path, text + "\n" + GAME)
    assert (len(positions), games, bad.count) == (8, 2, 0)


def test_bands_begin_where_they_say() -> None:
    assert [band_of(ply, PLY_BANDS) for ply in (0, 9, 10, 79, 80, 500, None)] == [0, 0, 10, 60, 80, 80, None]

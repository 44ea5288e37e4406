import io
from types import ModuleType

import chess.engine
import chess.pgn
import pytest
import zstandard

from tests.samples.scripts import SAMPLES, script_called


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return script_called("make_sample")


def test_the_same_seed_and_number_give_the_same_game_whatever_was_played_before(
    script: ModuleType, stockfish: str
) -> None:
    with chess.engine.SimpleEngine.popen_uci(stockfish) as engine:
        engine.configure({"Threads": 1, "Hash": 16})
        games = {number: str(script.play(engine, 1, number)) for number in (8, 7)}
        assert str(script.play(engine, 1, 8)) == games[8]
        assert str(script.play(engine, 2, 8)) != games[8]


def test_every_opening_can_be_played(script: ModuleType) -> None:
    for opening in script.OPENINGS:
        board = chess.Board()
        for san in opening.moves.split():
            board.push_san(san)
    assert len({opening.moves for opening in script.OPENINGS}) == len(script.OPENINGS)


def test_the_bundled_games_are_whole_varied_and_small() -> None:
    path = SAMPLES / "games.pgn.zst"
    assert path.stat().st_size < 200_000
    handle = io.StringIO(zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().decode("ascii"))
    results, moves = [], set()
    while (game := chess.pgn.read_game(handle)) is not None:
        assert not game.errors
        assert game.end().ply() == int(game.headers["PlyCount"])
        outcome = game.end().board().outcome(claim_draw=True)
        assert game.headers["Result"] == (outcome.result() if outcome else "*")
        results.append(game.headers["Result"])
        moves.add(str(game.mainline_moves()))
    assert (len(results), len(moves)) == (300, 300)
    assert set(results) == {"1-0", "0-1", "1/2-1/2", "*"}

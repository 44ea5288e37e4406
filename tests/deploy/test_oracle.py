"""What is exported equals, value for value, what python-chess and one unpipelined engine make of the games."""

import io
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import chess
import chess.engine
import chess.pgn
import numpy as np
import pandas as pd
import pytest
import zstandard

from tests.conftest import SHARED_DATA
from tests.deploy.reference import BOTH, WHITE_AND_BLACK
from tests.deploy.runs import SAMPLE, Run, Started

pytestmark = pytest.mark.slow

NODES = 60
COLOURS = {"white": (chess.WHITE,), "black": (chess.BLACK,), "both": (chess.WHITE, chess.BLACK)}
GAMES_PER_UNIT = 4
REAL_GAMES = 12
SAMPLE_GAMES = 8

CRAFTED = """[Event "mate by black, white moves twice"]
[Result "0-1"]

1. f3 e5 2. g4 Qh4# 0-1

[Event "mate by white"]
[Result "1-0"]

1. e4 e5 2. Bc4 Nc6 3. Qh5 Nf6 4. Qxf7# 1-0

[Event "stalemate"]
[Result "1/2-1/2"]

1. e3 a5 2. Qh5 Ra6 3. Qxa5 h5 4. h4 Rah6 5. Qxc7 f6 6. Qxd7+ Kf7 7. Qxb7 Qd3 8. Qxb8 Qh7 9. Qxc8 Kg6 10. Qe6
1/2-1/2

[Event "stopped after a move of white's"]
[Result "*"]

1. e4 e5 2. Nf3 Nc6 3. Bb5 *

[Event "stopped after a move of black's"]
[Result "*"]

1. d4 d5 2. c4 e6 *

[Event "no result, though it is mate"]
[Result "*"]

1. f3 e5 2. g4 Qh4# *

[Event "no result, though it is stalemate"]
[SetUp "1"]
[FEN "7k/8/8/6Q1/8/8/8/K7 b - - 3 77"]
[Result "*"]

77... Kh7 78. Qg4 Kh8 79. Qg6 *

[Event "black to move first, en passant, promotions"]
[SetUp "1"]
[FEN "4k3/2p5/8/1P6/8/8/p6P/4K3 b - - 0 40"]
[Result "0-1"]

40... c5 41. bxc6 a1=Q+ 42. Kf2 Qd4+ 43. Kg2 Qc4 44. c7 Qxc7 45. h4 Qd6 46. h5 Kf7 47. h6 Kg8 48. h7+ Kxh7 0-1

[Event "one move, of black's, so white never moves"]
[SetUp "1"]
[FEN "6k1/5ppp/8/8/8/1r6/r4PPP/6K1 b - - 0 30"]
[Result "1-0"]

30... h6 1-0

[Event "repetitions, castling both ways"]
[Result "1/2-1/2"]

1. Nf3 Nf6 2. Ng1 Ng8 3. Nf3 Nf6 4. Ng1 Ng8 5. Nf3 Nf6 6. g3 d5 7. Bg2 Nc6 8. O-O Bf5 9. d3 Qd7 10. Re1 O-O-O
11. Kh1 Kb8 12. Kg1 Ka8 13. Kh1 Kb8 14. Kg1 Ka8 15. Kh1 1/2-1/2
"""


def first_games(path: Path, count: int) -> str:
    with path.open("rb") as file:
        text = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="latin-1").read(200_000)
    return "\n[Event ".join(text.split("\n[Event ")[:count]) + "\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crafted games, some of the sample, and real ones where there are any."""
    path = tmp_path_factory.mktemp("games") / "games.pgn"
    text = CRAFTED + "\n" + first_games(SAMPLE, SAMPLE_GAMES)
    real = SHARED_DATA / "games" / "games-a.pgn.zst"
    if real.exists():
        text += "\n" + first_games(real, REAL_GAMES)
    path.write_text(text, encoding="latin-1")
    return path


@pytest.fixture(scope="module")
def games(source: Path) -> list[chess.pgn.Game]:
    stream = io.StringIO(source.read_text(encoding="latin-1"))
    found = list(iter(lambda: chess.pgn.read_game(stream), None))
    assert all(not game.errors for game in found)
    return found


@pytest.fixture(scope="module")
def scores(games: Sequence[chess.pgn.Game], stockfish: str) -> list[list[chess.engine.PovScore]]:
    """The engine's word on each position of each game, asked one after the other."""
    with chess.engine.SimpleEngine.popen_uci(stockfish) as engine:
        engine.configure({"Threads": 1, "Hash": 16})
        return [
            [score_of(engine, node.board(), number) for node in (game, *game.mainline())]
            for number, game in enumerate(games)
        ]


def score_of(engine: chess.engine.SimpleEngine, board: chess.Board, game: int) -> chess.engine.PovScore:
    if board.is_checkmate():
        return chess.engine.PovScore(chess.engine.Mate(0), board.turn)
    if board.is_stalemate():
        return chess.engine.PovScore(chess.engine.Cp(0), board.turn)
    return engine.analyse(board, chess.engine.Limit(nodes=NODES), game=game)["score"]


def expected_score(score: chess.engine.Score) -> float:
    """The formula as the design has it; mates beyond every centipawn score, the nearer the further."""
    mate = score.mate()
    if mate is None:
        centipawns = max(-2000, min(2000, score.score() or 0))
        return 1.0 / (1.0 + math.exp(-0.00368208 * centipawns))
    if mate == 0 and score != chess.engine.MateGiven:
        return 0.0
    if mate < 0:
        return 1.0 - expected_score(chess.engine.Mate(-mate))
    best = 1.0 / (1.0 + math.exp(-0.00368208 * 2000))
    return 1.0 - (1.0 - best) * mate / (mate + 10)


Row = dict[str, Any]


def rows_of(
    games: Sequence[chess.pgn.Game],
    scores: Sequence[Sequence[chess.engine.PovScore]],
    colours: Sequence[chess.Color],
) -> Iterator[Row]:
    """Yield the transitions of the agent that plays `colours`, rewards and expected scores in float64."""
    results = {"1-0": 1.0, "1/2-1/2": 0.5, "0-1": 0.0}
    runs = [(run, colour) for run in enumerate(zip(games, scores, strict=True)) for colour in colours]
    for (number, (game, given)), side in runs:
        nodes = [game, *game.mainline()]
        worth = [expected_score(score.pov(side)) for score in given]
        white = results.get(game.headers["Result"])
        outcome = None if white is None else white if side == chess.WHITE else 1.0 - white
        decisions = [ply for ply, node in enumerate(nodes[:-1]) if node.turn() == side]
        for ply, following in itertools.zip_longest(decisions, decisions[1:]):
            last = following is None
            end = outcome if outcome is not None else worth[-1]
            yield {
                "game": number,
                "ply": ply,
                "fen": nodes[ply].board().fen(),
                "move": nodes[ply + 1].uci(),
                "reward": (end if following is None else worth[following]) - worth[ply],
                "terminated": last and outcome is not None,
                "truncated": last and outcome is None,
                "next_fen": None if following is None else nodes[following].board().fen(),
                "next_move": None if following is None else nodes[following + 1].uci(),
                "expected_score": worth[ply],
                "unit": number // GAMES_PER_UNIT,
                "outcome": end,
            }


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: pytest.TempPathFactory, stockfish: str) -> Path:
    """The directory of a run on those games."""
    directory = tmp_path_factory.mktemp("oracle") / "run"
    settings = directory.with_suffix(".toml")
    settings.write_text(WHITE_AND_BLACK + BOTH)
    flags = (
        "--settings",
        str(settings),
        "--sequential",
        "--nodes",
        str(NODES),
        "--games-per-unit",
        str(GAMES_PER_UNIT),
        "--network",
        "table",
    )
    with Run(directory, *flags, "--engine", stockfish, games=[source]) as run:
        ended = run.end()
    assert (ended.code, ended.err) == (0, "")
    return directory


@pytest.mark.parametrize("agent", COLOURS)
def test_exported_rows_are_those_of_the_oracle(
    agent: str,
    run: Path,
    games: Sequence[chess.pgn.Game],
    scores: Sequence[Sequence[chess.engine.PovScore]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.parquet"
    with Started(["rookery", "export", str(run), "--agent", agent, "--to", str(path)]) as command:
        ended = command.end()
    assert (ended.code, ended.err) == (0, "")
    table = pd.read_parquet(path)
    rows = list(rows_of(games, scores, COLOURS[agent]))
    oracle = pd.DataFrame(rows)

    assert list(table.columns) == [name for name in oracle.columns if name != "outcome"]
    assert len(table) == len(oracle) > 0
    for name in ("game", "ply", "fen", "move", "terminated", "truncated", "unit"):
        assert table[name].tolist() == oracle[name].tolist(), name
    for name in ("next_fen", "next_move"):
        exported = table[name].astype(object).where(table[name].notna(), None)
        assert exported.tolist() == [row[name] for row in rows], name
    for name in ("reward", "expected_score"):
        assert table[name].dtype == np.float32
        assert table[name].tolist() == oracle[name].astype(np.float32).tolist(), name

    # z - w(s0), with the expected score of the final position where there is no result.
    white = [" w " in row["fen"] for row in rows]
    of_games, ends = table.groupby(["game", white]), oracle.groupby(["game", white])
    assert of_games.size().max() > 40
    sums = of_games["reward"].sum()
    exact = ends["outcome"].first() - ends["expected_score"].first()
    rounding = of_games.size() * np.finfo(np.float32).eps
    assert ((sums - exact).abs() <= rounding).all()


def test_the_games_have_what_makes_rows_differ(
    games: Sequence[chess.pgn.Game], scores: Sequence[Sequence[chess.engine.PovScore]]
) -> None:
    ends = [game.end().board() for game in games]
    assert any(end.is_checkmate() and end.turn == chess.WHITE for end in ends)
    assert any(end.is_checkmate() and end.turn == chess.BLACK for end in ends)
    assert any(end.is_stalemate() for end in ends)
    assert {game.headers["Result"] for game in games} == {"1-0", "0-1", "1/2-1/2", "*"}
    assert any(game.turn() == chess.BLACK for game in games)
    assert any(score.is_mate() for given in scores for score in given[:-1])

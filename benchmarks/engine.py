"""Positions a second of the pipelined engine, against the bare engine and python-chess, side by side.

`python -m benchmarks.engine GAMES.pgn.zst [--games N] [--rounds N]`: each round runs the three one after
another on the same games; the table gives medians and the ratios of each round.
"""

import argparse
import io
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import chess
import chess.engine
import chess.pgn
import zstandard

from actor.engine import Engine
from actor.engine_commands import game_commands
from actor.engine_process import find_engine
from actor.games import Game, read_games
from common.messages import RawGame


def load(path: Path, count: int, skip: int = 0) -> list[Game]:
    """Read `count` games through the actor's reader."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        text = io.TextIOWrapper(stream, encoding="latin-1")
        for _ in range(skip):
            chess.pgn.skip_game(text)
        texts = [str(chess.pgn.read_game(text)) for _ in range(count)]
    raw = [
        RawGame(number=number, source=str(path), line=1, text=game.encode()) for number, game in enumerate(texts)
    ]
    return read_games(raw, comments=False)[0]


def asked(games: Sequence[Game]) -> int:
    """Return the number of positions that an engine is asked for."""
    return sum(len(game.positions) - (game.terminal_score is not None) for game in games)


def ours(path: str, games: Sequence[Game], nodes: int) -> tuple[float, float]:
    """Return positions/s, and this process's CPU seconds for each position."""
    with Engine(path, nodes=nodes) as engine:
        began, cpu = time.perf_counter(), time.process_time()
        waiting = list(games)[::-1]
        left = len(waiting)
        while left:
            while waiting and engine.hungry:
                engine.submit(waiting.pop())
            left -= len(engine.poll(1.0))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        stats = engine.stats()
    assert stats.positions == asked(games)
    return stats.positions / took, cpu / stats.positions


def bare(path: str, games: Sequence[Game], nodes: int) -> float:
    """Return positions/s of the engine fed the same commands through a shell pipe, into a file.

    The time of a bare start, the best of three, is taken off; the end of the input cuts the last search short.
    """
    with tempfile.TemporaryDirectory() as directory:
        commands, output = Path(directory, "commands"), Path(directory, "output")
        lines = [b"setoption name Threads value 1\nsetoption name Hash value 16\n"]
        for game in games:
            lines += game_commands(game, nodes)
        commands.write_bytes(b"".join(lines))
        began = time.perf_counter()
        subprocess.run(["sh", "-c", f"cat {commands} | {path} > {output}"], check=True)
        took = time.perf_counter() - began
        starts = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run(["sh", "-c", f"echo quit | {path} > {output}.start"], check=True)
            starts.append(time.perf_counter() - began)
        took -= min(starts)
        assert output.read_bytes().count(b"\nbestmove") == asked(games)
    return asked(games) / took


def python_chess(path: str, games: Sequence[Game], nodes: int) -> float:
    """Return positions/s of one SimpleEngine kept open; making the boards isn't timed."""
    took = 0.0
    with chess.engine.SimpleEngine.popen_uci(path) as engine:
        for game in games:
            board = chess.Board(game.start_fen or chess.STARTING_FEN)
            boards = [board.copy()]
            for move in game.moves_uci:
                board.push_uci(move)
                boards.append(board.copy())
            if game.terminal_score is not None:
                boards.pop()
            key = object()
            began = time.perf_counter()
            for position in boards:
                engine.analyse(position, chess.engine.Limit(nodes=nodes), game=key)
            took += time.perf_counter() - began
    return asked(games) / took


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pgn", type=Path)
    parser.add_argument("--games", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", default="stockfish")
    arguments = parser.parse_args()
    path = find_engine(arguments.engine)
    games = load(arguments.pgn, arguments.games)
    for nodes in (100, 1000):
        rows = []
        for _ in range(arguments.rounds):
            mine, cpu = ours(path, games, nodes)
            rows.append((mine, bare(path, games, nodes), python_chess(path, games, nodes), cpu))
        middle = [statistics.median(column) for column in zip(*rows, strict=True)]
        to_bare = [row[0] / row[1] for row in rows]
        to_chess = [row[0] / row[2] for row in rows]
        print(
            f"{nodes:5d} nodes: ours {middle[0]:.0f}/s, bare {middle[1]:.0f}/s,"
            f" python-chess {middle[2]:.0f}/s;"
            f" of bare {statistics.median(to_bare):.3f} ({min(to_bare):.3f}-{max(to_bare):.3f}),"
            f" of python-chess {statistics.median(to_chess):.2f} ({min(to_chess):.2f}-{max(to_chess):.2f});"
            f" own CPU {middle[3] * 1e6:.1f} us a position"
        )


if __name__ == "__main__":
    main()

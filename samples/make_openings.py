"""Makes the bundled openings of matches: random legal plies that Stockfish finds balanced, no two alike.

The same seed, engine build and python-chess version give the same file, byte for byte.
"""

import argparse
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import chess
import chess.engine
import chess.pgn

MATE_CENTIPAWNS = 10_000


def main() -> None:
    """Draw openings until enough are balanced, and write them as PGN."""
    options = _options()
    engine_path = shutil.which(options.engine) or shutil.which(options.engine, path="/usr/games") or options.engine
    with chess.engine.SimpleEngine.popen_uci(engine_path) as engine:
        engine.configure({"Threads": 1, "Hash": 16})
        found: dict[str, str] = {}
        for board in candidates(options.seed, options.plies):
            score = evaluate(engine, board, options.nodes)
            if board.epd() not in found and abs(score) <= options.within:
                found[board.epd()] = record(board, len(found) + 1, score)
            if len(found) == options.count:
                break
    options.to.write_text("\n\n".join(found.values()) + "\n", encoding="ascii")
    print(f"{options.to}: {len(found)} openings, {options.to.stat().st_size} bytes")


def candidates(seed: int, plies: int) -> Iterator[chess.Board]:
    """Yield positions after `plies` random legal moves from which the game goes on, without end."""
    rng = random.Random(seed)
    while True:
        board = chess.Board()
        while board.ply() < plies and not board.is_game_over():
            board.push(rng.choice(sorted(board.legal_moves, key=chess.Move.uci)))
        if not board.is_game_over():
            yield board


def evaluate(engine: chess.engine.SimpleEngine, board: chess.Board, nodes: int) -> int:
    """Return the engine's score in centipawns from White's view, found from an empty hash."""
    info = engine.analyse(board, chess.engine.Limit(nodes=nodes), game=object())
    return info["score"].white().score(mate_score=MATE_CENTIPAWNS)


def record(board: chess.Board, number: int, score: int) -> str:
    """Return an opening as PGN with only the tags it needs, its score as a comment."""
    game = chess.pgn.Game.from_board(board)
    game.headers.clear()
    game.headers["Event"] = f"Opening {number}"
    game.headers["Result"] = "*"
    game.end().comment = f"{score / 100:+.2f}"
    return str(game)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--plies", type=int, default=8)
    parser.add_argument("--within", type=int, default=60, help="centipawns")
    parser.add_argument("--nodes", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", default="stockfish")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent.parent / "arena" / "openings.pgn")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Makes the bundled sample games: Stockfish against itself at mixed low skill from varied openings.

The same seed, engine build and package versions give the same file, byte for byte. Stockfish's own
`Skill Level` draws on a generator that is seeded by the clock, so the weakening is done here instead: the
engine gives its four best moves at a shallow fixed depth, and a seeded generator chooses among them by
Stockfish's own rule.
"""

import argparse
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import chess
import chess.engine
import chess.pgn
import zstandard

MAX_PLIES = 300
"""A game that is not over by then ends there without a result (`*`)."""
MAX_SKILL = 8
CANDIDATES = 4
MAX_NODES = 20_000
RANDOM_PLIES = 6
MATE_CENTIPAWNS = 10_000
PAWN_CENTIPAWNS = 100


class Opening(NamedTuple):
    """The first moves of a game; `eco` and `name` are empty for random ones."""

    eco: str
    name: str
    moves: str
    """SAN, parted by spaces."""


OPENINGS = (
    Opening("A04", "Reti Opening", "Nf3 c5 g3 Nc6 Bg2 g6 O-O Bg7"),
    Opening("A10", "English Opening", "c4 f5 Nc3 Nf6 g3 g6"),
    Opening("A20", "English Opening: King's English Variation", "c4 e5 g3 Nf6 Bg2 d5"),
    Opening("A30", "English Opening: Symmetrical Variation", "c4 c5 Nf3 Nf6 g3 b6"),
    Opening("A45", "Trompowsky Attack", "d4 Nf6 Bg5 Ne4 Bf4 c5"),
    Opening("A57", "Benko Gambit", "d4 Nf6 c4 c5 d5 b5"),
    Opening("A60", "Benoni Defense: Modern Variation", "d4 Nf6 c4 c5 d5 e6 Nc3 exd5 cxd5 d6"),
    Opening("A80", "Dutch Defense", "d4 f5 g3 Nf6 Bg2 e6"),
    Opening("B01", "Scandinavian Defense", "e4 d5 exd5 Qxd5 Nc3 Qa5 d4 Nf6"),
    Opening("B02", "Alekhine Defense", "e4 Nf6 e5 Nd5 d4 d6 Nf3"),
    Opening("B06", "Modern Defense", "e4 g6 d4 Bg7 Nc3 d6 Be3"),
    Opening("B07", "Pirc Defense", "e4 d6 d4 Nf6 Nc3 g6"),
    Opening("B12", "Caro-Kann Defense: Advance Variation", "e4 c6 d4 d5 e5 Bf5 Nf3 e6"),
    Opening("B18", "Caro-Kann Defense: Classical Variation", "e4 c6 d4 d5 Nc3 dxe4 Nxe4 Bf5 Ng3 Bg6"),
    Opening("B20", "Sicilian Defense", "e4 c5 b3 Nc6 Bb2"),
    Opening("B23", "Sicilian Defense: Closed", "e4 c5 Nc3 Nc6 g3 g6 Bg2 Bg7 d3 d6"),
    Opening("B33", "Sicilian Defense: Sveshnikov Variation", "e4 c5 Nf3 Nc6 d4 cxd4 Nxd4 Nf6 Nc3 e5 Ndb5 d6"),
    Opening("B70", "Sicilian Defense: Dragon Variation", "e4 c5 Nf3 d6 d4 cxd4 Nxd4 Nf6 Nc3 g6"),
    Opening("B90", "Sicilian Defense: Najdorf Variation", "e4 c5 Nf3 d6 d4 cxd4 Nxd4 Nf6 Nc3 a6"),
    Opening("C00", "French Defense", "e4 e6 d3 d5 Nd2 Nf6 Ngf3"),
    Opening("C02", "French Defense: Advance Variation", "e4 e6 d4 d5 e5 c5 c3 Nc6 Nf3 Qb6"),
    Opening("C15", "French Defense: Winawer Variation", "e4 e6 d4 d5 Nc3 Bb4 Ne2 dxe4 a3"),
    Opening("C25", "Vienna Game", "e4 e5 Nc3 Nc6 g3 g6"),
    Opening("C33", "King's Gambit Accepted", "e4 e5 f4 exf4 Bc4 Nf6 Nc3"),
    Opening("C37", "King's Gambit Accepted: Muzio Gambit", "e4 e5 f4 exf4 Nf3 g5 Bc4 g4 O-O gxf3 Qxf3"),
    Opening("C42", "Petrov's Defense", "e4 e5 Nf3 Nf6 Nxe5 d6 Nf3 Nxe4 d4 d5"),
    Opening("C44", "Scotch Gambit", "e4 e5 Nf3 Nc6 d4 exd4 Bc4 Bc5 c3 Nf6"),
    Opening("C45", "Scotch Game", "e4 e5 Nf3 Nc6 d4 exd4 Nxd4 Bc5 Be3 Qf6"),
    Opening("C50", "Italian Game: Giuoco Pianissimo", "e4 e5 Nf3 Nc6 Bc4 Bc5 d3 Nf6 Nc3 d6"),
    Opening("C51", "Evans Gambit", "e4 e5 Nf3 Nc6 Bc4 Bc5 b4 Bxb4 c3 Ba5 d4"),
    Opening("C57", "Two Knights Defense: Fried Liver Attack", "e4 e5 Nf3 Nc6 Bc4 Nf6 Ng5 d5 exd5 Nxd5 Nxf7 Kxf7"),
    Opening("C65", "Ruy Lopez: Berlin Defense", "e4 e5 Nf3 Nc6 Bb5 Nf6 d3 Bc5"),
    Opening("C68", "Ruy Lopez: Exchange Variation", "e4 e5 Nf3 Nc6 Bb5 a6 Bxc6 dxc6 O-O f6"),
    Opening("C84", "Ruy Lopez: Closed", "e4 e5 Nf3 Nc6 Bb5 a6 Ba4 Nf6 O-O Be7 d3 b5 Bb3 d6"),
    Opening("D02", "Queen's Pawn Game: London System", "d4 d5 Nf3 Nf6 Bf4 e6 e3 Bd6"),
    Opening("D08", "Albin Countergambit", "d4 d5 c4 e5 dxe5 d4 Nf3 Nc6"),
    Opening("D15", "Slav Defense", "d4 d5 c4 c6 Nf3 Nf6 Nc3 a6"),
    Opening("D20", "Queen's Gambit Accepted", "d4 d5 c4 dxc4 e4 e5 Nf3 exd4 Bxc4"),
    Opening("D30", "Queen's Gambit Declined", "d4 d5 c4 e6 Nf3 Nf6 e3 Be7"),
    Opening("D85", "Gruenfeld Defense: Exchange Variation", "d4 Nf6 c4 g6 Nc3 d5 cxd5 Nxd5 e4 Nxc3 bxc3 Bg7"),
    Opening("E20", "Nimzo-Indian Defense", "d4 Nf6 c4 e6 Nc3 Bb4 f3 d5"),
    Opening("E61", "King's Indian Defense", "d4 Nf6 c4 g6 Nc3 Bg7 Nf3 O-O Bg5 d6"),
)


def main() -> None:
    """Play the games and write them."""
    options = _options()
    engine_path = shutil.which(options.engine) or shutil.which(options.engine, path="/usr/games") or options.engine
    with chess.engine.SimpleEngine.popen_uci(engine_path) as engine:
        engine.configure({"Threads": 1, "Hash": 16})
        games = [play(engine, options.seed, number) for number in range(options.games)]
    text = "\n\n".join(str(game) for game in games) + "\n"
    options.to.write_bytes(zstandard.ZstdCompressor(level=19).compress(text.encode("ascii")))
    plies = sum(int(game.headers["PlyCount"]) for game in games)
    print(f"{options.to}: {len(games)} games, {plies} plies, {options.to.stat().st_size} bytes")


def play(engine: chess.engine.SimpleEngine, seed: int, number: int) -> chess.pgn.Game:
    """Play game `number` (from 0), a function of the engine, `seed` and `number` alone."""
    rng = random.Random(f"{seed}:{number}")
    skills = {chess.WHITE: rng.randint(0, MAX_SKILL), chess.BLACK: rng.randint(0, MAX_SKILL)}
    opening, board = _opening(rng)
    while board.outcome(claim_draw=True) is None and board.ply() < MAX_PLIES:
        board.push(choose(engine, board, number, skills[board.turn], rng))
    return _record(engine.id["name"], number, skills, opening, board)


def choose(
    engine: chess.engine.SimpleEngine, board: chess.Board, number: int, skill: int, rng: random.Random
) -> chess.Move:
    """Choose a move as Stockfish does at `skill` (0 to 20), but with the random numbers of `rng`."""
    limit = chess.engine.Limit(depth=1 + skill, nodes=MAX_NODES)
    lines = engine.analyse(board, limit, multipv=CANDIDATES, game=number)
    scores = [line["score"].relative.score(mate_score=MATE_CENTIPAWNS) for line in lines]
    weakness = 120 - 2 * skill
    spread = min(scores[0] - scores[-1], PAWN_CENTIPAWNS)
    # The weaker the player, the more a move gains that is further behind or that luck favours.
    pushed = [
        score + (weakness * (scores[0] - score) + spread * rng.randrange(weakness)) // 128 for score in scores
    ]
    return lines[max(range(len(lines)), key=lambda index: pushed[index])]["pv"][0]


def _opening(rng: random.Random) -> tuple[Opening, chess.Board]:
    board = chess.Board()
    if rng.random() < 0.8:
        opening = rng.choice(OPENINGS)
        for san in opening.moves.split():
            board.push_san(san)
        return opening, board
    for _ in range(RANDOM_PLIES):
        board.push(rng.choice(sorted(board.legal_moves, key=chess.Move.uci)))
    return Opening("", "", ""), board


def _record(
    engine_name: str, number: int, skills: dict[chess.Color, int], opening: Opening, board: chess.Board
) -> chess.pgn.Game:
    outcome = board.outcome(claim_draw=True)
    game = chess.pgn.Game.from_board(board)
    game.headers["Event"] = "Rookery sample"
    game.headers["Site"] = "?"
    game.headers["Date"] = "2025.01.01"
    game.headers["Round"] = str(number + 1)
    game.headers["White"] = f"{engine_name} skill {skills[chess.WHITE]}"
    game.headers["Black"] = f"{engine_name} skill {skills[chess.BLACK]}"
    game.headers["Result"] = outcome.result() if outcome else "*"
    if opening.eco:
        game.headers["ECO"] = opening.eco
        game.headers["Opening"] = opening.name
    game.headers["PlyCount"] = str(board.ply())
    game.headers["Termination"] = "normal" if outcome else "unterminated"
    return game


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", default="stockfish")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "games.pgn.zst")
    return parser.parse_args()


if __name__ == "__main__":
    main()

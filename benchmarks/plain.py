"""The plain script: what Rookery's speed is measured against, from a PGN file to two trained agents.

It is written as one would write it without Rookery: one process, python-chess reads the games, one engine
is kept open and analyses one position after another, and each agent takes a torch step when enough new
transitions have come in. The learning problem, the network, the optimizer's step and the number of steps are
Rookery's own, so that the difference lies in how the work is organised.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

import chess
import chess.engine
import chess.pgn
import numpy as np
import numpy.typing as npt
import torch
import zstandard

from common.moves import indices_by_uci
from common.positions import Positions
from common.scores import expected_score, from_uci
from common.settings import AgentSettings, Settings, Side
from learner.probe_buffer import NO_PROBES
from learner.registry import make_model
from learner.replay import Sample
from learner.trainer import agent_seed


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainRun:
    """What one run of the plain script came to."""

    seconds: float
    """From opening the file to the last gradient step."""
    games: int
    transitions: int
    """Of both agents together."""
    steps: int
    """Gradient steps of both agents together."""


class Position(NamedTuple):
    """One position, seen from its side to move, as in common.positions."""

    board: npt.NDArray[np.uint8]
    castling: int
    en_passant: int
    halfmove_clock: int
    repetitions: int


class Transition(NamedTuple):
    position: Position
    action: int
    reward: float
    expected_score: float
    following: "tuple[Position, int] | None"
    """Next decision point and the move played there; None at the end of the game."""


@dataclass
class Agent:
    """One agent, learning as it goes."""

    agent: AgentSettings
    settings: Settings
    memory: list[Transition] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        seed = agent_seed(self.settings.seed, self.agent.name)
        self.model = make_model(self.settings, seed, torch.device("cpu"))
        self.random = random.Random(seed)

    def learn(self, transitions: list[Transition]) -> None:
        """Remember `transitions` and take the gradient steps that are due."""
        settings = self.settings
        self.memory += transitions
        while self.steps < int(len(self.memory) * settings.samples_per_transition / settings.batch_size):
            drawn = sample(self.random.choices(self.memory, k=settings.batch_size))
            self.model.step(self.model.prepare(drawn), 1.0)
            self.steps += 1


def run(games: Path, *, engine_path: str, settings: Settings) -> PlainRun:
    """Train the agents of `settings` on `games`."""
    # As the learners do: with more threads, steps this small gain nothing, and lose much on a busy machine.
    torch.set_num_threads(1)
    start = time.perf_counter()
    agents = [Agent(agent, settings) for agent in settings.agents]
    games_used = 0
    with open_games(games) as handle, chess.engine.SimpleEngine.popen_uci(engine_path) as engine:
        for number, game in enumerate(read_games(handle, settings.limit_games)):
            if game.errors or not game.variations or game.board().uci_variant != "chess":
                continue
            games_used += 1
            positions, actions, scores = replay(engine, game, number, settings.nodes)
            for agent in agents:
                white = agent.agent.side is Side.WHITE
                agent.learn(transitions(game, positions, actions, scores, chess.WHITE if white else chess.BLACK))
    return PlainRun(
        seconds=time.perf_counter() - start,
        games=games_used,
        transitions=sum(len(agent.memory) for agent in agents),
        steps=sum(agent.steps for agent in agents),
    )


def open_games(path: Path) -> TextIO:
    if path.suffix == ".zst":
        handle: TextIO = zstandard.open(path, "rt", encoding="utf-8", errors="replace")
        return handle
    return path.open(encoding="utf-8", errors="replace")


def read_games(handle: TextIO, limit: int | None) -> Iterator[chess.pgn.Game]:
    read = 0
    while read != limit and (game := chess.pgn.read_game(handle)) is not None:
        read += 1
        yield game


def replay(
    engine: chess.engine.SimpleEngine, game: chess.pgn.Game, number: int, nodes: int
) -> tuple[list[Position], list[int], list[int]]:
    """Return a game's n + 1 positions, its n moves and n + 1 scores, each from its side to move."""
    board = game.board()
    seen: Counter[str] = Counter()
    positions, actions = [position_of(board, seen)], []
    scores = [score_of(engine, board, number, nodes)]
    for move in game.mainline_moves():
        side = Side.WHITE if board.turn == chess.WHITE else Side.BLACK
        actions.append(indices_by_uci(side)[move.uci()])
        board.push(move)
        positions.append(position_of(board, seen))
        scores.append(score_of(engine, board, number, nodes))
    return positions, actions, scores


def score_of(engine: chess.engine.SimpleEngine, board: chess.Board, number: int, nodes: int) -> int:
    if board.is_checkmate():
        return from_uci("mate", 0)
    if board.is_stalemate():
        return 0
    score = engine.analyse(board, chess.engine.Limit(nodes=nodes), game=number)["score"].relative
    mate = score.mate()
    return from_uci("cp", score.score(mate_score=0)) if mate is None else from_uci("mate", mate)


def position_of(board: chess.Board, seen: Counter[str]) -> Position:
    turned = 0 if board.turn == chess.WHITE else 56
    squares = np.zeros(64, np.uint8)
    for square, piece in board.piece_map().items():
        squares[square ^ turned] = piece.piece_type + (0 if piece.color == board.turn else 6)
    key = board.epd()
    seen[key] += 1
    return Position(
        board=squares,
        castling=board.has_kingside_castling_rights(board.turn)
        | board.has_queenside_castling_rights(board.turn) << 1
        | board.has_kingside_castling_rights(not board.turn) << 2
        | board.has_queenside_castling_rights(not board.turn) << 3,
        en_passant=chess.square_file(board.ep_square)
        if board.ep_square is not None and board.has_legal_en_passant()
        else -1,
        halfmove_clock=board.halfmove_clock,
        repetitions=min(seen[key] - 1, 255),
    )


def transitions(
    game: chess.pgn.Game, positions: list[Position], actions: list[int], scores: list[int], side: chess.Color
) -> list[Transition]:
    """Return the transitions of the agent that plays `side`, with shaped rewards."""
    turn = game.turn()
    plies = range(0 if turn == side else 1, len(actions), 2)
    worth = expected_score(np.array(scores, np.int16)).tolist()
    results = {"1-0": 1.0, "0-1": 0.0, "1/2-1/2": 0.5}
    z = results.get(game.headers["Result"])
    if z is not None:
        end = z if side == chess.WHITE else 1.0 - z
    else:
        own_turn_at_end = (len(actions) % 2 == 0) == (turn == side)
        end = worth[-1] if own_turn_at_end else 1.0 - worth[-1]
    found = []
    for ply in plies:
        last = ply + 2 >= len(actions)
        found.append(
            Transition(
                position=positions[ply],
                action=actions[ply],
                reward=(end if last else worth[ply + 2]) - worth[ply],
                expected_score=worth[ply],
                following=None if last else (positions[ply + 2], actions[ply + 2]),
            )
        )
    return found


def sample(rows: list[Transition]) -> Sample:
    following = [row.following or (row.position, row.action) for row in rows]
    return Sample(
        positions=columns([row.position for row in rows]),
        actions=np.array([row.action for row in rows], np.int64),
        rewards=np.array([row.reward for row in rows], np.float32),
        expected_scores=np.array([row.expected_score for row in rows], np.float32),
        has_next=np.array([row.following is not None for row in rows]),
        next_positions=columns([position for position, _ in following]),
        next_actions=np.array([action for _, action in following], np.int64),
        probes=NO_PROBES,
    )


def columns(positions: list[Position]) -> Positions:
    boards, castling, en_passant, halfmove_clock, repetitions = zip(*positions, strict=True)
    return Positions(
        boards=np.stack(boards),
        castling=np.array(castling, np.uint8),
        en_passant=np.array(en_passant, np.int8),
        halfmove_clock=np.array(halfmove_clock, np.uint16),
        repetitions=np.array(repetitions, np.uint8),
    )


def main() -> None:
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("games", type=Path)
    parser.add_argument("--limit-games", type=int)
    parser.add_argument("--nodes", type=int, default=defaults.nodes)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--samples-per-transition", type=float, default=defaults.samples_per_transition)
    parser.add_argument("--engine", default="/usr/games/stockfish")
    options = vars(parser.parse_args())
    games, engine_path = options.pop("games"), options.pop("engine")
    done = run(games, engine_path=engine_path, settings=Settings(**options))
    print(
        f"{done.seconds:.1f} s, {done.games} games, {done.transitions} transitions, {done.steps} steps, "
        f"{done.transitions / done.seconds:.0f} transitions/s"
    )


if __name__ == "__main__":
    main()

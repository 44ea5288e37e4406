"""Whole games on the clock, an engine against itself or another, driven by python-chess as a GUI would.

    python -m benchmarks.uci_games --games 1000 --clock 1 --increment 0.01 'rookery uci runs/first -o Nodes=20'

Counts what a tournament director would: illegal moves, losses on time, crashes. The clock is this process's: it
runs from the moment that `go` is written until `bestmove` is read. Nothing is adjudicated: games end by the rules
(a draw at the third repetition or after fifty moves). Exits with 1 if anything was counted.
"""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import random
import shlex
import sys
import time

import chess
import chess.engine

OPENING_PLIES = 6


@dataclasses.dataclass
class Tally:
    games: int = 0
    plies: int = 0
    illegal: int = 0
    time_losses: int = 0
    crashes: int = 0
    least_left_s: float = float("inf")
    ends: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    lengths: list[int] = dataclasses.field(default_factory=list)
    longest_move_s: float = 0.0

    def faults(self) -> int:
        return self.illegal + self.time_losses + self.crashes


def opening(number: int) -> chess.Board:
    """Return the position after random moves that leave a game to play."""
    dice = random.Random(number)
    while True:
        board = chess.Board()
        for _ in range(OPENING_PLIES):
            board.push(dice.choice(list(board.legal_moves)))
            if board.is_game_over():
                break
        else:
            return board


async def play(
    engines: dict[chess.Color, chess.engine.UciProtocol],
    board: chess.Board,
    options: argparse.Namespace,
    tally: Tally,
) -> str:
    """Play one game to its end; return how it ended."""
    left = {chess.WHITE: options.clock, chess.BLACK: options.clock}
    game = object()
    for engine in engines.values():  # the clock starts when both are ready
        await engine.play(board, chess.engine.Limit(nodes=1), game=game)
    while (outcome := board.outcome(claim_draw=False)) is None:
        if board.is_repetition(3) or board.is_fifty_moves():
            return "draw by repetition or fifty moves"
        mover = board.turn
        limit = chess.engine.Limit(
            white_clock=max(left[chess.WHITE], 0.001),
            black_clock=max(left[chess.BLACK], 0.001),
            white_inc=options.increment,
            black_inc=options.increment,
        )
        begun_s = time.perf_counter()
        result = await asyncio.wait_for(
            engines[mover].play(board, limit, game=game, ponder=options.ponder), timeout=options.clock * 3 + 30
        )
        used_s = time.perf_counter() - begun_s
        tally.longest_move_s = max(tally.longest_move_s, used_s)
        tally.plies += 1
        left[mover] -= used_s
        tally.least_left_s = min(tally.least_left_s, left[mover])
        if left[mover] < 0:
            tally.time_losses += 1
            return f"loss on time by {-left[mover]:.3f} s"
        left[mover] += options.increment
        if result.move is None or not board.is_legal(result.move):
            tally.illegal += 1
            return f"illegal move {result.move} in {board.fen()}"
        board.push(result.move)
    return outcome.termination.name.lower()


async def start(command: str) -> chess.engine.UciProtocol:
    _, protocol = await asyncio.wait_for(chess.engine.popen_uci(shlex.split(command)), 60)
    return protocol


async def stop(engines: list[chess.engine.UciProtocol]) -> None:
    for engine in engines:
        with contextlib.suppress(chess.engine.EngineError, TimeoutError):
            await asyncio.wait_for(engine.quit(), 5)


async def run(options: argparse.Namespace) -> Tally:
    tally = Tally()
    commands = (options.engine, options.other or options.engine)
    engines = [await start(command) for command in commands]
    begun_s = time.monotonic()
    for number in range(options.first, options.first + options.games):
        players = {chess.WHITE: engines[number % 2], chess.BLACK: engines[1 - number % 2]}
        board = opening(number // 2 if options.other else number)
        try:
            end = await play(players, board, options, tally)
        except (TimeoutError, chess.engine.EngineError) as error:
            illegal = "illegal" in str(error)
            tally.illegal += illegal
            tally.crashes += not illegal
            end = f"crash: {type(error).__name__}: {error}"
            await stop(engines)
            engines = [await start(command) for command in commands]
        tally.games += 1
        tally.ends[end] += 1
        tally.lengths.append(len(board.move_stack))
        if tally.games % options.every == 0:
            print(report(tally, time.monotonic() - begun_s), file=sys.stderr, flush=True)
    await stop(engines)
    print(report(tally, time.monotonic() - begun_s))
    for end, count in tally.ends.most_common():
        print(f"  {count:5,}  {end}")
    return tally


def report(tally: Tally, elapsed_s: float) -> str:
    lengths = sorted(tally.lengths)
    return (
        f"{tally.games:,} games, {tally.plies:,} moves in {elapsed_s:,.0f} s: {tally.illegal} illegal moves, "
        f"{tally.time_losses} losses on time, {tally.crashes} crashes; game of {lengths[len(lengths) // 2]} plies "
        f"(median), {lengths[-1]} at most; least time left {tally.least_left_s:.3f} s, "
        f"longest move {tally.longest_move_s:.3f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", help="command of the engine")
    parser.add_argument("--other", help="command of its opponent; without: itself")
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first game: others have other openings")
    parser.add_argument("--clock", type=float, default=1.0, help="seconds for the game")
    parser.add_argument("--increment", type=float, default=0.01, help="seconds a move")
    parser.add_argument("--ponder", action="store_true", help="let the engines think in each other's time")
    parser.add_argument("--every", type=int, default=20, help="games between two reports")
    tally = asyncio.run(run(parser.parse_args()))
    sys.exit(1 if tally.faults() else 0)


if __name__ == "__main__":
    main()

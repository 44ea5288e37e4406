"""A UCI engine that plays the first move it knows of, and on some moves does what no engine should.

bad_engine.py illegal|crash|hang|none|garbage [EVERY]     badly on every EVERYth move
"""

import os
import sys
import time

import chess


def main() -> None:
    how, every = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    board, moves = chess.Board(), 0
    for line in sys.stdin:
        words = line.split()
        if words == ["uci"]:
            print("id name Bad engine\nuciok", flush=True)
        elif words == ["isready"]:
            print("readyok", flush=True)
        elif words[:1] == ["position"]:
            board = board_of(words)
        elif words[:1] == ["go"]:
            moves += 1
            answer = next(iter(board.legal_moves)).uci()
            print(f"bestmove {answer}" if moves % every else wrong(how), flush=True)
        elif words == ["quit"]:
            return


def board_of(words: list[str]) -> chess.Board:
    cut = words.index("moves") if "moves" in words else len(words)
    board = chess.Board() if words[1] == "startpos" else chess.Board(" ".join(words[2:cut]))
    for move in words[cut + 1 :]:
        board.push_uci(move)
    return board


def wrong(how: str) -> str:
    if how == "crash":
        os._exit(3)
    if how == "hang":
        time.sleep(3600)
    return {"illegal": "bestmove a1a8", "none": "bestmove (none)", "garbage": "bestmove what"}[how]


main()

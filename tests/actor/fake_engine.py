"""Scripted engines: small Python programs that run as real processes and speak UCI, or pretend to."""

import sys
from pathlib import Path

_PROGRAM = """#!{python} -SE
import os, pathlib, select, sys, zlib

state = pathlib.Path({state!r})
starts = int(state.read_text() or 0) + 1 if state.exists() else 1
state.write_text(str(starts))
pending = b""
position = ""
games = 0
searches = 0

def say(text):
    os.write(1, text.encode() + b"\\n")

def answer():
    say(f"info depth 1 score cp {{zlib.crc32(position.encode()) % 1000}} nodes 5 pv a1a1\\nbestmove a1a1")

def hello():
    say("id name {name}\\noption name Threads type spin default 1\\n"
        "option name EvalFile type string default nn-fake.nnue\\nuciok")

def forever():
    select.select([], [], [])

def go():
    answer()

{body}

while True:
    data = os.read(0, 65536)
    if not data:
        break
    *lines, pending = (pending + data).split(b"\\n")
    for number, line in enumerate(lines):
        rest = len(lines) - 1 - number
        line = line.decode()
        if line == "uci":
            hello()
        elif line == "isready":
            say("readyok")
        elif line == "ucinewgame":
            games += 1
        elif line.startswith("position "):
            position = line
        elif line == "go perft 1":
            say("\\nNodes searched: 0\\n")
        elif line.startswith("go "):
            searches += 1
            go()
"""


def fake_engine(directory: Path, body: str = "", name: str = "Stockfish Fake") -> str:
    """Write an engine whose `body` may redefine hello() and go(); return its path.

    The body can use say, answer, forever, position, games (since its start), searches, and starts (of the
    program, from 1), and `rest`, the number of lines read after this one.
    """
    path = directory / "engine"
    path.write_text(_PROGRAM.format(python=sys.executable, state=str(directory / "starts"), name=name, body=body))
    path.chmod(0o755)
    return str(path)


def starts(directory: Path) -> int:
    """How often the engine in `directory` was started."""
    return int((directory / "starts").read_text())

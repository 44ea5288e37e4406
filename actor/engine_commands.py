"""Engine commands: what a UCI engine is told so that it scores every position of a game, or single ones.

Pure: text in, bytes out. Called by the engine, which writes the commands ahead of the answers.

Each position goes as `position fen F` alone, for two reasons. Stockfish up to 16 counts the moves of a
`position … moves …` as nodes of the search that is still running, so that, written ahead, they cut it
short by chance and scores differ from run to run; and replaying the moves costs more than the FEN.
A FEN loses what went before, which matters only where a position of the current run of reversible moves
has occurred twice: elsewhere Stockfish draws nothing from history. Such a position goes with the moves
since the last irreversible one, behind a barrier: `go perft 1` on a checkmate, which waits for the search
before it, searches nothing and answers no `bestmove`. From the 50th move without progress on, every
reversible line is drawn with history or without, so no command ever carries more than 100 moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from common.positions import Positions

BARRIER = b"position fen 7k/6Q1/6K1/8/8/8/8/8 b - - 0 1\ngo perft 1\n"
"""Waits, in Stockfish, for the search before it; answers `Nodes searched: 0`, and no `bestmove`."""

_DRAWN_BY_CLOCK = 100
_OTHER_PAWN = 7
_WHITE_LETTERS = np.frombuffer(b"1PNBRQKpnbrqk", np.uint8)
_BLACK_LETTERS = np.frombuffer(b"1pnbrqkPNBRQK", np.uint8)


def _castling_text(letters: str) -> list[str]:
    """Return the FEN field for each of the 16 castling bytes, `letters` standing for bits 0 to 3."""
    ordered = "KQkq"
    return ["".join(letter for letter in ordered if bits >> letters.index(letter) & 1) or "-" for bits in range(16)]


_CASTLING = (_castling_text("KQkq"), _castling_text("kqKQ"))


class EngineGame(Protocol):
    """What the engine needs to know of a game of n moves; `actor.games.Game` has it."""

    @property
    def start_fen(self) -> str | None:
        """FEN of the first position; None for the start of chess."""

    @property
    def moves_uci(self) -> Sequence[str]:
        """The n moves, in UCI notation, all legal."""

    @property
    def positions(self) -> Positions:
        """The n + 1 positions, each seen from its side to move."""

    @property
    def terminal_score(self) -> int | None:
        """Exact score of the last position, from its side to move, if it is checkmate or stalemate."""


def game_commands(game: EngineGame, nodes: int, barrier: bytes = BARRIER) -> list[bytes]:
    """Return one command text for each position to be asked, in ply order; the first clears the hash.

    The last position is left out if it is terminal. `nodes` is the limit of each search.
    """
    fens = game_fens(game)
    go = f"\ngo nodes {nodes}\n"
    commands = [f"position fen {fen}{go}".encode() for fen in fens]
    for ply, base in _histories(game.positions):
        moves = " ".join(game.moves_uci[base:ply])
        commands[ply] = barrier + f"position fen {fens[base]} moves {moves}{go}".encode()
    if game.terminal_score is not None:
        commands.pop()
    if commands:
        commands[0] = b"ucinewgame\n" + commands[0]
    return commands


@dataclass(frozen=True, slots=True)
class Line:
    """One position to search, of no game: the one that `moves` lead to from the one in `fen`."""

    fen: str
    moves: tuple[str, ...] = ()
    """In UCI's notation; none unless the position's history counts (see above), and then at most 100."""


def line_commands(lines: Sequence[Line], nodes: int, barrier: bytes = BARRIER) -> list[bytes]:
    """Return one command text for each line; the first clears the hash."""
    commands = [
        (barrier if line.moves else b"") + f"position {_line_text(line)}\ngo nodes {nodes}\n".encode()
        for line in lines
    ]
    if commands:
        commands[0] = b"ucinewgame\n" + commands[0]
    return commands


def _line_text(line: Line) -> str:
    return f"fen {line.fen} moves {' '.join(line.moves)}" if line.moves else f"fen {line.fen}"


def game_fens(game: EngineGame) -> list[str]:
    """Return the FEN of each of the n + 1 positions.

    The en-passant square is named after every double step of a pawn, as the FEN standard has it: an
    engine then keeps or drops it exactly as it does when it replays the moves.
    """
    black_first, en_passant, fullmove = _start(game.start_fen)
    positions = game.positions
    placements = _placements(positions.boards, black_first)
    castling, clocks = positions.castling.tolist(), positions.halfmove_clock.tolist()
    fens = []
    for ply, placement in enumerate(placements):
        black = (ply + black_first) & 1
        if ply:
            en_passant = _double_step(game.moves_uci[ply - 1], positions.boards[ply], black)
            fullmove += not black
        fens.append(
            f"{placement} {'wb'[black]} {_CASTLING[black][castling[ply] & 15]} {en_passant}"
            f" {clocks[ply]} {fullmove}"
        )
    return fens


def _start(start_fen: str | None) -> tuple[int, str, int]:
    """Return of a start FEN: 1 if black is to move else 0, its en-passant square, its fullmove number."""
    if start_fen is None:
        return 0, "-", 1
    fields = start_fen.split()
    fields += ["w", "-", "-", "0", "1"][len(fields) - 1 :]
    square = fields[3]
    known = len(square) == 2 and square[0] in "abcdefgh" and square[1] in "36"
    number = fields[5]
    return int(fields[1] == "b"), square if known else "-", int(number) if number.isdecimal() else 1


def _placements(boards: npt.NDArray[np.uint8], black_first: int) -> list[str]:
    """Return the FEN piece placement of each board [n, 64]; sides to move alternate, rank 8 goes first."""
    count = len(boards)
    text = np.full((count, 8, 9), ord("/"), np.uint8)
    text[:, 7, 8] = ord(" ")
    ranks = boards.reshape(count, 8, 8)
    text[black_first::2, :, :8] = _WHITE_LETTERS[ranks[black_first::2, ::-1]]
    text[1 - black_first :: 2, :, :8] = _BLACK_LETTERS[ranks[1 - black_first :: 2]]
    line = text.tobytes().decode("ascii")
    for run in range(8, 1, -1):
        line = line.replace("1" * run, str(run))
    return line.split()


def _double_step(move: str, board: npt.NDArray[np.uint8], black: int) -> str:
    """Return the square that the double step of a pawn passed over, or `-` for any other move.

    `board` [64] is the one after `move`, turned for its side to move; `black` is 1 if that is black.
    """
    if move[1:4:2] not in ("24", "75") or move[0] != move[2]:
        return "-"
    to = "abcdefgh".index(move[2]) + 8 * (int(move[3]) - 1)
    if board[to ^ 56 if black else to] != _OTHER_PAWN:
        return "-"
    return move[0] + ("3" if move[3] == "4" else "6")


def _histories(positions: Positions) -> list[tuple[int, int]]:
    """Return (ply, base ply) of each position whose history an engine has to know.

    They are those with a repetition between the last irreversible move, after which base stands, and them.
    """
    if not positions.repetitions.any():
        return []
    found = []
    base, repeated = 0, False
    clocks, repetitions = positions.halfmove_clock.tolist(), positions.repetitions.tolist()
    for ply, clock in enumerate(clocks):
        if clock == 0:
            base, repeated = ply, False
        repeated = repeated or repetitions[ply] > 0
        if repeated and clock < _DRAWN_BY_CLOCK:
            found.append((ply, base))
    return found

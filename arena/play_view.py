"""View: a board and what a player thinks of it, for a terminal of 80 columns.

Called by `rookery play`. Gives texts and tables for rich to print; prints nothing itself.
"""

from collections.abc import Sequence

import chess
from rich.table import Table
from rich.text import Text

from agent.search import Line, SearchResult
from arena.uci_info import centipawns

_LIGHT, _DARK, _MARKED_LIGHT, _MARKED_DARK = "#d8c6a4", "#a8835a", "#d6d67c", "#b0a940"
_MEN = {chess.WHITE: "bold #ffffff", chess.BLACK: "bold #101010"}
_FIGURES = {kind: chess.UNICODE_PIECE_SYMBOLS[chess.piece_symbol(kind)] for kind in chess.PIECE_TYPES}
MOVES_SHOWN = 8
"""Moves in the table of the best."""


def board_view(board: chess.Board, *, white_below: bool, ascii_only: bool, colour: bool) -> Text:
    """Return the board, the last move marked: by colour, or by brackets where there is none."""
    last = board.peek() if board.move_stack else None
    marked = {last.from_square, last.to_square} if last else set()
    files = range(8) if white_below else range(7, -1, -1)
    view = Text()
    for rank in range(7, -1, -1) if white_below else range(8):
        view.append(f" {rank + 1} ")
        for file in files:
            square = chess.square(file, rank)
            view.append_text(_square(board, square, square in marked, ascii_only, colour))
        view.append("\n")
    view.append("   " + "".join(f" {chess.FILE_NAMES[file]} " for file in files))
    return view


def _square(board: chess.Board, square: chess.Square, marked: bool, ascii_only: bool, colour: bool) -> Text:
    piece = board.piece_at(square)
    light = (chess.square_file(square) + chess.square_rank(square)) % 2 == 1
    if not colour:
        symbol = _plain_symbol(piece, light, ascii_only)
        return Text(f"[{symbol}]" if marked else f" {symbol} ")
    background = (_MARKED_LIGHT if light else _MARKED_DARK) if marked else (_LIGHT if light else _DARK)
    if piece is None:
        return Text("   ", style=f"on {background}")
    symbol = piece.symbol() if ascii_only else _FIGURES[piece.piece_type]
    return Text(f" {symbol} ", style=f"{_MEN[piece.color]} on {background}")


def _plain_symbol(piece: chess.Piece | None, light: bool, ascii_only: bool) -> str:
    if piece is None:
        return "." if ascii_only or not light else "·"
    return piece.symbol() if ascii_only else piece.unicode_symbol()


def moves_view(board: chess.Board, plies: int = 12) -> str:
    """Return the last moves of the game in SAN."""
    shown = max(0, len(board.move_stack) - plies)
    start = board.copy()
    for _ in range(len(board.move_stack) - shown):
        start.pop()
    text = start.variation_san(board.move_stack[shown:]) if board.move_stack else ""
    return f"… {text}" if shown else text


def score_view(value: float, mate: int | None) -> str:
    """Return an expected score as per cent and pawns, or a mate, from the side that it is of."""
    if mate is not None:
        return f"mates in {mate}" if mate > 0 else f"is mated in {-mate}"
    return f"{value:.0%} ({centipawns(value) / 100:+.2f})"


def nodes_view(nodes: int) -> str:
    """Return a number of nodes in words."""
    return "1 node" if nodes == 1 else f"{nodes:,} nodes"


def top_moves(board: chess.Board, result: SearchResult, count: int = MOVES_SHOWN) -> Table:
    """Return a table of the best moves on `board`."""
    table = Table(title=nodes_view(result.nodes), title_justify="left", pad_edge=False)
    table.add_column("move")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("visits", justify="right")
    table.add_column("π", justify="right")
    table.add_column("Q", justify="right")
    table.add_column("expected", overflow="ellipsis", no_wrap=True, max_width=32)
    for line in result.lines[:count]:
        table.add_row(
            board.san(line.move),
            score_view(line.value, line.mate) if line.visits else "",
            f"{line.visits:,}",
            f"{line.prior:.0%}",
            f"{line.action_value:+.3f}",
            variation_view(board, line),
        )
    return table


def variation_view(board: chess.Board, line: Line) -> str:
    """Return what is expected after a move, in SAN."""
    moves: Sequence[chess.Move] = line.pv[1:]
    if not moves:
        return ""
    after = board.copy(stack=False)
    after.push(line.pv[0])
    return after.variation_san(moves)

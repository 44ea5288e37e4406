"""Probe: one move of the agent's own at a decision point of a game, from the choice to what came of it.

    probe = Probe(board, move, game=7, ply=12, version=3)
    while (line := probe.line) is not None:
        probe.answer(*engine's score and best move for that line)

Called by the prober. Rules by python-chess; knows neither networks nor engine.
"""

import chess

from actor.engine_commands import Line
from agent.boards import actions_of, positions_of, side_of
from common.positions import Positions, empty
from common.probes import NO_REPLY
from common.scores import CHECKMATED, DRAWN

HISTORY_MAX = 150
"""Moves of history that a board needs: after that many without progress a game is over."""

_DRAWN_BY_CLOCK = 100


class IllegalReplyError(ValueError):
    """What the engine calls its best move is none."""


class Probe:
    """A move, the position after it, the reply expected there, and the position after that; scores as they come.

    Games end by the rules alone: checkmate, stalemate, too little material, fivefold repetition, 75 moves.
    """

    def __init__(self, board: chess.Board, move: chess.Move, *, game: int, ply: int, version: int) -> None:
        """Make the legal `move` on `board`, which becomes the probe's own.

        `game` is the game's number, `ply` that of the decision point, `version` that of the weights which chose.
        """
        self.game, self.ply, self.version = game, ply, version
        self.action = int(actions_of([move], side_of(board))[0])
        self.reply = NO_REPLY
        self._board: chess.Board | None = board
        board.push(move)
        self.after_position = positions_of([board])
        self.next_position: Positions = empty(1)
        self.after_score: int | None = None
        """From the agent's side, as are all scores of a probe; None until it is known."""
        self.score: int | None = None
        """Of the last position; None until the probe is done."""
        self.ended = board.is_game_over()
        if self.ended:
            self._end(-_score_of_end(board))
            self.after_score = self.score

    @property
    def line(self) -> Line | None:
        """What the engine is to be asked next; None when the probe is done."""
        return None if self._board is None else line_of(self._board)

    def answer(self, score: int, best_move: str) -> None:
        """Take the engine's answer to `line`, `score` being from its side to move; raise IllegalReplyError."""
        board = self._board
        assert board is not None
        if self.after_score is not None:
            self._end(score)
            return
        reply = _legal(board, best_move)
        self.after_score = -score
        self.reply = int(actions_of([reply], side_of(board))[0])
        board.push(reply)
        self.next_position = positions_of([board])
        self.ended = board.is_game_over()
        if self.ended:
            self._end(_score_of_end(board))

    def _end(self, score: int) -> None:
        self.score, self._board = score, None


def line_of(board: chess.Board) -> Line:
    """Return how an engine is asked for the position on `board`: by FEN, with moves only where history counts.

    As `actor.engine_commands` has it: where a position since the last irreversible move has occurred twice.
    """
    moves = _moves_of_repetition(board) if board.halfmove_clock < _DRAWN_BY_CLOCK else ()
    if not moves:
        return Line(board.fen(en_passant="fen"))
    base = board.copy()
    for _ in moves:
        base.pop()
    return Line(base.fen(en_passant="fen"), tuple(move.uci() for move in moves))


def _moves_of_repetition(board: chess.Board) -> tuple[chess.Move, ...]:
    """Return the moves since the last irreversible one if a position has occurred twice since, else none."""
    count = min(board.halfmove_clock, len(board.move_stack))
    if count < 4:
        return ()
    back, seen = board.copy(stack=count), set()
    for _ in range(count + 1):
        key = back._transposition_key()
        if key in seen:
            return tuple(board.move_stack[-count:])
        seen.add(key)
        if back.move_stack:
            back.pop()
    return ()


def _score_of_end(board: chess.Board) -> int:
    """Return the score of a game that is over, from the side to move."""
    return CHECKMATED if board.is_checkmate() else DRAWN


def _legal(board: chess.Board, uci: str) -> chess.Move:
    try:
        move = board.parse_uci(uci)
    except ValueError as error:
        raise IllegalReplyError(f"{uci!r} is no legal move in {board.fen()}") from error
    if not move:  # python-chess lets a null move pass
        raise IllegalReplyError(f"the engine passes in {board.fen()}")
    return move

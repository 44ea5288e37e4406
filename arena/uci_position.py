"""Position: the game that `position` of the UCI protocol tells of.

Called by the engine. Whatever is sent, the board stays one that the engine can search.
"""

from collections.abc import Sequence

import chess

_REFUSED = {
    chess.STATUS_NO_WHITE_KING: "white has no king",
    chess.STATUS_NO_BLACK_KING: "black has no king",
    chess.STATUS_TOO_MANY_KINGS: "a side has several kings",
    chess.STATUS_PAWNS_ON_BACKRANK: "a pawn stands on the first or last rank",
    chess.STATUS_OPPOSITE_CHECK: "the side that has moved is in check",
    chess.STATUS_EMPTY: "the board is empty",
}
"""What makes a position one that can't be played on; everything else that is odd is played as it stands."""

_SHOWN = 80


class PositionError(ValueError):
    """A `position` that makes no sense; the text says why."""


class Position:
    """A game: where it began, its moves, and the board after them."""

    def __init__(self) -> None:
        self.start = chess.STARTING_FEN
        self.moves: list[chess.Move] = []
        self.board = chess.Board()
        self._words: list[str] = []

    def set(self, words: Sequence[str]) -> None:
        """Take the words after `position`; raise PositionError where they are wrong.

        A start that is wrong leaves everything as it was; an illegal move ends the game before it.
        """
        start, moves = _parts(words)
        known = len(self._words)
        if start != self.start or moves[:known] != self._words:
            self.board = board_of(start)
            self.start, self.moves, self._words = start, [], []
            known = 0
        for word in moves[known:]:
            move = legal_move(self.board, word)
            if move is None:
                raise PositionError(
                    f"illegal move {_short(word)} in {self.board.fen()}; kept the position before it"
                )
            self.board.push(move)
            self.moves.append(move)
            self._words.append(word)


def board_of(fen: str) -> chess.Board:
    """Return the board of a FEN; castling rights and en-passant squares that can't be are left out.

    Raises PositionError when it is no FEN, or no position to play on.
    """
    try:
        board = chess.Board(fen)
    except (ValueError, IndexError) as error:
        raise PositionError(f"not a FEN: {_short(fen)} ({error})") from error
    board.castling_rights = board.clean_castling_rights()
    status = board.status()
    if status & chess.STATUS_INVALID_EP_SQUARE:
        board.ep_square = None
        status = board.status()
    for bit, reason in _REFUSED.items():
        if status & bit:
            raise PositionError(f"{reason}: {_short(fen)}")
    return board


def legal_move(board: chess.Board, word: str) -> chess.Move | None:
    """Return the legal move that `word` writes in UCI's notation; None where there is none."""
    try:
        move = board.parse_uci(word.lower())
    except ValueError:
        return None
    return move or None


def _parts(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the start, as FEN, and the moves."""
    end = words.index("moves") if "moves" in words else len(words)
    moves = list(words[end + 1 :])
    if words[:1] == ["startpos"]:
        return chess.STARTING_FEN, moves
    if words[:1] == ["fen"] and end > 1:
        return " ".join(words[1:end]), moves
    raise PositionError(f"neither startpos nor fen: {_short(' '.join(words))}")


def _short(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return repr(shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…")

"""Terminal: a person's commands, and what is shown of the game.

Called by `rookery play`. Reads lines from a terminal or a pipe; a pipe that ends quits.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
from rich.console import Console

from agent.player import Player
from agent.search import SearchResult
from arena.play_game import IllegalMove, Level, PlayGame
from arena.play_view import MOVES_SHOWN, board_view, moves_view, nodes_view, score_view, top_moves
from common.errors import OperatorError

NODES_MAX, TEMPERATURE_MAX = 100_000, 100.0

_COLOURFUL = ("256", "truecolor")
"""Colour systems of terminals whose squares and men stand out from each other."""

HELP = """\
Nf3, exd5, O-O, e7e8q   make a move
hint (or ?)             what the engine would play for you
top                     its best moves, with the policy π and the network's Q
eval on|off             show its evaluation after each of its moves
undo                    take back your last move
go                      let the engine move for you: you change sides
flip                    turn the board
nodes N                 nodes for each of its moves; 1: the network alone
temperature T           0: its best move, higher: more random
moves, fen, board       show the legal moves, the position
save FILE               add the game to a PGN file
new [white|black]       a new game
resign, help, quit"""


class PlayTerminal:
    """Plays games until the person has had enough."""

    def __init__(
        self,
        player: Player,
        *,
        human: chess.Color,
        level: Level,
        seed: int | None = None,
        start: chess.Board | None = None,
        console: Console,
        ascii_only: bool = False,
        save: Path | None = None,
    ) -> None:
        self._player, self._console, self._ascii, self._save_path = player, console, ascii_only, save
        self._random, self._start = np.random.default_rng(seed), start
        self._white_below = human == chess.WHITE
        self._shows_score = True
        self.game = PlayGame(player, human=human, level=level, random=self._random, start=start)
        self._commands: dict[str, Callable[[str], None]] = {
            "hint": self._hint, "?": self._hint, "top": self._top, "eval": self._eval, "undo": self._undo,
            "go": self._go, "flip": self._flip, "nodes": self._nodes, "temperature": self._temperature,
            "moves": self._moves, "fen": self._fen, "board": self._board, "save": self._save, "new": self._new,
            "resign": self._resign, "help": self._help,
        }  # fmt: skip

    def run(self, ask: Callable[[str], str | None]) -> None:
        """Play until `ask`, which gets a prompt and returns a line, returns None or `quit`."""
        self._say(f"You play {_name(self.game.human)} against {self._player.name}. `help` lists the commands.")
        try:
            self._reply()
            self._converse(ask)
        except KeyboardInterrupt:
            self._say("")
        if self._save_path is not None and self.game.board.move_stack:
            self._save(str(self._save_path))

    def _converse(self, ask: Callable[[str], str | None]) -> None:
        while (line := ask(self._prompt())) is not None:
            words = line.split(maxsplit=1)
            if words and words[0].lower() in ("quit", "exit"):
                return
            if words:
                self._do(words[0], words[1].strip() if len(words) > 1 else "")

    def _do(self, word: str, rest: str) -> None:
        command = self._commands.get(word.lower())
        try:
            if command is not None:
                command(rest)
            elif rest:
                raise IllegalMove(f"no command {word}; `help` lists them")
            else:
                self._move(word)
        except (IllegalMove, OperatorError) as error:
            self._say(str(error))

    def _prompt(self) -> str:
        return f"{_name(self.game.board.turn).capitalize()} to move> " if self.game.ending() is None else "new? > "

    def _move(self, text: str) -> None:
        if self.game.ending() is not None:
            raise IllegalMove("the game is over: `new` begins another, `undo` takes back")
        self.game.play(text)
        if self.game.ending() is not None:
            self._show()
        self._reply()

    def _reply(self) -> None:
        """Make the engine's move, if it is its turn, and show the board."""
        game = self.game
        if game.ending() is None and not game.human_to_move:
            with self._thinking():
                reply = game.reply()
            self._show()
            self._say(f"{self._player.name} plays {reply.san}.{self._told(reply.result)}")
        elif game.ending() is None:
            self._show()
        if (ending := game.ending()) is not None:
            self._say(f"{ending} {game.result()}")

    def _told(self, result: SearchResult) -> str:
        if not self._shows_score:
            return ""
        return f" Its score: {score_view(result.lines[0].value, result.lines[0].mate)}."

    def _show(self) -> None:
        board = self.game.board
        colour = self._console.color_system in _COLOURFUL
        self._console.print()
        self._console.print(
            board_view(board, white_below=self._white_below, ascii_only=self._ascii, colour=colour), highlight=False
        )
        if board.move_stack:
            self._say(moves_view(board))

    def _hint(self, _: str) -> None:
        self._playing()
        with self._thinking():
            result = self.game.think()
        best = result.lines[0]
        self._say(f"{self.game.board.san(best.move)}: {score_view(best.value, best.mate)} for you.")

    def _top(self, _: str) -> None:
        self._playing()
        with self._thinking():
            result = self.game.think(variations=MOVES_SHOWN)
        self._console.print(top_moves(self.game.board, result))

    def _eval(self, rest: str) -> None:
        if rest not in ("on", "off", ""):
            raise IllegalMove("eval takes on or off")
        self._shows_score = not self._shows_score if rest == "" else rest == "on"
        self._say(f"The engine's evaluation is {'shown' if self._shows_score else 'hidden'}.")

    def _undo(self, _: str) -> None:
        if not self.game.undo():
            raise IllegalMove("there is no move to take back")
        self._reply()

    def _go(self, _: str) -> None:
        self._playing()
        self.game.human = not self.game.human
        self._say(f"You play {_name(self.game.human)} now.")
        self._reply()

    def _flip(self, _: str) -> None:
        self._white_below = not self._white_below
        self._show()

    def _nodes(self, rest: str) -> None:
        nodes = int(_number(rest, "nodes", 1, NODES_MAX))
        self.game.level = replace(self.game.level, nodes=nodes)
        self._say(f"{nodes_view(nodes)} a move.")

    def _temperature(self, rest: str) -> None:
        temperature = _number(rest, "temperature", 0, TEMPERATURE_MAX)
        self.game.level = replace(self.game.level, temperature=temperature)
        self._say(f"Temperature {temperature:g}.")

    def _moves(self, _: str) -> None:
        board = self.game.board
        self._say(" ".join(sorted(board.san(move) for move in board.legal_moves)) or "none")

    def _fen(self, _: str) -> None:
        self._say(self.game.board.fen())

    def _board(self, _: str) -> None:
        self._show()

    def _save(self, rest: str) -> None:
        if not rest:
            raise IllegalMove("save takes the name of a PGN file")
        try:
            with Path(rest).expanduser().open("a", encoding="utf-8") as file:
                file.write(self.game.pgn())
        except OSError as error:
            raise OperatorError(f"can't save to {rest}: {error.strerror}") from error
        self._say(f"Saved to {rest}.")

    def _new(self, rest: str) -> None:
        if rest not in ("", "white", "black"):
            raise IllegalMove("new takes white or black, or nothing: you keep your side")
        human = self.game.human if rest == "" else rest == "white"
        self._white_below = human == chess.WHITE
        self.game = PlayGame(
            self._player, human=human, level=self.game.level, random=self._random, start=self._start
        )
        self._reply()

    def _resign(self, _: str) -> None:
        self._playing()
        self.game.resign()
        self._say(f"{self.game.ending()} {self.game.result()}")

    def _help(self, _: str) -> None:
        self._say(HELP)

    def _playing(self) -> None:
        if self.game.ending() is not None:
            raise IllegalMove("the game is over: `new` begins another, `undo` takes back")

    def _thinking(self) -> AbstractContextManager[object]:
        return self._console.status("thinking …") if self._console.is_terminal else nullcontext()

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)


def ask(prompt: str) -> str | None:
    """Return a line from standard input, after a prompt on a terminal; None at its end and at Ctrl-C."""
    try:
        if sys.stdin.isatty():
            return input(prompt)
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None
    except (EOFError, KeyboardInterrupt):
        return None


def _name(colour: chess.Color) -> str:
    return "white" if colour == chess.WHITE else "black"


def _number(text: str, what: str, low: float, high: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not low <= number <= high:
        raise IllegalMove(f"{what} takes a number from {low:g} to {high:,g}")
    return number

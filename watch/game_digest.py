"""A game being worked on, as the board shows it: each ply with its score and the transition made of it.

Transitions follow common/transitions.py, whose formula is not repeated in full here: a test holds the two together.
Pure; loads python-chess and numpy.
"""

from collections.abc import Mapping, Sequence

import chess
import msgspec
import numpy as np

from common.log_lines import LogLine
from common.moves import indices_by_uci
from common.scores import CENTIPAWNS_MAX, CHECKMATED, DRAWN, MATE, expected_score_exact, from_centipawns, from_mate
from common.settings import AgentSettings, Reward, Settings, Side

EVENT = "game"
MAX_PLIES = 2_000
_RESULTS = {"1-0": 1.0, "0-1": 0.0, "1/2-1/2": 0.5}


class PlyTransition(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent learns from one ply."""

    agent: str
    action: int
    """Index of the move: common/moves.py."""
    w: float
    """Expected score of the position, from the agent's side."""
    reward: float
    """For the agent."""
    next_ply: int | None
    """The agent's next decision point; None at the end of the game."""
    terminated: bool
    truncated: bool


class Ply(msgspec.Struct, frozen=True, kw_only=True):
    """One move and the position that it is made in."""

    ply: int
    """From 0."""
    fen: str
    san: str
    uci: str
    score: str
    """Stockfish's evaluation of the position, white's view: +0.34, #3, #-2."""
    expected_white: float
    """Expected score of the position for white, 0 to 1."""
    transition: PlyTransition | None
    """None where no agent learns from it."""


class LastPosition(msgspec.Struct, frozen=True, kw_only=True):
    """The position after the last move."""

    fen: str
    score: str
    expected_white: float


class GameDigest(msgspec.Struct, frozen=True, kw_only=True):
    """One game."""

    unit: int
    game: int
    source: str
    line: int
    result: str
    actor: str
    time: str
    """When it was worked on, ISO 8601."""
    agents: list[str]
    """Those that learn from it."""
    plies: list[Ply]
    final: LastPosition


def digest(line: LogLine, settings: Settings) -> GameDigest:
    """Return the game in a log line; raises ValueError where it is none, or one that can't be played through."""
    try:
        return _digest(line, settings)
    except (ArithmeticError, AssertionError, LookupError) as error:  # what a line says may be anything
        raise ValueError(f"no game that can be played through: {error!r}") from error


def _digest(line: LogLine, settings: Settings) -> GameDigest:
    fields = line.attributes
    moves, words = str(fields.get("moves", "")).split(), str(fields.get("scores", "")).split()
    if len(moves) > MAX_PLIES or len(words) != len(moves) + 1:
        raise ValueError(f"{len(moves)} moves with {len(words)} scores are no game")
    boards = _boards(str(fields.get("start_fen", chess.STARTING_FEN)), moves)
    scores = [_score(word, board) for word, board in zip(words, boards, strict=True)]
    worth = expected_score_exact(np.array(scores, np.int16)).tolist()
    result, agents = str(fields.get("result", "*")), str(fields.get("agents", "")).split()
    learned = _transitions(boards, moves, worth, _RESULTS.get(result), _players(agents, settings), settings.reward)
    return GameDigest(
        unit=_number(fields, "unit"),
        game=_number(fields, "game"),
        source=str(fields.get("source", "")),
        line=_number(fields, "line"),
        result=result,
        actor=line.service,
        time=line.time.isoformat().replace("+00:00", "Z"),
        agents=agents,
        plies=[
            Ply(
                ply=ply, fen=board.fen(), san=board.san(chess.Move.from_uci(move)), uci=move, score=shown(score),
                expected_white=round(expected, 4), transition=transition,
            )
            for ply, (board, move, score, expected, transition) in enumerate(
                zip(boards, moves, scores, worth, learned, strict=False)
            )
        ],
        final=LastPosition(fen=boards[-1].fen(), score=shown(scores[-1]), expected_white=round(worth[-1], 4)),
    )  # fmt: skip


def shown(score: int) -> str:
    """Return a score as people write it, from the same side: +0.34, #3, #-2, and # for checkmate on the board."""
    if abs(score) == MATE:
        return "#"
    if abs(score) > CENTIPAWNS_MAX:
        return f"#{(MATE - abs(score)) * (1 if score > 0 else -1)}"
    return f"{score / 100:+.2f}"


def _boards(start: str, moves: Sequence[str]) -> list[chess.Board]:
    """Return the positions before each move and the one after the last; raises ValueError for an illegal move."""
    board = chess.Board(start)
    boards = [board.copy(stack=False)]
    for move in moves:
        if not (parsed := board.parse_uci(move)):
            raise ValueError(f"{move} is a null move, which no game has")
        board.push(parsed)
        boards.append(board.copy(stack=False))
    return boards


def _score(word: str, board: chess.Board) -> int:
    """Return a score from white's view; where the game is over on the board, the word says no more than that."""
    if board.is_checkmate():
        return CHECKMATED if board.turn else MATE
    if board.is_stalemate():
        return DRAWN
    return from_mate(int(word[1:])) if word.startswith("m") else from_centipawns(int(word))


def _players(names: Sequence[str], settings: Settings) -> dict[Side, AgentSettings]:
    """Return the first agent of each colour that learns from the game."""
    players: dict[Side, AgentSettings] = {}
    for agent in settings.agents:
        if agent.name in names:
            for colour in agent.side.colours:
                players.setdefault(colour, agent)
    return players


def _transitions(
    boards: Sequence[chess.Board],
    moves: Sequence[str],
    worth: Sequence[float],
    outcome: float | None,
    players: Mapping[Side, AgentSettings],
    reward: Reward,
) -> list[PlyTransition | None]:
    """Return the transition of each move; `worth` are expected scores for white, `outcome` z for white."""
    found: list[PlyTransition | None] = []
    for ply, move in enumerate(moves):
        colour = Side.WHITE if boards[ply].turn else Side.BLACK
        agent = players.get(colour)
        last = ply + 2 >= len(moves)
        end = worth[-1] if outcome is None else outcome
        own, following = _for(colour, worth[ply]), _for(colour, end if last else worth[ply + 2])
        paid = following - own if reward is Reward.SHAPED else following * last
        if agent is None:
            found.append(None)
            continue
        found.append(
            PlyTransition(
                agent=agent.name, action=indices_by_uci(colour)[move], w=round(own, 6), reward=round(paid, 6),
                next_ply=None if last else ply + 2, terminated=last and outcome is not None,
                truncated=last and outcome is None,
            )
        )  # fmt: skip
    return found


def _for(colour: Side, expected_white: float) -> float:
    return expected_white if colour is Side.WHITE else 1.0 - expected_white


def _number(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0

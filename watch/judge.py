"""What the agents make of a position: their top moves, by the weights that are in the run directory now.

Each agent of the side to move is asked by itself, by its own file agents/NAME/weights.safetensors, so that nothing
else is needed: no other agent's weights, and nothing that `rookery up` writes. Loads torch at the first question,
not before; one question at a time. Called in a worker thread.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import chess
import msgspec

from common.errors import OperatorError
from common.run_files import WEIGHTS_FILE
from common.settings import AgentSettings, Side

if TYPE_CHECKING:
    from agent.networks import Network
    from agent.player import Judgement

TOP_MOVES = 8
MAX_FEN_CHARACTERS = 100
MAX_JUDGES = 4
"""Agents that are asked about one position; of more, the first of the settings that have weights."""
MAX_NETWORKS = 8
"""Held in memory."""

Stamp = tuple[int, int, int]
"""Change time (ns), inode and size of a file of weights."""


class NoJudge(Exception):
    """There are no weights to judge by; the message is a sentence for the page."""


class TopMove(msgspec.Struct, frozen=True, kw_only=True):
    """One legal move as an agent sees it."""

    uci: str
    san: str
    policy: float
    """π: how likely the agent makes it."""
    prior: float
    """μ: how likely the players of the games make it."""
    q: float
    """Expected score that it gains or (below 0) loses, for the side to move."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A position as one agent sees it."""

    agent: str
    version: int
    """Of the weights."""
    weights_time: float
    """When they were written, seconds since 1970."""
    value: float
    """Expected score of the side to move, 0 to 1."""
    moves: list[TopMove]
    """The best TOP_MOVES by π, the best first."""


class Judgements(msgspec.Struct, frozen=True, kw_only=True):
    """A position as the agents of its side to move see it."""

    fen: str
    side: str
    """The side to move, whose view all is from."""
    agents: list[Judged]
    """MAX_JUDGES at most, in the order of the settings; one at least."""
    without: list[str]
    """Agents of that side that have no weights, or none that can be read."""


class _Loaded(NamedTuple):
    stamp: Stamp
    network: "Network"
    version: int


class Judge:
    """Holds the networks of a run directory, each loaded anew when its file of weights has changed."""

    def __init__(self, directory: Path, agents: Sequence[AgentSettings]) -> None:
        """`directory` is the run's, and `agents` are those of its settings, which say who plays which side."""
        self._directory, self._agents = directory / "agents", tuple(agents)
        self._networks: OrderedDict[str, _Loaded] = OrderedDict()
        self._lock = threading.Lock()

    def judge(self, fen: str) -> Judgements:
        """Return the top moves in a position; raises ValueError for none, NoJudge where no agent can judge it."""
        board = _board(fen)
        side = Side.WHITE if board.turn else Side.BLACK
        with self._lock:
            return self._judgements(board, side)

    def _judgements(self, board: chess.Board, side: Side) -> Judgements:
        found: list[Judged] = []
        troubles: dict[str, str] = {}
        for agent in self._of(side):
            if len(found) == MAX_JUDGES:
                break
            try:
                found.append(self._judged(agent.name, board))
            except NoJudge as error:
                troubles[agent.name] = str(error)
        if not found:
            raise NoJudge("; ".join(list(troubles.values())[:MAX_JUDGES]) or self._nobody(side))
        return Judgements(fen=board.fen(), side=str(side), agents=found, without=list(troubles))

    def _of(self, side: Side) -> list[AgentSettings]:
        return [agent for agent in self._agents if side in agent.side.colours]

    def _nobody(self, side: Side) -> str:
        known = {agent.name for agent in self._agents}
        others = sorted(path.parent.name for path in self._directory.glob(f"*/{WEIGHTS_FILE}"))
        strange = [name for name in others if name not in known][:MAX_JUDGES]
        hint = f"; who plays which side, as {strange[0]} here, the run's --settings tell" if strange else ""
        return f"no agent of this run plays {side}{hint}"

    def _judged(self, name: str, board: chess.Board) -> Judged:
        loaded = self._loaded(name)
        from agent.player import judge

        return _judged(name, board, judge(loaded.network, [board])[0], loaded)

    def _loaded(self, name: str) -> _Loaded:
        path = self._directory / name / WEIGHTS_FILE
        stamp = _stamp(path)
        if stamp is None:
            self._networks.pop(name, None)
            raise NoJudge(f"the agent {name} has no weights yet: let it train first")
        held = self._networks.pop(name, None)
        self._networks[name] = held if held is not None and held.stamp == stamp else _load(path, stamp)
        while len(self._networks) > MAX_NETWORKS:
            self._networks.popitem(last=False)
        return self._networks[name]


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _load(path: Path, stamp: Stamp) -> _Loaded:
    """Load the network in a file of weights; raises NoJudge where it can't be."""
    try:
        import torch

        from agent.loading import network_of
        from agent.weights import load_weights
    except ModuleNotFoundError as error:
        raise NoJudge(f"judging takes {error.name}, which is not here: pip install 'rookery[learner]'") from error
    torch.set_num_threads(1)
    try:
        arrays, about = load_weights(path)
        network = network_of(str(about.get("network")), arrays)
    except (OperatorError, OSError) as error:
        raise NoJudge(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    version = about.get("version")
    return _Loaded(stamp, network, version if isinstance(version, int) else 0)


def _board(fen: str) -> chess.Board:
    if len(fen) > MAX_FEN_CHARACTERS:
        raise ValueError("a FEN is shorter than that")
    board = chess.Board(fen)
    if not board.is_valid():
        raise ValueError("that is no legal position")
    if not any(board.legal_moves):
        raise ValueError("there is no legal move in that position")
    return board


def _judged(name: str, board: chess.Board, judgement: "Judgement", loaded: _Loaded) -> Judged:
    order = sorted(range(len(judgement.moves)), key=lambda index: -float(judgement.policy[index]))
    return Judged(
        agent=name,
        version=loaded.version,
        weights_time=loaded.stamp[0] / 1e9,
        value=round(float(judgement.value), 4),
        moves=[
            TopMove(
                uci=judgement.moves[index].uci(),
                san=board.san(judgement.moves[index]),
                policy=round(float(judgement.policy[index]), 4),
                prior=round(float(judgement.priors[index]), 4),
                q=round(float(judgement.action_values[index]), 4),
            )
            for index in order[:TOP_MOVES]
        ],
    )

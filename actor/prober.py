"""Prober: for a share of a unit's decision points, what each agent itself would play, and what comes of it.

    prober.begin(unit, agents, games)       # after the games are put to the engine
    prober.turn()                           # a piece of thinking, and the engine's answers that have come
    if prober.done(unit):
        probes = prober.take(unit)          # by agent

Owned by the actor's desk, in its one thread. The network thinks in pieces of a few boards, between which the
engine is looked after: it works on what is written ahead to it meanwhile. Two searches make a probe, of the
position after the move and of the one after the reply that the first one expects.

Which positions are probed follows from seed, agent and game number; which moves, also from the weights. Up to
GROUP_MAX probes of one game go to the engine together, the positions after the moves first, then those after the
replies, the hash cleared before either: so their scores follow from these positions alone, in that order. Cleared
before each search they would not depend on each other, but at 100 nodes that takes longer than the search.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import chess
import numpy as np
import numpy.typing as npt

from actor.engine_commands import Line
from actor.games import Game
from actor.judges import Arrays, Judges
from actor.labels import Labels, Searched
from actor.probe import HISTORY_MAX, IllegalReplyError, Probe
from actor.selection import select
from common.settings import AgentSettings, Settings, Side

if TYPE_CHECKING:
    from agent.player import Judgement

log = logging.getLogger(__name__)

BOARDS_AT_ONCE = 32
"""Boards from which a piece of thinking is large enough: it has as many, and fewer than GROUP_MAX more."""

GROUP_MAX = 16
"""Most probes of a game that are put to the engine together."""

UNDER_WAY_MAX = 1024
"""Probes that wait for the engine; beyond them thinking waits, too."""

PROBES_MAX = 65_536
"""Most probes of one agent in one unit."""

BACKLOG_MAX = 4
"""Units to think about, counted for each agent, beyond which no other should be begun."""


@dataclass(frozen=True, slots=True)
class _Pick:
    """A decision point to probe."""

    game: int
    ply: int
    board: chess.Board
    draw: float
    """Uniform in [0, 1): which move is drawn from the policy."""


_Group = list[_Pick]
"""Picks of one game that go to the engine together, at most GROUP_MAX."""


@dataclass(slots=True)
class _Task:
    """One agent's probes of one unit."""

    agent: AgentSettings
    groups: Iterator[_Group]
    thought: bool = False
    """Whether all moves are chosen."""
    under_way: int = 0
    probes: list[Probe] = field(default_factory=list)
    """Those that are done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProberStats:
    """Snapshot of the probing since the start."""

    probes: int
    """Probes that are done."""
    failed: int
    """Probes dropped: the engine died on those of a game, or named no legal reply."""
    without_weights: int
    """Units, counted for each agent, that were not probed because no weights had come."""
    backlog: int
    """Units, counted for each agent, whose moves are not all chosen."""
    under_way: int
    """Probes that wait for the engine."""


class Prober:
    """Probes units. Invariant: a unit begun is done once its moves are chosen and every probe has ended."""

    def __init__(self, settings: Settings, labels: Labels, judges: Judges | None = None) -> None:
        self._seed, self._rate = settings.seed, settings.probe_rate
        self._temperature, self._exploration = settings.probe_temperature, settings.probe_exploration
        self._labels = labels
        self._judges = judges or Judges()
        self._tasks: dict[int, list[_Task]] = {}
        """By unit."""
        self._to_think: deque[_Task] = deque()
        self._asked: dict[int, tuple[_Task, list[Probe]]] = {}
        """The probes that each ticket of the labels is for."""
        self._under_way = 0
        self._probes = self._failed = self._without_weights = 0

    @property
    def thinking(self) -> bool:
        """Whether `turn` has a move to choose now."""
        return bool(self._to_think) and self._under_way < UNDER_WAY_MAX

    @property
    def full(self) -> bool:
        """Whether no other unit should be begun."""
        return len(self._to_think) >= BACKLOG_MAX

    def renew(self, agent: str, version: int, network: str, arrays: Arrays) -> None:
        """Take new weights of `agent`."""
        self._judges.renew(agent, version, network, arrays)

    def begin(self, unit: int, agents: Sequence[AgentSettings], games: Sequence[Game]) -> None:
        """Take the games of a unit to probe for `agents`."""
        tasks = [_Task(agent, self._groups(agent, games)) for agent in agents]
        self._tasks[unit] = tasks
        self._to_think += tasks

    def turn(self) -> None:
        """Take the answers that the labels have, and think for a moment."""
        for searched in self._labels.searched():
            self._take_in(searched)
        if self.thinking:
            self._think(self._to_think[0])

    def done(self, unit: int) -> bool:
        """Whether all probes of `unit` have ended."""
        return all(task.thought and not task.under_way for task in self._tasks[unit])

    def take(self, unit: int) -> dict[str, list[Probe]]:
        """Return the probes of `unit` by agent, and forget it."""
        return {task.agent.name: task.probes for task in self._tasks.pop(unit)}

    def forget(self) -> None:
        """Drop everything that is begun; whoever calls this has the labels forget, too."""
        self._tasks.clear()
        self._to_think.clear()
        self._asked.clear()
        self._under_way = 0

    def stats(self) -> ProberStats:
        """Return the figures so far."""
        return ProberStats(
            probes=self._probes,
            failed=self._failed,
            without_weights=self._without_weights,
            backlog=len(self._to_think),
            under_way=self._under_way,
        )

    def _think(self, task: _Task) -> None:
        """Choose the next few moves of `task`, and put them to the engine."""
        judge = self._judges.latest(task.agent.name)
        groups, boards = self._next_groups(task) if judge is not None else ([], [])
        if judge is None:
            self._without_weights += 1
        elif boards:
            judgements = iter(judge.judge(boards))
            for group in groups:
                self._go_on(task, [self._probe(pick, next(judgements), judge.version) for pick in group])
        if len(boards) < BOARDS_AT_ONCE:
            task.thought = True
            self._to_think.popleft()

    def _next_groups(self, task: _Task) -> tuple[list[_Group], list[chess.Board]]:
        """Return the groups of a piece of thinking, and their boards; fewer than BOARDS_AT_ONCE are the last."""
        groups: list[_Group] = []
        boards: list[chess.Board] = []
        while len(boards) < BOARDS_AT_ONCE and (group := next(task.groups, None)) is not None:
            groups.append(group)
            boards += [pick.board for pick in group]
        return groups, boards

    def _probe(self, pick: _Pick, judgement: "Judgement", version: int) -> Probe:
        move = drawn_move(judgement, self._temperature, self._exploration, pick.draw)
        return Probe(pick.board, move, game=pick.game, ply=pick.ply, version=version)

    def _take_in(self, searched: Searched) -> None:
        task, probes = self._asked.pop(searched.ticket)
        task.under_way -= len(probes)
        self._under_way -= len(probes)
        if searched.scores is None:
            self._failed += len(probes)
            return
        answered = []
        for probe, score, best_move in zip(probes, searched.scores, searched.best_moves, strict=True):
            try:
                probe.answer(score, best_move)
            except IllegalReplyError as error:
                log.warning("probe dropped", extra={"reason": str(error)})
                self._failed += 1
            else:
                answered.append(probe)
        self._go_on(task, answered)

    def _go_on(self, task: _Task, probes: Sequence[Probe]) -> None:
        """Put what is next of `probes` to the engine, and keep those that are done."""
        asked: list[Probe] = []
        lines: list[Line] = []
        for probe in probes:
            line = probe.line
            if line is None:
                task.probes.append(probe)
                self._probes += 1
            else:
                asked.append(probe)
                lines.append(line)
        if asked:
            self._asked[self._labels.search(lines)] = (task, asked)
            task.under_way += len(asked)
            self._under_way += len(asked)

    def _groups(self, agent: AgentSettings, games: Sequence[Game]) -> Iterator[_Group]:
        left = PROBES_MAX
        for index in np.flatnonzero(select(games, agent.where)).tolist():
            game = games[index]
            picked, draws = picked_plies(self._seed, agent, game, self._rate)
            picks = islice(_boards(game, picked, draws), left)
            while group := list(islice(picks, GROUP_MAX)):
                left -= len(group)
                yield group


def picked_plies(
    seed: int, agent: AgentSettings, game: Game, rate: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return which of a game's n plies are probed, bool [n], and a uniform draw for each, float64 [n].

    They follow from seed, agent and game number alone: neither from the unit nor from the other games.
    """
    digest = hashlib.sha256(f"{seed}/probes/{agent.name}/{game.number}".encode()).digest()
    picks, draws = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big"))).random((2, len(game)))
    white = np.arange(len(game)) % 2 == (0 if game.start_white_to_move else 1)
    own = np.ones(len(game), np.bool_) if agent.side is Side.BOTH else white == (agent.side is Side.WHITE)
    return (picks < rate) & own, draws


def drawn_move(judgement: "Judgement", temperature: float, exploration: float, draw: float) -> chess.Move:
    """Return the move at `draw`, from [0, 1): the first `exploration` of that range is shared by all legal moves.

    The rest is the judgement's policy^(1 / temperature), or the best move's where the temperature is 0.
    """
    if draw < exploration:
        return judgement.moves[int(draw / exploration * len(judgement.moves))]
    draw = (draw - exploration) / (1.0 - exploration)
    if temperature == 0.0:
        return judgement.best
    with np.errstate(divide="ignore"):
        logits = np.log(judgement.policy.astype(np.float64)) / temperature
    shares = np.cumsum(np.exp(logits - logits.max()))
    place = int(np.searchsorted(shares, draw * shares[-1], side="right"))
    return judgement.moves[min(place, len(judgement.moves) - 1)]


def _boards(game: Game, picked: npt.NDArray[np.bool_], draws: npt.NDArray[np.float64]) -> Iterator[_Pick]:
    """Yield the decision points picked, each on a board with as much history as counts."""
    plies: list[int] = np.flatnonzero(picked).tolist()
    board = chess.Board() if game.start_fen is None else chess.Board(game.start_fen)
    made = 0
    for ply in plies:
        for uci in game.moves_uci[made:ply]:
            board.push(chess.Move.from_uci(uci))
        made = ply
        history = min(board.halfmove_clock, HISTORY_MAX)
        yield _Pick(game.number, ply, board.copy(stack=history if history else False), float(draws[ply]))

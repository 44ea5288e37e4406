"""A leased unit from its games to its batches: what an actor and a sequential run do alike.

    desk = Desk(settings, labels)
    desk.begin(unit, agents, raw_games)       # replay, and put the games to the labels
    for finished in desk.poll(timeout_s):     # scores come in; whole units come out as batches
        ...
    desk.renew(agent, version, network, arrays)   # weights came: probes are of the latest

Owned by one thread. Knows neither link nor lease.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from actor.engine import Engine
from actor.evaluations import Evaluations
from actor.game_sample import INTERVAL_S, record_game
from actor.games import Game, read_games
from actor.judges import Arrays, load_libraries
from actor.labels import LabelFault, Labelled, Labels, Origin
from actor.prober import Prober
from actor.selection import validate
from actor.transitions import make_batch
from common.batch import Batch
from common.messages import RawGame
from common.rejections import MAX_DETAIL, Rejection, RejectionReason
from common.settings import AgentSettings, EvaluationSource, Settings
from common.tracing import record_span, span, tracing

_REASONS = {
    LabelFault.NO_EVALUATION: RejectionReason.NO_EVALUATION,
    LabelFault.ENGINE_DIED: RejectionReason.ENGINE_DIED,
}


@dataclass(slots=True)
class UnitInHand:
    """A unit that is begun: its games, and the scores that have come."""

    unit: int
    agents: tuple[AgentSettings, ...]
    raw_games: Sequence[RawGame]
    games: list[Game]
    rejections: list[Rejection]
    scores: dict[int, npt.NDArray[np.int16]] = field(default_factory=dict)
    """By index into `games`."""
    awaited: int = 0
    """Games without scores yet."""
    asked_ns: int = 0
    """When the engine was given the games, nanoseconds since 1970."""
    answered_ns: int = 0
    """When its last answer came; 0 where it has given none."""


@dataclass(frozen=True, slots=True)
class FinishedUnit:
    """A unit that is done: one batch for each agent."""

    unit: int
    batches: tuple[Batch, ...]
    games: int
    rejections: tuple[Rejection, ...]
    engine: str = ""
    """What the evaluations come from, with the limit of a search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeskStats:
    """Snapshot of the work since the start."""

    positions: int
    """Positions evaluated or looked up; grows with every answer of the engine."""
    engine_positions: int
    engine_nodes: int
    """Nodes that the engine searched, as far as it says them."""
    cached_games: int
    games: int
    rejected: int
    transitions: int
    probes: int
    """Probes that are done."""
    probes_failed: int
    """Probes that the engine gave no answer to, or no legal reply."""
    units_unprobed: int
    """Units, counted for each agent, that were not probed because no weights had come."""
    units: int
    engine_busy_s: float
    engine_restarts: int


class Desk:
    """Works on units. Invariant: a unit comes out once, after every one of its games has scores or a reason.

    With a prober, every one of its probes has then ended, too.
    """

    def __init__(
        self, labels: Labels, engine: Engine | None, source: EvaluationSource, prober: Prober | None = None
    ) -> None:
        self._labels, self._engine, self._prober = labels, engine, prober
        self._comments = source is not EvaluationSource.ENGINE
        comments = ["[%eval] comments"] if self._comments else []
        self._origin = ", else ".join([*comments, *([engine.label] if engine is not None else [])])
        self._in_hand: dict[int, UnitInHand] = {}
        self._games: dict[int, tuple[UnitInHand, int]] = {}
        """The unit and the index of each game that waits for scores, by ticket."""
        self._scored: list[UnitInHand] = []
        """Units of which every game is done with."""
        self._looked_up = 0
        self._engine_free_ns = 0
        """When the engine gave the last answer of the unit before, nanoseconds since 1970."""
        self._sampled_s = -INTERVAL_S
        self._done_games = self._rejected = self._transitions = self._units = 0

    @property
    def hungry(self) -> bool:
        """Whether to begin another unit, so that the engine never idles."""
        return self._labels.hungry and (self._prober is None or not self._prober.full)

    @property
    def units(self) -> list[int]:
        """Units that are begun and not out."""
        return list(self._in_hand)

    @property
    def engine_pid(self) -> int | None:
        """Process id of the engine, if there is one and it is up."""
        return self._engine.pid if self._engine is not None else None

    def begin(self, unit: int, agents: Sequence[AgentSettings], raw_games: Sequence[RawGame]) -> None:
        """Replay a unit's games and have their positions evaluated."""
        with span("read", unit=unit):
            games, rejections = read_games(raw_games, comments=self._comments)
        work = UnitInHand(unit, tuple(agents), raw_games, games, rejections, awaited=len(games))
        self._in_hand[unit] = work
        work.asked_ns = time.time_ns()
        for index, ticket in enumerate(self._labels.submit(games)):
            self._games[ticket] = (work, index)
        if not games:
            self._scored.append(work)
        if self._prober is not None:
            self._prober.begin(unit, agents, games)

    def renew(self, agent: str, version: int, network: str, arrays: Arrays) -> None:
        """Take new weights of `agent`, from which its next probes come."""
        if self._prober is not None:
            self._prober.renew(agent, version, network, arrays)

    def poll(self, timeout_s: float) -> Iterator[FinishedUnit]:
        """Take in scores for at most `timeout_s`, and see to the probes; yield the units that are done with."""
        thinking = self._prober is not None and self._prober.thinking
        for labelled in self._labels.poll(0.0 if thinking or self._ready() else timeout_s):
            self._take(labelled)
        if self._prober is not None:
            self._prober.turn()
        for work in self._ready():
            self._scored.remove(work)
            yield self._finish(work)

    def _take(self, labelled: Labelled) -> None:
        work, index = self._games.pop(labelled.ticket)
        if labelled.origin is Origin.ENGINE:
            work.answered_ns = time.time_ns()
        if labelled.scores is not None:
            work.scores[index] = labelled.scores
            if labelled.origin is not Origin.ENGINE:
                self._looked_up += len(labelled.scores)
        else:
            assert labelled.fault is not None
            raw = _raw_of(work, work.games[index].number)
            work.rejections.append(
                Rejection(
                    number=raw.number,
                    source=raw.source,
                    line=raw.line,
                    reason=_REASONS[labelled.fault],
                    detail=labelled.detail[:MAX_DETAIL],
                )
            )
        work.awaited -= 1
        if work.awaited == 0:
            self._scored.append(work)

    def _ready(self) -> list[UnitInHand]:
        """Return the units that are done with."""
        return [work for work in self._scored if self._prober is None or self._prober.done(work.unit)]

    def forget(self) -> None:
        """Drop everything that is begun and start the engine anew."""
        self._in_hand.clear()
        self._games.clear()
        self._scored.clear()
        self._labels.forget()
        if self._prober is not None:
            self._prober.forget()

    def stats(self) -> DeskStats:
        """Return the figures so far."""
        labels = self._labels.stats()
        engine = self._engine.stats() if self._engine is not None else None
        engine_positions = engine.positions if engine else 0
        prober = self._prober.stats() if self._prober is not None else None
        return DeskStats(
            positions=engine_positions + self._looked_up,
            engine_positions=engine_positions,
            engine_nodes=engine.nodes if engine else 0,
            cached_games=labels.stored_games,
            games=self._done_games,
            rejected=self._rejected,
            transitions=self._transitions,
            probes=prober.probes if prober else 0,
            probes_failed=prober.failed if prober else 0,
            units_unprobed=prober.without_weights if prober else 0,
            units=self._units,
            engine_busy_s=engine.busy_s if engine else 0.0,
            engine_restarts=engine.restarts if engine else 0,
        )

    def _finish(self, work: UnitInHand) -> FinishedUnit:
        del self._in_hand[work.unit]
        scored = sorted(work.scores)
        games = [work.games[index] for index in scored]
        scores = [work.scores[index] for index in scored]
        rejections = sorted(work.rejections, key=lambda rejection: rejection.number)
        probes = self._prober.take(work.unit) if self._prober is not None else {}
        self._record_engine(work, probed=any(probes.values()))
        with span("batch", unit=work.unit):
            batches = tuple(
                make_batch(work.unit, agent, games, scores, rejections, probes.get(agent.name, ()))
                for agent in work.agents
            )
        self._sample(work, scored)
        self._units += 1
        self._done_games += len(work.raw_games)
        self._rejected += len(rejections)
        self._transitions += sum(len(batch) for batch in batches)
        return FinishedUnit(work.unit, batches, len(work.raw_games), tuple(rejections), self._origin)

    def _record_engine(self, work: UnitInHand, *, probed: bool) -> None:
        """Record when the engine was at a unit: from its first question, or the end of the one before."""
        answered_ns = time.time_ns() if probed else work.answered_ns
        if answered_ns:
            begin_ns = min(max(work.asked_ns, self._engine_free_ns), answered_ns)
            record_span("engine", begin_ns, answered_ns, unit=work.unit)
            self._engine_free_ns = answered_ns

    def _sample(self, work: UnitInHand, scored: Sequence[int]) -> None:
        """Record one game of a unit, now and then."""
        now_s = time.monotonic()
        if tracing() and scored and now_s - self._sampled_s >= INTERVAL_S:
            index = scored[0]
            game, names = work.games[index], [agent.name for agent in work.agents]
            if record_game(work.unit, names, _raw_of(work, game.number), game, work.scores[index]):
                self._sampled_s = now_s


@contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    """Start the engine and open the store of evaluations, as the settings say; close them after use.

    Raises EngineNotUsable, StoreError and, for a query that can't be used, SettingsError.
    """
    for agent in settings.agents:
        if agent.where is not None:
            validate(agent.where)
    if settings.probe_rate > 0:
        load_libraries()
    with ExitStack() as stack:
        engine = store = None
        if settings.evals is not EvaluationSource.PGN:
            engine = stack.enter_context(Engine(settings.engine, nodes=settings.nodes))
            store = stack.enter_context(Evaluations.open(settings.evaluations_path, engine.fingerprint))
        labels = Labels(settings.evals, engine, store)
        prober = Prober(settings, labels) if settings.probe_rate > 0 else None
        yield Desk(labels, engine, settings.evals, prober)


def _raw_of(work: UnitInHand, number: int) -> RawGame:
    return next(raw for raw in work.raw_games if raw.number == number)

"""The whole pipeline in one process, without sockets: the same core, the same stores, the same weights.

The reference that every distributed run must equal bit by bit, and the simplest way to debug.
"""

import logging
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from actor.work import Desk, open_desk
from agent.weights import load_weights, save_weights
from broker.units import UnitReader
from common.batch import Batch, encode
from common.errors import StoreDamaged, StoreError
from common.intervals import IntervalSet
from common.settings import AgentSettings, Settings
from common.words import Unit
from learner.directory import AgentDirectory
from learner.origins import Origin
from learner.session import TrainingSession
from learner.store import ExperienceStore
from learner.trainer import Publication
from learner.unit_record import UnitRecord

log = logging.getLogger(__name__)

POLL_S = 0.02
PROGRESS_INTERVAL_S = 5.0


class AgentRun:
    """One agent's store and training in this process."""

    def __init__(self, settings: Settings, agent: AgentSettings, desk: Desk | None = None) -> None:
        """The weights that it publishes go to `desk`, which probes with them; those of a run before, at once."""
        self.agent, self._desk = agent, desk
        self._settings = settings
        self._directory = AgentDirectory.of(settings.directory, agent.name)
        self._open(mend=False)
        self._renew_as_before()

    def _open(self, *, mend: bool) -> None:
        self.store = ExperienceStore(self._directory.experience, self.agent, mend=mend)
        try:
            self.stored = IntervalSet((interval.first, interval.last) for interval in self.store.intervals())
            self.session = TrainingSession(self._settings, self.agent, self.store, self._publish)
        except BaseException as error:
            self.store.close()
            if isinstance(error, StoreDamaged) and not mend:
                self._open(mend=True)
            else:
                raise

    def put(self, batch: Batch, engine: str = "") -> None:
        """Store a batch, synced to disk; `engine` is what its evaluations came from."""
        origin = Origin(actor="sequential", host=socket.gethostname(), engine=engine)
        self.store.put_many([UnitRecord.of(batch, encode(batch), origin)])
        self.stored.add(batch.unit)

    def mend(self) -> None:
        """Mend the store, and go on from the last checkpoint: `stored` may have shrunk."""
        self.session.save()
        self.store.close()
        self._open(mend=True)

    def train_one(self) -> bool:
        """Train on the next unit if it is stored."""
        if not self.session.ready and not self.session.resume(self.store):
            return False
        batch = self.store.batch(self.session.trainer.next_unit)
        if batch is None:
            return False
        self.session.train(batch)
        return True

    def close(self) -> None:
        """Close the store. Saves nothing: where training broke down, the last checkpoint is the good one."""
        try:
            self.session.settle()
        finally:
            self.store.close()

    def _renew_as_before(self) -> None:
        if self._desk is None or not (self.session.trained_units and self._directory.weights.exists()):
            return
        try:
            arrays, about = load_weights(self._directory.weights)
            self._desk.renew(self.agent.name, int(about["version"]), self._settings.network, arrays)
        except (StoreError, KeyError, ValueError) as error:
            log.warning("weights not read", extra={"agent": self.agent.name, "reason": str(error)})

    def _publish(self, publication: Publication) -> None:
        if self._desk is not None:
            self._desk.renew(self.agent.name, publication.version, self._settings.network, publication.weights)
        about: dict[str, str | int] = {"agent": self.agent.name, "network": self._settings.network}
        about |= {"version": publication.version, "step": publication.step}
        try:
            save_weights(self._directory.weights, publication.weights, about)
        except OSError as error:
            raise StoreError(f"{self._directory.weights}: can't be written: {error.strerror}") from error


class SequentialRun:
    """Runs everything in turn; units are replayed ahead of the training by as little as keeps Stockfish busy."""

    def __init__(self, settings: Settings, stopping: Callable[[], bool], tell: Callable[[str], None]) -> None:
        self._settings, self._stopping, self._tell = settings, stopping, tell
        self._reader = UnitReader(
            settings.games, games_per_unit=settings.games_per_unit, limit_games=settings.limit_games
        )
        self._next = 0
        self._mended_at: list[int] | None = None
        """Units trained by each agent when a store was last found damaged."""
        self._told_s = time.monotonic()
        self.engine_nodes = 0
        """Nodes that the engine has searched, once the run has ended."""

    @property
    def units_total(self) -> int | None:
        """Units in all; None until the sources have been read to their end."""
        return self._reader.units_total

    @property
    def games_total(self) -> int | None:
        """Games in all; None until the sources have been read to their end."""
        return self._reader.games_total

    def run(self) -> bool:
        """Run until every agent is trained on every unit; False if told to stop before."""
        with ExitStack() as stack:
            desk = stack.enter_context(open_desk(self._settings))
            agents = [
                stack.enter_context(closing(AgentRun(self._settings, agent, desk)))
                for agent in self._settings.agents
            ]
            stack.callback(self._note_nodes, desk)
            finished = None
            while finished is None:
                try:
                    finished = self._work(desk, agents)
                except StoreDamaged as damage:
                    self._mend(agents, damage)
                    desk.forget()
            for agent in agents:
                agent.session.save()
        return finished

    def _note_nodes(self, desk: Desk) -> None:
        self.engine_nodes = desk.stats().engine_nodes

    def _work(self, desk: Desk, agents: list[AgentRun]) -> bool:
        while not self._stopping():
            self._begin(desk, agents)
            for finished in desk.poll(POLL_S) if desk.units else ():
                for batch in finished.batches:
                    next(agent for agent in agents if agent.agent.name == batch.agent).put(batch, finished.engine)
            trained = [agent.train_one() for agent in agents]
            self._progress(agents)
            if not any(trained) and not desk.units and self._next == self.units_total:
                for agent in agents:
                    agent.session.finish(agent.store)
                if all(agent.session.finished for agent in agents):
                    return True
                time.sleep(POLL_S)  # a disk that is full has refused a checkpoint
        return False

    def _mend(self, agents: list[AgentRun], damage: StoreDamaged) -> None:
        """Have all stores mended, one of which was found damaged; raises `damage` where that has not helped."""
        trained = [agent.session.trained_units for agent in agents]
        if trained == self._mended_at:
            raise damage
        self._mended_at = trained
        log.warning("store damaged", extra={"reason": str(damage)})
        for agent in agents:
            agent.mend()
        self._next = 0

    def _begin(self, desk: Desk, agents: list[AgentRun]) -> None:
        """Begin units while the engine can take more and the training is not too far behind."""
        end = min(agent.session.trained_units for agent in agents) + self._settings.max_units_ahead
        while desk.hungry and self._next < end and self._next != self.units_total:
            missing = [agent.agent for agent in agents if self._next not in agent.stored]
            raw = self._reader.get(Unit(self._next))
            if raw is None:
                return
            if missing:
                desk.begin(self._next, missing, raw.games)
            self._next += 1

    def _progress(self, agents: list[AgentRun]) -> None:
        if time.monotonic() - self._told_s < PROGRESS_INTERVAL_S:
            return
        self._told_s = time.monotonic()
        total = self.units_total if self.units_total is not None else "?"
        parts = [
            f"{run.agent.name} {run.session.trainer.next_unit}/{total} units, step {run.session.trainer.step}"
            for run in agents
        ]
        self._tell("; ".join(parts))

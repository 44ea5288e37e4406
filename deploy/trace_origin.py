"""Tracing back: from the number of a unit, a game or a transition to all that its run knows of it.

Reads the agents' experience stores, their metrics, and the sources themselves; writes nothing.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import chess
import msgspec
import numpy as np

from common.batch import GAME_SIDES, Batch
from common.errors import RunDirectoryError
from common.moves import to_uci
from common.probes import NO_REPLY
from common.run_files import settings_of_run
from common.settings import AgentSettings, Side
from common.transitions import END, Transitions, probe_transitions, transitions
from deploy.run_directory import Origin, RunDirectory, origin_decoder
from deploy.trace_facts import (
    Facts,
    GameFacts,
    GameOfAgent,
    ProbeFacts,
    StoredFacts,
    TrainedFacts,
    TransitionFacts,
    UnitFacts,
)
from deploy.trace_sources import find_game
from deploy.trace_what import What, WhatGame, WhatTransition, WhatUnit
from learner.directory import AgentDirectory
from learner.metrics import MetricsLine, read_metrics
from learner.store import ExperienceReader
from learner.trainer import held_out_rows


class Tracer:
    """Answers questions about one run."""

    def __init__(
        self, directory: Path, tell: Callable[[int], None] = lambda _: None, *, settings_file: Path | None = None
    ) -> None:
        """`tell` hears how many games were passed over in looking for one; `settings_file` are the services'
        settings, for a run that keeps none of its own.

        Raises RunDirectoryError where `directory` is no run's, SettingsError for a mistake in `settings_file`.
        """
        self._directory, self._tell = directory, tell
        self._settings = settings_of_run(directory, settings_file)
        self._origin: Origin | None = None
        with suppress(OSError, msgspec.MsgspecError):
            self._origin = origin_decoder.decode(RunDirectory(directory).origin_file.read_bytes())
        self._batches: dict[tuple[str, int], Batch | None] = {}

    def trace(self, what: What) -> Facts:
        """Return all that is known of `what`.

        Raises RunDirectoryError where the run has no such unit, game, agent or transition, StoreError where a store
        can't be read.
        """
        match what:
            case WhatUnit(unit=unit):
                return self.unit(unit)
            case WhatGame(game=game):
                return self.game(game)
            case WhatTransition(agent=agent, game=game, ply=ply):
                return self.transition(agent, game, ply)

    def unit(self, unit: int) -> UnitFacts:
        """Return what is known of a unit; see `trace`."""
        stored = {agent.name: self._batch(agent, unit) for agent in self._settings.agents}
        held = [batch for batch in stored.values() if batch is not None]
        if not held:
            raise RunDirectoryError(f"{self._directory}: no agent has unit {unit}{self._units_there()}")
        first = unit * self._settings.games_per_unit
        return UnitFacts(
            unit=unit,
            first_game=first,
            last_game=first + held[0].games_read - 1,
            agents=[
                self._stored(agent, batch)
                for agent in self._settings.agents
                if (batch := stored[agent.name]) is not None
            ],
            missing=[name for name, batch in stored.items() if batch is None],
        )

    def game(self, game: int) -> GameFacts:
        """Return what is known of a game; see `trace`."""
        unit = self.unit(game // self._settings.games_per_unit)
        if unit.last_game is not None and game > unit.last_game:
            raise RunDirectoryError(f"{self._directory}: there is no game {game}; the last one is {unit.last_game}")
        source, note = find_game(list(self._settings.games), self._origin, game, self._tell)
        return GameFacts(
            game=game,
            source=source,
            note=note,
            unit=unit,
            agents=[
                self._of_agent(agent, batch, game)
                for agent in self._settings.agents
                if (batch := self._batch(agent, unit.unit)) is not None
            ],
        )

    def transition(self, name: str, game: int, ply: int) -> TransitionFacts | GameFacts:
        """Return what is known of a transition; of a game that the agent does not use, what is of the game."""
        agent = self._settings.agent(name)
        facts = self.game(game)
        of_agent = next((one for one in facts.agents if one.agent == name), None)
        if of_agent is None:
            raise RunDirectoryError(f"{self._directory}: {name} does not have unit {facts.unit.unit} yet")
        batch = self._batch(agent, facts.unit.unit)
        if batch is None or of_agent.fate in ("rejected", "unselected"):
            return facts
        rows = transitions(batch, self._settings.reward)
        found = np.flatnonzero((rows.game_numbers == game) & (rows.plies == ply))
        if not len(found):
            there = ", ".join(map(str, of_agent.plies[:3])) + (
                f" … {of_agent.plies[-1]}" if of_agent.plies[3:] else ""
            )
            raise RunDirectoryError(
                f"{self._directory}: {name} has no transition at ply {ply} of game {game}; it has {there or 'none'}"
            )
        return self._transition(batch, rows, int(found[0]), of_agent, facts)

    def _transition(
        self, batch: Batch, rows: Transitions, row: int, of_agent: GameOfAgent, facts: GameFacts
    ) -> TransitionFacts:
        side = GAME_SIDES[rows.sides[row]]
        fen = rows.positions.to_fen(row, side, int(rows.fullmoves[row]))
        uci = to_uci(int(rows.actions[row]), side)
        following = int(rows.next_rows[row])
        outcome = float(rows.outcomes[row])
        return TransitionFacts(
            agent=batch.agent,
            game=int(rows.game_numbers[row]),
            ply=int(rows.plies[row]),
            side=side.value,
            fen=fen,
            move=chess.Board(fen).san(chess.Move.from_uci(uci)),
            uci=uci,
            score=int(batch.scores[row]),
            expected_score=float(rows.expected_scores[row]),
            reward=float(rows.rewards[row]),
            next_ply=int(rows.plies[following]) if following != END else None,
            next_expected_score=float(rows.expected_scores[following]) if following != END else None,
            terminated=bool(rows.terminated[row]),
            truncated=bool(rows.truncated[row]),
            outcome=None if np.isnan(outcome) else outcome,
            kept_out=of_agent.fate == "kept out of training",
            probe=self._probe(batch, row, chess.Board(fen), side),
            of_game=facts,
        )

    def _probe(self, batch: Batch, row: int, board: chess.Board, side: Side) -> ProbeFacts | None:
        probes = probe_transitions(batch, self._settings.reward)
        found = np.flatnonzero(probes.rows == row)
        if not len(found):
            return None
        place = int(found[0])
        other = Side.BLACK if side is Side.WHITE else Side.WHITE
        move = chess.Move.from_uci(to_uci(int(probes.actions[place]), side))
        san = board.san(move)
        board.push(move)
        reply = int(batch.probes.replies[place])
        return ProbeFacts(
            move=san,
            version=int(probes.versions[place]),
            reply=None if reply == NO_REPLY else board.san(chess.Move.from_uci(to_uci(reply, other))),
            reward=float(probes.rewards[place]),
            expected_score=float(probes.next_expected_scores[place]),
        )

    def _of_agent(self, agent: AgentSettings, batch: Batch, game: int) -> GameOfAgent:
        """Return what an agent has of a game that is in a unit of its store."""
        rejection = next((one for one in batch.rejections if one.number == game), None)
        if rejection is not None:
            why = f"{rejection.reason.value}: {rejection.detail}"
            return GameOfAgent(agent=agent.name, fate="rejected", why=why)
        if game not in batch.game_numbers.tolist():
            return GameOfAgent(agent=agent.name, fate="unselected", why=f"the agent takes only {agent.where}")
        rows = transitions(batch, self._settings.reward)
        mine = rows.game_numbers == game
        kept_out = held_out_rows(rows, self._settings.held_out, self._settings.seed)[mine].any()
        outcomes = rows.outcomes[mine]
        return GameOfAgent(
            agent=agent.name,
            fate="kept out of training" if kept_out else "used",
            plies=sorted(rows.plies[mine].tolist()),
            outcome=float(outcomes[0]) if len(outcomes) and not np.isnan(outcomes[0]) else None,
        )

    def _stored(self, agent: AgentSettings, batch: Batch) -> StoredFacts:
        directory = AgentDirectory.of(self._directory, agent.name)
        with ExperienceReader(directory.experience, agent) as store:
            found = store.provenance(batch.unit)
        origin = found.origin if found is not None else None
        return StoredFacts(
            agent=agent.name,
            side=agent.side.value,
            transitions=len(batch),
            probes=len(batch.probes),
            games_used=batch.games_used,
            games_unselected=batch.unselected,
            rejected=batch.rejected,
            stored=_moment(found.stored_ns) if found is not None else "",
            actor=(origin.actor or None) if origin is not None else None,
            host=(origin.host or None) if origin is not None else None,
            engine=(origin.engine or None) if origin is not None else None,
            trained=_trained(read_metrics(directory.metrics), batch.unit),
        )

    def _batch(self, agent: AgentSettings, unit: int) -> Batch | None:
        key = agent.name, unit
        if key not in self._batches:
            path = AgentDirectory.of(self._directory, agent.name).experience
            if path.exists():
                with ExperienceReader(path, agent) as store:
                    self._batches[key] = store.batch(unit)
            else:
                self._batches[key] = None
        return self._batches[key]

    def _units_there(self) -> str:
        """Return, for an error, which units there are."""
        there = []
        for agent in self._settings.agents:
            path = AgentDirectory.of(self._directory, agent.name).experience
            if path.exists():
                with ExperienceReader(path, agent) as store:
                    intervals = store.intervals()
                spans = ", ".join(f"{one.first} to {one.last}" for one in intervals[:3]) or "none"
                there.append(f"{agent.name} has {spans}{' …' if intervals[3:] else ''}")
        return f": {'; '.join(there)}" if there else ": there is no experience store"


def _trained(lines: list[MetricsLine], unit: int) -> TrainedFacts | None:
    """Return the interval in which a unit was trained on, be it of transitions or of rejected games alone.

    It is the first line with the unit: one of a checkpoint after the last unit comes later.
    """
    line = next((line for line in lines if line.first_unit <= unit <= line.last_unit), None)
    if line is None:
        return None
    return TrainedFacts(
        first_unit=line.first_unit,
        last_unit=line.last_unit,
        step=line.step,
        time=_moment(line.time_ns) if line.time_ns is not None else None,
    )


def _moment(time_ns: int) -> str:
    moment = datetime.fromtimestamp(time_ns / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

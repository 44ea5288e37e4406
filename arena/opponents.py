"""Opponents: any UCI engine as a mover, several processes of it thinking at once.

    with UciMover("stockfish", limit=chess.engine.Limit(nodes=1000), options={"Skill Level": 3}) as mover:
        moves = mover.choose(boards)

Each move is searched for from an empty hash (`ucinewgame`), since a process serves many games in turn: the same
board then gets the same answer, whoever asked before, unless the engine itself is random (Stockfish's weaker
levels are, by the clock). Owned by one thread.
"""

import asyncio
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

import chess
import chess.engine

from arena.movers import NO_MOVE, Choice
from common.errors import EngineDied, EngineNotUsable

logger = logging.getLogger(__name__)

MATE_CENTIPAWNS = 10_000
"""Score of a mate; one in n moves is n less."""

TIMEOUT_S = 60.0
"""How long an engine may take, beyond a limit of time, before it is killed and its game lost."""

START_TIMEOUT_S = 10.0
END_TIMEOUT_S = 2.0
STARTS_MAX = 3
"""Starts of an engine that may fail one after another."""

OptionValue = str | int | bool


class UciMover:
    """Plays the moves of a UCI engine; a context manager that ends its processes.

    Raises EngineNotUsable at once when the engine can't be started or has no such option, and EngineDied when it
    can't be started again in the middle of things.
    """

    def __init__(
        self,
        command: str,
        *,
        limit: chess.engine.Limit,
        options: Mapping[str, OptionValue] | None = None,
        processes: int | None = None,
        name: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._runner = asyncio.Runner()
        self._processes = [
            _Process(command, limit, dict(options or {}), timeout_s)
            for _ in range(processes or os.cpu_count() or 1)
        ]
        try:
            self._runner.run(self._processes[0].start())
        except BaseException:
            self.close()
            raise
        self.name = name if name is not None else self._processes[0].engine_name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def restarts(self) -> int:
        """How often a process had to be started again."""
        return sum(process.restarts for process in self._processes)

    def choose(self, boards: Sequence[chess.Board]) -> list[chess.Move]:
        """Return the engine's moves, NO_MOVE where it gave none."""
        return [choice.move for choice in self.explain(boards)]

    def explain(self, boards: Sequence[chess.Board]) -> list[Choice]:
        """Return the engine's moves and scores; a choice without a move says what the engine did instead."""
        choices: list[Choice | None] = [None] * len(boards)

        async def serve(number: int, process: _Process) -> None:
            for index in range(number, len(boards), len(self._processes)):
                choices[index] = await process.choose(boards[index])

        async def serve_all() -> None:
            await asyncio.gather(*(serve(number, process) for number, process in enumerate(self._processes)))

        self._runner.run(serve_all())
        return [choice for choice in choices if choice is not None]

    def close(self) -> None:
        """End the processes."""

        async def stop_all() -> None:
            await asyncio.gather(*(process.stop() for process in self._processes))

        try:
            self._runner.run(stop_all())
        finally:
            self._runner.close()


class _Process:
    """One process of the engine, started when it is needed, and again when it failed."""

    def __init__(
        self, command: str, limit: chess.engine.Limit, options: dict[str, OptionValue], timeout_s: float
    ) -> None:
        self._command, self._limit, self._options = command, limit, options
        self._timeout_s = timeout_s + (limit.time or 0.0)
        self._engine: chess.engine.UciProtocol | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._failed_starts = 0
        self._starts = 0

    @property
    def restarts(self) -> int:
        return max(0, self._starts - 1)

    @property
    def engine_name(self) -> str:
        return self._engine.id.get("name", self._command) if self._engine else self._command

    async def choose(self, board: chess.Board) -> Choice:
        engine = await self._running()
        if engine is None:
            return _failed("engine doesn't start")
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await engine.play(board, self._limit, game=object(), info=chess.engine.INFO_SCORE)
        except TimeoutError:
            return await self._lost(board, "no move in time")
        except chess.engine.EngineTerminatedError as error:
            return await self._lost(board, f"engine died: {error}")
        except chess.engine.EngineError as error:
            return await self._lost(board, f"illegal answer: {error}")
        if result.move is None:
            return await self._lost(board, "no move")
        score = result.info.get("score")
        return Choice(
            move=result.move, score_cp=score.relative.score(mate_score=MATE_CENTIPAWNS) if score else None
        )

    async def start(self) -> None:
        """Start the engine and set its options; raise EngineNotUsable if that fails."""
        self._starts += 1
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                # A group of its own: Ctrl-C is for us, who end it in order.
                self._transport, self._engine = await chess.engine.UciProtocol.popen(
                    shlex.split(self._command), setpgrp=True
                )
                await self._engine.initialize()
                await self._engine.configure(self._known(self._engine))
        except EngineNotUsable:
            await self.stop()
            raise
        except (OSError, ValueError, TimeoutError, chess.engine.EngineError) as error:
            await self.stop()
            raise EngineNotUsable(f"{self._command}: {_why(error)}") from error

    def _known(self, engine: chess.engine.UciProtocol) -> dict[str, OptionValue]:
        """Return the options by the engine's own spelling of their names."""
        spelled = {name.lower(): name for name in engine.options}
        missing = [name for name in self._options if name.lower() not in spelled]
        if missing:
            raise EngineNotUsable(f"{self._command}: the engine has no option {missing[0]!r}")
        return {spelled[name.lower()]: value for name, value in self._options.items()}

    async def stop(self) -> None:
        """Ask the engine to end, and end it."""
        engine, transport = self._engine, self._transport
        self._engine = self._transport = None
        if engine is None or transport is None:
            return
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await engine.quit()
        except (TimeoutError, chess.engine.EngineError, OSError):
            await _kill(engine, transport)
        transport.close()

    async def _running(self) -> chess.engine.UciProtocol | None:
        if self._engine is None:
            try:
                await self.start()
                self._failed_starts = 0
            except EngineNotUsable as error:
                self._failed_starts += 1
                logger.warning("engine-not-started error=%s", error)
                if self._failed_starts >= STARTS_MAX:
                    raise EngineDied(f"{error}: it can't be started again") from error
        return self._engine

    async def _lost(self, board: chess.Board, why: str) -> Choice:
        logger.warning("engine-failed engine=%s fen=%s why=%s", self._command, board.fen(), why)
        if self._engine is not None and self._transport is not None:
            await _kill(self._engine, self._transport)
        self._engine = self._transport = None
        return _failed(why)


def _failed(why: str) -> Choice:
    return Choice(move=NO_MOVE, failure=why)


async def _kill(engine: chess.engine.UciProtocol, transport: asyncio.SubprocessTransport) -> None:
    """End the process at once, and wait for it so that the loop may close."""
    with suppress(ProcessLookupError):
        transport.kill()
    with suppress(TimeoutError, chess.engine.EngineError):
        async with asyncio.timeout(END_TIMEOUT_S):
            await asyncio.shield(engine.returncode)
    transport.close()


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "doesn't speak UCI: no answer"
    if isinstance(error, chess.engine.EngineTerminatedError):
        return "doesn't speak UCI: it ended"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)

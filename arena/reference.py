"""Reference: what Stockfish makes of every legal move of a position, to measure other choices by.

One engine with one thread, its hash cleared before each position, and a limit of nodes: the same scores each time.
"""

import shutil
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import chess
import chess.engine
import numpy as np
import numpy.typing as npt

from common.errors import EngineDied, EngineNotUsable
from common.scores import expected_score_exact, from_centipawns, from_mate

_ELSEWHERE = "/usr/games:/usr/local/bin:/usr/bin"
_ANSWER_S = 120.0


class Reference:
    """A running engine; a context manager that ends it."""

    def __init__(self, engine: str, nodes: int) -> None:
        """Start the engine of that name or path; raises EngineNotUsable."""
        path = shutil.which(engine) or (shutil.which(engine, path=_ELSEWHERE) if "/" not in engine else None)
        if path is None:
            raise EngineNotUsable(f"{engine}: no such engine; install Stockfish or give its path with --engine")
        try:
            # A process group of its own: Ctrl-C is for us, who then let it finish.
            self._engine = chess.engine.SimpleEngine.popen_uci(path, timeout=_ANSWER_S, setpgrp=True)
        except (OSError, chess.engine.EngineError, TimeoutError) as error:
            raise EngineNotUsable(f"{path}: no UCI engine: {error}") from error
        self.nodes = nodes
        self.name = str(self._engine.id.get("name", engine))
        wanted = {"Threads": 1, "Hash": 16}
        self._engine.configure({name: value for name, value in wanted.items() if name in self._engine.options})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    def expected_scores(self, board: chess.Board, moves: Sequence[chess.Move]) -> npt.NDArray[np.float64] | None:
        """Return the expected score for the side to move of each of the k legal `moves`, [k], in one search.

        None if the engine did not get round to all of them. Raises EngineDied if it dies or hangs.
        """
        try:
            lines = self._engine.analyse(
                board, chess.engine.Limit(nodes=self.nodes), multipv=len(moves), game=object()
            )
        except (chess.engine.EngineError, TimeoutError) as error:
            raise EngineDied(f"{self.name} gave up on {board.fen()}: {error}") from error
        scores = {
            line["pv"][0]: _score(line["score"].pov(board.turn))
            for line in lines
            if line.get("pv") and "score" in line
        }
        if any(move not in scores for move in moves):
            return None
        worth: npt.NDArray[np.float64] = expected_score_exact(np.array([scores[move] for move in moves], np.int16))
        return worth


def kendall_tau_b(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> float | None:
    """Return Kendall's τ-b of two scores of the same k moves, from -1 to 1; None where one has all moves level.

    M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945), p. 239.
    """
    upper = np.triu_indices(len(ours), 1)
    a = np.sign(ours[:, None] - ours[None, :])[upper]
    b = np.sign(theirs[:, None] - theirs[None, :])[upper]
    untied = float(np.count_nonzero(a)) * float(np.count_nonzero(b))
    return float(a @ b) / untied**0.5 if untied else None


def _score(score: chess.engine.Score) -> int:
    mate = score.mate()
    if mate is None:
        return from_centipawns(score.score() or 0)
    return from_mate(mate) if mate or not isinstance(score, chess.engine.MateGivenType) else from_mate(0)

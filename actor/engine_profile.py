"""Engine profile: what an engine says of itself and how fast it searches here.

Called by `rookery doctor`. Talks to a process of its own, for seconds; loads neither numpy nor chess, so that it
works wherever an engine does.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from actor.engine_process import EngineProcess, find_engine
from common.errors import EngineNotUsable

SEARCH_S = 0.25
"""Seconds of each timed search; there is one for each of POSITIONS, and a first one that doesn't count."""

POSITIONS = (
    "r1bqkbnr/pppp1ppp/2n5/1B2p3/4P3/5N2/PPPP1PPP/RNBQK2R b KQkq - 3 3",
    "r1bq1rk1/pp2bppp/2n1pn2/2pp4/3P1B2/2PBPN2/PP1N1PPP/R2QK2R w KQ - 4 8",
    "r4rk1/1bqnbppp/p2ppn2/1p6/3NPP2/1BN1B3/PPP1Q1PP/R4RK1 w - - 4 13",
    "8/5pk1/3p2p1/2pPn2p/1pP1P2P/1P2N1P1/5PK1/8 w - - 2 38",
)
"""An opening, two middlegames and an ending."""

_NETWORK = re.compile(r"^option name EvalFile\S* type string default (\S+)", re.MULTILINE)
_OUTPUT_MAX = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineProfile:
    """One engine on this host."""

    path: str
    name: str
    """Name and version, as it says them."""
    networks: tuple[str, ...]
    """Files of its networks; none for an engine without."""
    compiler_answer: str
    """What it says to `compiler`: lines of text from Stockfish, next to nothing from others."""
    nodes_per_s: float
    """Nodes a second of one thread with 16 MB of hash."""


def profile(name: str, *, handshake_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> EngineProfile:
    """Start the engine `name` (a path or a command), ask and time it; raise EngineNotUsable if it is none."""
    path = find_engine(name)
    with EngineProcess(path) as process:
        dialogue = _Dialogue(process, path, clock)
        greeting = dialogue.ask("uci", r"^uciok$", handshake_s)
        said = re.search(r"^id name (.+?)$", greeting, re.MULTILINE)
        dialogue.ask(
            "setoption name Threads value 1\nsetoption name Hash value 16\nisready", r"^readyok$", handshake_s
        )
        rates = [dialogue.search(fen) for fen in (POSITIONS[0], *POSITIONS)]
        compiler_answer = dialogue.ask("compiler\nisready", r"^readyok$", handshake_s)
        return EngineProfile(
            path=path,
            name=said[1] if said else "nameless engine",
            networks=tuple(_NETWORK.findall(greeting)),
            compiler_answer=compiler_answer,
            nodes_per_s=sum(nodes for nodes, _ in rates[1:]) / max(1e-9, sum(took_s for _, took_s in rates[1:])),
        )


class _Dialogue:
    """Asks one question at a time and waits for the line that ends the answer."""

    def __init__(self, process: EngineProcess, path: str, clock: Callable[[], float]) -> None:
        self._process, self._path, self._clock = process, path, clock

    def ask(self, question: str, last_line: str, timeout_s: float) -> str:
        """Return the answer, up to the line that matches `last_line`."""
        end_s = self._clock() + timeout_s
        self._process.write(f"{question}\n".encode())
        output, pattern = b"", re.compile(last_line, re.MULTILINE)
        while True:
            output += self._process.read()
            text = output.decode("utf-8", "replace").replace("\r", "")
            if pattern.search(text):
                return text
            if self._process.ended:
                raise EngineNotUsable(
                    f"{self._path}: is not a UCI engine: it ends when told {question.split()[0]!r}"
                )
            left_s = end_s - self._clock()
            if left_s <= 0 or len(output) > _OUTPUT_MAX:
                raise EngineNotUsable(f"{self._path}: is not a UCI engine: no answer to {question.split()[0]!r}")
            self._process.write()
            self._process.wait_for_output(left_s)

    def search(self, fen: str) -> tuple[int, float]:
        """Search a position for SEARCH_S; return the nodes and the seconds that it took."""
        begun_s = self._clock()
        # Bounded in nodes too, for engines that don't know movetime.
        go = f"go movetime {round(SEARCH_S * 1000)} nodes 10000000"
        answer = self.ask(f"position fen {fen}\n{go}", r"^bestmove .*\n", 30.0)
        took_s = self._clock() - begun_s
        nodes = re.findall(r"^info .*\bnodes (\d{1,18})\b", answer, re.MULTILINE)
        return int(nodes[-1]) if nodes else 0, took_s

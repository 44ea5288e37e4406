"""Engine handshake: a fresh engine brought to where it takes games, and what it says of itself.

Called by the engine alone, each time that it starts its process.
"""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from actor.engine_process import EngineProcess
from common.errors import EngineDied, EngineNotUsable

_OPTIONS = {"Threads": "1", "Hash": "16"}
_HANDSHAKE_BYTES_MAX = 1 << 20
_ADVICE = "; give another with --engine"
_NETWORK = re.compile(r"^option name EvalFile\S* type string default (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """What an engine says of itself."""

    name: str
    network: str
    options: tuple[str, ...]


def shake_hands(process: EngineProcess, path: str, timeout_s: float, clock: Callable[[], float]) -> EngineIdentity:
    """Bring a fresh engine to where it takes games; raise EngineNotUsable if it doesn't get there in time."""
    end = clock() + timeout_s
    greeting = _read_until(process, path, b"uci\n", "uciok", end, clock)
    name = re.search(r"^id name (.{1,200})", greeting, re.MULTILINE)
    known = set(re.findall(r"^option name (.+?) type ", greeting, re.MULTILINE))
    options = tuple(f"{option}={value}" for option, value in _OPTIONS.items() if option in known)
    commands = "".join(f"setoption name {option.replace('=', ' value ')}\n" for option in options)
    _read_until(process, path, f"{commands}isready\n".encode(), "readyok", end, clock)
    return EngineIdentity(
        (name[1].strip() if name else "") or "nameless engine",
        " ".join(_NETWORK.findall(greeting)) or "no network",
        options,
    )


def _read_until(
    process: EngineProcess, path: str, command: bytes, word: str, end: float, clock: Callable[[], float]
) -> str:
    """Write `command` and return the lines up to the one that is `word`."""
    process.write(command)
    output = b""
    while True:
        output += process.read()
        text = output.decode("utf-8", "replace").replace("\r", "")
        if f"\n{word}\n" in f"\n{text}":
            return text
        if process.ended:
            ending = process.ending_signal()
            if ending in (signal.SIGKILL, signal.SIGTERM):  # somebody else's doing, not the program's
                raise EngineDied(f"{path}: was ended by {ending.name} while it started")
            why = (
                f"{ending.name} ends it, as it does a build for another CPU"
                if ending
                else f"it ends without saying {word!r}"
            )
            raise EngineNotUsable(f"{path}: is not a UCI engine: {why}{_ADVICE}")
        if len(output) > _HANDSHAKE_BYTES_MAX:
            raise EngineNotUsable(f"{path}: is not a UCI engine: it talks without ever saying {word!r}{_ADVICE}")
        left = end - clock()
        if left <= 0:
            raise EngineNotUsable(f"{path}: is not a UCI engine: it doesn't say {word!r} in time{_ADVICE}")
        process.write()
        process.wait_for_output(left)

"""Options: what `setoption` of the UCI protocol can set, with what `uci` says of each.

Called by the engine. A value that is none of an option's is refused with a ValueError that says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an option is named and what it takes."""

    name: str
    kind: str
    low: int = 0
    high: int = 0


def _spin(name: str, default: int, low: int, high: int) -> int:
    result: int = field(default=default, metadata={"kind": _Kind(name, "spin", low, high)})
    return result


def _check(name: str, default: bool) -> bool:
    result: bool = field(default=default, metadata={"kind": _Kind(name, "check")})
    return result


def _number(name: str, default: float, high: int) -> float:
    result: float = field(default=default, metadata={"kind": _Kind(name, "string", 0, high)})
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The settings of an engine."""

    hash_mb: int = _spin("Hash", 256, 1, 65_536)
    """Memory of the tree in MB; a search that fills it ends, or waits for `stop`."""
    threads: int = _spin("Threads", 1, 1, 256)
    """Threads of the network."""
    multi_pv: int = _spin("MultiPV", 1, 1, 500)
    """Moves that are told of."""
    nodes: int = _spin("Nodes", 0, 0, LARGEST)
    """Most nodes of a move on the clock; 0: as many as time allows, 1: the network alone."""
    temperature: float = _number("Temperature", 0.0, 100)
    """0 plays the best move, 1 each as often as the search went there, more is more random."""
    seed: int = _spin("Seed", 0, 0, LARGEST)
    """Of the random numbers that a temperature needs; 0: another one each time."""
    overhead_ms: int = _spin("Move Overhead", 30, 0, 10_000)
    """Time that passes unseen between the engine and the clock."""
    ponder: bool = _check("Ponder", False)
    """Whether the GUI may let the engine think in its opponent's time."""
    show_wdl: bool = _check("UCI_ShowWDL", False)
    """Whether chances of a win, a draw and a loss are told."""

    def lines(self) -> Iterator[str]:
        """Yield what `uci` says of the options; the values now set are their defaults."""
        for attribute, kind in _kinds():
            value = getattr(self, attribute)
            shown = str(value).lower() if kind.kind == "check" else f"{value:g}" if kind.kind == "string" else value
            limits = f" min {kind.low} max {kind.high}" if kind.kind == "spin" else ""
            yield f"option name {kind.name} type {kind.kind} default {shown}{limits}"

    def with_value(self, name: str, value: str) -> "Options":
        """Return the options with one of them set; case and spaces in `name` count for nothing.

        Raises ValueError when there is no such option, or `value` is none of its values.
        """
        for attribute, kind in _kinds():
            if _plain(kind.name) == _plain(name):
                changed: dict[str, Any] = {attribute: _parse(kind, value)}
                return replace(self, **changed)
        raise ValueError(f"no option {name!r}")


def _kinds() -> Iterator[tuple[str, _Kind]]:
    for option in fields(Options):
        yield option.name, option.metadata["kind"]


def _plain(name: str) -> str:
    return "".join(name.lower().split())


def _parse(kind: _Kind, value: str) -> int | float | bool:
    text = value.strip().lower()
    if kind.kind == "check":
        if text not in ("true", "false"):
            raise ValueError(f"{kind.name} is true or false, not {value!r}")
        return text == "true"
    try:
        number = int(text) if kind.kind == "spin" else float(text)
    except ValueError:
        raise ValueError(f"{kind.name} takes a number, not {value!r}") from None
    if not kind.low <= number <= kind.high:
        raise ValueError(f"{kind.name} is from {kind.low} to {kind.high}, not {value}")
    return number

"""Names of movers on the command line, and the movers they stand for.

    random                              any legal move; seed=N
    material                            takes what it can; seed=N
    stockfish:skill=3,nodes=1000        Stockfish, by skill (0-20) or elo (1320-3190), and any of its UCI options
    uci:PROGRAM,nodes=1000              any UCI engine; the program may have arguments
    PATH                                a player: a run directory, a checkpoint or a weights file
    policy:PATH,temperature=0.5         the same, its moves drawn at a temperature; careful=true: it mates where
                                        it can, and makes no drawing move while it thinks itself better
    prior:PATH                          what people would most likely play: a behavioural clone
    one-ply:PATH                        the best value after one move
    search:PATH,nodes=200               a search by the player's network

Engines take nodes=N, depth=N or movetime=SECONDS (1,000 nodes unless told otherwise) and processes=N.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import chess.engine
import msgspec

from agent.loading import load_player
from agent.player import Player
from arena.movers import MaterialGreedy, Mover, OnePlyMover, PolicyMover, PriorMover, RandomMover, SearchMover
from arena.opponents import OptionValue, UciMover
from arena.options_text import near, read_options, split_options
from common.errors import SettingsError
from common.run_files import WEIGHTS_FILE

DEFAULT_NODES = 1000

_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
_Above = Annotated[float, msgspec.Meta(gt=0)]


class SeedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of movers that draw."""

    seed: int | None = None


class NoOptions(msgspec.Struct, frozen=True):
    """No options."""


class PlayerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of all movers with a network."""

    tau: _Above | None = None
    """Temperature between prior and Q; None: the player's own."""


class PolicyOptions(PlayerOptions, frozen=True, kw_only=True):
    """Options of the policy."""

    temperature: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    careful: bool = False
    """Whether it knows what ends a game."""
    seed: int | None = None


class SearchOptions(PlayerOptions, frozen=True, kw_only=True):
    """Options of the search."""

    nodes: _AtLeastOne = 200


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of engines that aren't the engine's own."""

    nodes: _AtLeastOne | None = None
    depth: _AtLeastOne | None = None
    movetime: _Above | None = None
    """Seconds."""
    processes: _AtLeastOne | None = None
    skill: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    """Stockfish's Skill Level."""
    elo: _AtLeastOne | None = None
    """What UCI_LimitStrength limits it to."""

    def engine_options(self) -> dict[str, OptionValue]:
        """Return the UCI options that skill and elo stand for."""
        options: dict[str, OptionValue] = {}
        if self.skill is not None:
            options["Skill Level"] = self.skill
        if self.elo is not None:
            options |= {"UCI_LimitStrength": True, "UCI_Elo": self.elo}
        return options

    def words(self, default_nodes: int) -> list[str]:
        """Return what stands in the engine's name."""
        nodes = self.nodes or (None if self.depth or self.movetime else default_nodes)
        parts = (
            ("skill {}", self.skill), ("elo {}", self.elo), ("{} nodes", nodes), ("depth {}", self.depth),
            ("{:g}s", self.movetime),
        )  # fmt: skip
        return [text.format(value) for text, value in parts if value is not None]


def open_mover(text: str, stack: ExitStack, *, seed: int = 0) -> Mover:
    """Return the mover that `text` stands for; what it holds open is closed with `stack`.

    `seed` is used where the text gives none. Raises SettingsError for a text that stands for nothing,
    EngineNotUsable for an engine that doesn't start, and what loading a player raises.
    """
    kind, colon, rest = text.partition(":")
    if kind in _PLAIN:
        return _PLAIN[kind](rest, text, stack, seed)
    if colon and kind in _WITH_PATH:
        path, _, options = rest.partition(",")
        if not path.strip():
            raise SettingsError(f"{text}: what stands after {kind}: is the path")
        return _WITH_PATH[kind](path.strip(), options, text, stack, seed)
    if not text.strip() or not Path(text).exists():
        known = (*_PLAIN, *(f"{name}:PATH" for name in _WITH_PATH))
        raise SettingsError(
            f"{text or repr(text)}: no such file or directory, and no player of that name{near(kind, known)}"
        )
    return _policy(text, "", text, stack, seed)


def _random(options: str, text: str, stack: ExitStack, seed: int) -> Mover:
    del stack
    return RandomMover(_seed(options, text, seed))


def _material(options: str, text: str, stack: ExitStack, seed: int) -> Mover:
    del stack
    return MaterialGreedy(_seed(options, text, seed))


def _seed(options: str, text: str, seed: int) -> int:
    given = read_options(options, SeedOptions, text).seed
    return seed if given is None else given


def _stockfish(options: str, text: str, stack: ExitStack, seed: int) -> Mover:
    del seed
    path = shutil.which("stockfish") or shutil.which("stockfish", path="/usr/games:/usr/local/bin") or "stockfish"
    return _engine(path, options, text, stack, "Stockfish")


def _uci(path: str, options: str, text: str, stack: ExitStack, seed: int) -> Mover:
    del seed
    return _engine(path, options, text, stack, None)


def _engine(command: str, options: str, text: str, stack: ExitStack, name: str | None) -> Mover:
    given = split_options(options, text)
    ours = {field.name for field in msgspec.structs.fields(EngineOptions)} & given.keys()
    limits = read_options(",".join(f"{key}={given[key]}" for key in ours), EngineOptions, text)
    theirs = {key: value for key, value in given.items() if key not in ours}
    limited = limits.nodes or limits.depth or limits.movetime
    mover = UciMover(
        command,
        limit=chess.engine.Limit(
            nodes=limits.nodes if limited else DEFAULT_NODES, depth=limits.depth, time=limits.movetime
        ),
        options={**theirs, **limits.engine_options()},
        processes=limits.processes,
    )
    stack.enter_context(mover)
    mover.name = " ".join(
        (name or mover.name, *limits.words(DEFAULT_NODES), *(f"{k}={v}" for k, v in theirs.items()))
    )
    return mover


def _policy(path: str, options: str, text: str, stack: ExitStack, seed: int) -> Mover:
    del stack
    given = read_options(options, PolicyOptions, text)
    drawn = f" temperature {given.temperature:g}" if given.temperature else ""
    return PolicyMover(
        _player(path, given.tau),
        given.temperature,
        seed if given.seed is None else given.seed,
        name=f"{_name(path)}{_tau(given)}{drawn}{' careful' if given.careful else ''}",
        careful=given.careful,
    )


def _prior(path: str, options: str, text: str, stack: ExitStack, seed: int) -> Mover:
    del stack, seed
    read_options(options, NoOptions, text)
    return PriorMover(_player(path, None), name=f"prior of {_name(path)}")


def _one_ply(path: str, options: str, text: str, stack: ExitStack, seed: int) -> Mover:
    del stack, seed
    read_options(options, NoOptions, text)
    return OnePlyMover(_player(path, None), name=f"one-ply of {_name(path)}")


def _search(path: str, options: str, text: str, stack: ExitStack, seed: int) -> Mover:
    del stack, seed
    given = read_options(options, SearchOptions, text)
    return SearchMover(
        _player(path, given.tau), given.nodes, name=f"{_name(path)}{_tau(given)} {given.nodes} nodes"
    )


def _player(path: str, tau: float | None) -> Player:
    return load_player(Path(path), tau=tau)


def _name(path: str) -> str:
    """Return what tells a player from another: the end of its path."""
    whole = Path(path).absolute()
    if whole.name.startswith("step-"):
        return f"{whole.parent.name}/{whole.name}"
    return whole.parent.name if whole.name == WEIGHTS_FILE else whole.name.removesuffix(".safetensors")


def _tau(options: PlayerOptions) -> str:
    return f" tau {options.tau:g}" if options.tau is not None else ""


_PLAIN: dict[str, Callable[[str, str, ExitStack, int], Mover]] = {
    "random": _random,
    "material": _material,
    "stockfish": _stockfish,
}
_WITH_PATH: dict[str, Callable[[str, str, str, ExitStack, int], Mover]] = {
    "uci": _uci,
    "policy": _policy,
    "prior": _prior,
    "one-ply": _one_ply,
    "search": _search,
}

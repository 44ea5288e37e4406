"""The one settings object that every service and command shares, and where its values come from.

Owns each setting's name, type, range, default and help; default < TOML file < environment < flag.
Resolved once, in a command; nothing reads the environment at import.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from common.errors import SettingsError

ENVIRONMENT_PREFIX = "ROOKERY_"
_PATH_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
"""A step in msgspec's path to a value: a field or an index."""
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*)`")
_MISSING_FIELD = re.compile(r"missing required field `(.*)`")
_PATTERN_OF_CHOICES = re.compile(r"\^\(([^()]*)\)\\Z")
"""A pattern that lists a few values."""
_TYPE = re.compile(r"`([^`]*)`")
_TYPES = {
    "int": "a whole number", "int | null": "a whole number", "float": "a number", "bool": "true or false",
    "str": "text", "str | null": "text", "array": "a list", "object": "a table",
}  # fmt: skip
"""What an operator calls msgspec's types."""
NAME_OF_AGENT = "up to 63 of a-z, 0-9, _ and -, beginning with a letter or a digit"
"""What an agent's name can be, in words."""


class Side(StrEnum):
    """The colour of the pieces that an agent plays; of a position's side to move it is WHITE or BLACK."""

    WHITE = "white"
    BLACK = "black"
    BOTH = "both"
    """One agent learns the moves of both colours: the board is turned, so one network serves both."""

    @property
    def colours(self) -> tuple["Side", ...]:
        """The colours that the agent plays, white first."""
        return (Side.WHITE, Side.BLACK) if self is Side.BOTH else (self,)


class Reward(StrEnum):
    """What a transition pays: steps of the expected score, or the result at the end."""

    SHAPED = "shaped"
    OUTCOME = "outcome"


class Sampling(StrEnum):
    """How transitions are drawn from the replay buffer: each as often, or each distinct position as often."""

    DISTINCT = "distinct"
    FREQUENCY = "frequency"


class Objective(StrEnum):
    """What a network is trained to do: all of it, or, for comparison, to imitate moves or to value positions."""

    SARSA = "sarsa"
    CLONING = "cloning"
    VALUE = "value"


class EvaluationSource(StrEnum):
    """Where evaluations come from: Stockfish, `[%eval]` comments, or the comment where there is one."""

    ENGINE = "engine"
    PGN = "pgn"
    AUTO = "auto"


class Layer(StrEnum):
    """What can set a setting; each wins over those before it."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agent: its name, the side it plays, and which games it learns from."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}\Z")]
    side: Side
    where: str | None = None
    """A pandas query over the game headers, such as `WhiteElo > 2200`; None takes every game."""


DEFAULT_AGENTS = (AgentSettings(name="white", side=Side.WHITE), AgentSettings(name="black", side=Side.BLACK))


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting of a run; each field's name is its TOML key, `ROOKERY_` name and flag."""

    # What is learned, from what. These decide the weights: a run directory keeps them for good.
    games: Annotated[tuple[str, ...], Meta(description="PGN files (.pgn, .zst, .gz, .bz2) in order")] = ()
    limit_games: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="stop after this many games")] = None
    games_per_unit: Annotated[
        int, Meta(ge=1, le=4096, description="games in a unit, the grain of leasing and storage")
    ] = 16
    agents: tuple[AgentSettings, ...] = DEFAULT_AGENTS
    nodes: Annotated[int, Meta(ge=1, le=1_000_000_000, description="engine nodes per position")] = 1000
    evals: Annotated[
        EvaluationSource, Meta(description="evaluations from the engine, from [%eval] comments, or auto")
    ] = EvaluationSource.ENGINE
    probe_rate: Annotated[
        float,
        Meta(ge=0.0, le=1.0, description="share of positions in which the agent's own move is tried and evaluated"),
    ] = 0.0
    probe_temperature: Annotated[
        float, Meta(ge=0.0, le=100.0, description="a probe's move is drawn from its policy^(1/T); 0 takes the best")
    ] = 1.0
    probe_exploration: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of probes whose move is any legal one, each as likely")
    ] = 0.4
    reward: Annotated[Reward, Meta(description="shaped by expected score, or the outcome alone")] = Reward.SHAPED
    discount: Annotated[float, Meta(ge=0.0, le=1.0, description="discount factor gamma")] = 0.0
    network: Annotated[str, Meta(description="what is trained: mlp, resnet, transformer or table")] = "mlp"
    samples_per_transition: Annotated[
        float, Meta(gt=0.0, le=1000.0, description="replay samples drawn per transition trained on")
    ] = 4.0
    learning_rate: Annotated[float, Meta(gt=0.0, le=10.0, description="AdamW's step size")] = 2e-3
    cooldown: Annotated[
        float, Meta(ge=0.0, le=10.0, description="steps after the last unit, per step before, with a falling rate")
    ] = 0.25
    batch_size: Annotated[int, Meta(ge=1, le=65536, description="samples per gradient step")] = 512
    buffer_size: Annotated[int, Meta(ge=1, le=10**9, description="transitions in the replay buffer")] = 3_000_000
    sampling: Annotated[Sampling, Meta(description="draw each distinct position as often, or by frequency")] = (
        Sampling.DISTINCT
    )
    probe_share: Annotated[
        float, Meta(ge=0.0, le=10.0, description="probes drawn per sample of a move that was played")
    ] = 0.5
    max_version_lag: Annotated[
        int, Meta(ge=0, description="drop probes of weights this many versions older than the learner's")
    ] = 100
    held_out: Annotated[
        float, Meta(ge=0.0, lt=1.0, description="share of games kept out of training, to measure it by")
    ] = 0.01
    publish_every: Annotated[int, Meta(ge=1, description="gradient steps between published weights")] = 200
    seed: Annotated[int, Meta(ge=0, le=2**53, description="seed of every random choice")] = 0

    # Where and how it runs. These can change from one start to the next.
    run: Annotated[str, Meta(description="run directory")] = "runs/default"
    actors: Annotated[int, Meta(ge=1, le=4096, description="actor processes that `up` starts")] = 2
    engine: Annotated[str, Meta(description="path or name of the UCI engine")] = "stockfish"
    device: Annotated[
        str, Meta(pattern=r"^(auto|cpu|cuda|cuda:\d+|round-robin)\Z", description="torch device of learners")
    ] = "auto"
    checkpoint_every: Annotated[int, Meta(ge=1, description="gradient steps between checkpoints")] = 1000
    keep_checkpoints: Annotated[int, Meta(ge=1, description="newest checkpoints kept")] = 3
    max_units_ahead: Annotated[
        int, Meta(ge=1, le=1_000_000, description="units leased ahead of the slowest learner")
    ] = 64
    lease_timeout_s: Annotated[
        float, Meta(gt=0.0, description="seconds without progress after which a lease runs out")
    ] = 60.0
    transport: Annotated[
        str, Meta(description="zmq; nats: on a server that `up` starts; nats://HOST:PORT[,…], tls://…: a cluster")
    ] = "zmq"
    namespace: Annotated[str, Meta(description="the run's name on a NATS cluster, which can serve several")] = (
        "rookery"
    )
    replicas: Annotated[int, Meta(ge=1, le=5, description="servers of a NATS cluster that keep each message")] = 1
    broker: Annotated[str, Meta(description="host name or address of the broker")] = "127.0.0.1"
    bind: Annotated[str, Meta(description="address that the broker listens on")] = "127.0.0.1"
    base_port: Annotated[int, Meta(ge=1, le=65528, description="first of the broker's seven consecutive ports")] = (
        5750
    )
    keys: Annotated[
        str | None, Meta(description="directory of CURVE keys; needed off loopback (see `rookery keys`)")
    ] = None
    insecure: Annotated[
        bool, Meta(description="off loopback, let everybody in, unencrypted, where no keys are given")
    ] = False
    operator: Annotated[str, Meta(description="name of the key that status and orders are given with")] = "operator"
    evaluations: Annotated[
        str | None, Meta(description="store of evaluations (default: evaluations.db in the run directory)")
    ] = None
    log_level: Annotated[
        str, Meta(pattern=r"^(debug|info|warning|error)\Z", description="least severe level logged")
    ] = "info"
    log_files: Annotated[bool, Meta(description="also one plain log file per service")] = False
    trace: Annotated[
        bool, Meta(description="log what each process does when, and games, for timeline and board")
    ] = True
    tensorboard: Annotated[bool, Meta(description="also write each agent's metrics for TensorBoard")] = True
    sequential: Annotated[bool, Meta(description="one process, no sockets; same weights")] = False

    @property
    def directory(self) -> Path:
        """The run directory."""
        return Path(self.run)

    @property
    def evaluations_path(self) -> Path:
        """The file of the evaluation store."""
        return Path(self.evaluations) if self.evaluations else self.directory / "evaluations.db"

    def agent(self, name: str) -> AgentSettings:
        """Return the agent called `name`; raise SettingsError, naming the known ones, if there is none."""
        for agent in self.agents:
            if agent.name == name:
                return agent
        known = [agent.name for agent in self.agents]
        hint = _nearest(name, known)
        raise SettingsError(f"no agent is called {name!r}; the settings have: {', '.join(known)}{hint}")


#: Settings that decide the final weights: a run directory refuses to go on with others.
IDENTITY = (
    "limit_games", "games_per_unit", "agents", "nodes", "evals", "reward", "discount", "network",
    "samples_per_transition", "learning_rate", "batch_size", "buffer_size", "publish_every", "seed",
    "cooldown", "sampling", "held_out", "probe_rate", "probe_temperature", "probe_share", "max_version_lag",
    "probe_exploration",
)  # fmt: skip


def resolve(file: Path | None, flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings from defaults, `file`, the environment and `flags`, later ones winning.

    `flags` maps field names to values, None meaning not given. Raises SettingsError with one line that
    names the offending setting, where it stands and, for an unknown one, the nearest known one.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for _, layer, place in _layers(file, flags, environment):
        values |= layer
        places |= {name: place(name) for name in layer}
    return convert(values, places)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the value of a setting comes from."""

    layer: Layer = Layer.DEFAULT
    place: str | None = None
    """The file and key, the variable, or the flag; None for a default."""


def origins(
    file: Path | None, flags: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> dict[str, Origin]:
    """Return where `resolve`, given the same, has the value of each setting from."""
    found = {name: Origin() for name in Settings.__struct_fields__}
    for kind, layer, place in _layers(file, flags, environment):
        found |= {name: Origin(layer=kind, place=place(name)) for name in layer}
    return found


def _layers(
    file: Path | None, flags: Mapping[str, Any], environment: Mapping[str, str] | None
) -> Iterator[tuple[Layer, Mapping[str, Any], Callable[[str], str]]]:
    """Yield what each layer over the defaults sets, and how a setting is spelt there; later ones win."""
    if file is not None:
        yield Layer.FILE, _read_toml(file), lambda name: f"{file}: {name}"
    variables = _read_environment(os.environ if environment is None else environment)
    yield Layer.ENVIRONMENT, variables, _variable
    yield Layer.FLAG, {name: value for name, value in flags.items() if value is not None}, _flag


def to_toml(settings: Settings) -> str:
    """Return `settings` as TOML text, one key a line, agents as tables, each with its help as a comment."""
    lines = []
    for field in msgspec.structs.fields(Settings):
        if field.name == "agents":
            continue
        value = getattr(settings, field.name)
        help_text = help_of(field.name)
        key = f"{field.name} = {toml_value(value)}" if value is not None else f"# {field.name} ="
        lines.append(f"{key}  # {help_text}" if help_text else key)
    for agent in settings.agents:
        lines += ["", "[[agents]]", f"name = {toml_value(agent.name)}", f"side = {toml_value(agent.side)}"]
        if agent.where is not None:
            lines.append(f"where = {toml_value(agent.where)}")
    return "\n".join(lines) + "\n"


def identity(settings: Settings) -> dict[str, str]:
    """Return the settings in IDENTITY, each as TOML text: what has to be the same everywhere in a run."""
    return {name: toml_value(msgspec.to_builtins(getattr(settings, name))) for name in IDENTITY}


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Return one phrase for each setting in which two identities differ."""
    return [
        f"{name} is {theirs.get(name, 'not set')} there, {ours.get(name, 'not set')} here"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]


def help_of(name: str) -> str:
    """Return the one-line help of the setting called `name`."""
    return next((meta.description for meta in _metas(name) if meta.description), "")


def _metas(name: str) -> list[Meta]:
    hint = get_type_hints(Settings, include_extras=True).get(name)
    return [meta for meta in get_args(hint) if isinstance(meta, Meta)]


def read_file(path: Path) -> Settings:
    """Return the settings in the TOML file at `path` alone, with defaults for the rest."""
    values = _read_toml(path)
    return convert(values, {name: f"{path}: {name}" for name in values})


def _read_toml(path: Path) -> dict[str, Any]:
    values = parse(path)
    for line in unknown_settings(values, str(path)):
        raise SettingsError(line)
    return values


def parse(path: Path) -> dict[str, Any]:
    """Return what the TOML file at `path` holds, of whatever names; raise SettingsError if it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file; `rookery config init {path}` writes one") from error
    except OSError as error:
        raise SettingsError(
            f"{path}: can't read the settings: {error.strerror}; give a file that can be read"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: byte {error.start} is not UTF-8; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}; mend it there") from error


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    names = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): name
        for name in environment
        if name.startswith(ENVIRONMENT_PREFIX)
    }
    for line in unknown_settings(names, "environment", spell=_variable):
        raise SettingsError(line)
    for name, variable in names.items():
        text = environment[variable]
        if name == "agents":
            raise SettingsError(f"{variable}: agents are set in the settings file, not in the environment")
        values[name] = tuple(filter(None, text.split(os.pathsep))) if name == "games" else text
    return values


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _flag(name: str) -> str:
    return "GAMES" if name == "games" else "--" + name.replace("_", "-")


def unknown_settings(values: Mapping[str, Any], where: str, spell: Callable[[str], str] = str) -> Iterator[str]:
    """Yield a line for each name in `values` that is no setting, with the nearest that is one."""
    for name in values:
        if name not in Settings.__struct_fields__:
            hint = _nearest(name, Settings.__struct_fields__, spell) or "; `rookery config show` lists all settings"
            yield f"{where}: unknown setting {spell(name)}{hint}"


def convert(values: Mapping[str, Any], places: Mapping[str, str]) -> Settings:
    """Return the settings that `values` are; `places` tells where each was set.

    Raises SettingsError with a line on the first that is wrong, or that contradicts another.
    """
    try:
        settings = msgspec.convert(dict(values), Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(str(error), values, places)) from error
    for name in settings.__struct_fields__:
        _refuse_broken_text(getattr(settings, name), places.get(name, name))
    if settings.probe_rate > 0 and settings.evals is EvaluationSource.PGN:
        raise SettingsError(
            f"{places['probe_rate']}: probes need an engine, and evals is pgn; set one of them otherwise"
        )
    if settings.probe_rate > 0 and settings.network == "table":
        raise SettingsError(
            f"{places['probe_rate']}: probes need a network that plays, and network is table; "
            "set one of them otherwise"
        )
    names = [agent.name for agent in settings.agents]
    if not names:
        raise SettingsError(
            f"{places['agents']}: at least one agent is needed; leave agents out for one of each colour"
        )
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise SettingsError(f"{places['agents']}: two agents are called the same: {', '.join(twice)}; rename one")
    return settings


def _refuse_broken_text(value: Any, place: str) -> None:
    """Refuse file names that are not UTF-8: neither TOML nor a message can carry them."""
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise SettingsError(f"{place}: {text!a} is not UTF-8: rename the file") from error


def _explain(message: str, values: Mapping[str, Any], places: Mapping[str, str]) -> str:
    """Turn msgspec's ``Expected `int` >= 1 - at `$.nodes` `` into a line that begins with where it was set."""
    what, _, path = message.partition(" - at `$")
    what = what[:1].lower() + what[1:].partition(", got ")[0]
    steps = [field or int(index) for field, index in _PATH_STEP.findall(path)]
    place = places[str(steps[0])] + path.removeprefix(f".{steps[0]}").removesuffix("`")
    unknown = _UNKNOWN_FIELD.search(what)
    if unknown:
        return f"{place}: unknown setting {unknown[1]}{_nearest(unknown[1], AgentSettings.__struct_fields__)}"
    missing = _MISSING_FIELD.search(what)
    if missing:
        return f"{place}: {missing[1]} is missing; an agent has a name and a side"
    value: Any = values
    for step in steps:
        value = value[step]
    rule = _rule(str(steps[-1]))
    return f"{place}: got {value!r}; it is {rule}" if rule else f"{place}: {_plain(what)}, got {value!r}"


def _plain(what: str) -> str:
    """Return msgspec's words with what an operator calls the types."""
    return _TYPE.sub(lambda match: _TYPES.get(match[1], match[0]), what)


def _rule(name: str) -> str:
    """Return what the setting called `name` can be, where that is one of a few values, or an agent's name."""
    choices = choices_of(name)
    return f"one of {', '.join(choices)}" if choices else NAME_OF_AGENT if name == "name" else ""


def choices_of(name: str) -> tuple[str, ...]:
    """Return the values that the setting called `name`, of a run or an agent, can have, where they are few."""
    hint = {**get_type_hints(AgentSettings), **get_type_hints(Settings)}.get(name)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return tuple(hint)
    patterns = [meta.pattern for meta in _metas(name) if meta.pattern]
    listed = _PATTERN_OF_CHOICES.fullmatch(patterns[0]) if patterns else None
    return tuple(listed[1].replace(r"\d+", "N").split("|")) if listed else ()


def _nearest(name: str, known: Sequence[str], spell: Callable[[str], str] = str) -> str:
    """Return a question after the known name that is nearest to `name`, or nothing."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {spell(near[0])}?" if near else ""


def toml_value(value: Any) -> str:
    """Return `value` as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and not isinstance(value, StrEnum):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + "}"
    if value is None:
        return "not set"
    # JSON's string escapes are TOML's, but for DEL.
    return msgspec.json.encode(str(value)).decode().replace("\x7f", "\\u007f")

"""The settings file that `rookery config init` writes: every setting with its default, what it means and can be.

Settings stand behind a # without a space, so that taking it away sets them; prose stands behind a # with one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from common.settings import IDENTITY, Settings, choices_of, help_of, toml_value

WIDTH = 110

HEAD = """\
# Settings of a Rookery run: one file for all of its hosts and services.
#
# Each setting stands here with its default: take the # before it away to change it. The environment
# (ROOKERY_NODES=200) wins over this file, a flag (--nodes 200) over both.
#   rookery config check {name}                 looks for mistakes in this file
#   rookery config show --settings {name}       says what holds, and where it comes from
#   rookery up --settings {name}                trains
"""

_AGENTS = """
# ---- agents: who learns --------------------------------------------------------------------------------------
#
# A table for each agent: its name (up to 63 of a-z, 0-9, _ and -), the side that it plays (white, black or both)
# and, if it is not to learn from every game, a pandas query over the games' tags. They decide the weights.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingGroup:
    """Some settings of one purpose."""

    title: str
    names: tuple[str, ...]


GROUPS = (
    SettingGroup(
        title="games: what is learned from",
        names=("games", "limit_games", "games_per_unit", "held_out", "seed"),
    ),
    SettingGroup(
        title="evaluations: what Stockfish is asked",
        names=("nodes", "evals", "engine", "evaluations"),
    ),
    SettingGroup(
        title="probes: the agents' own moves, tried",
        names=(
            "probe_rate", "probe_temperature", "probe_exploration", "probe_share", "max_version_lag",
        ),
    ),
    SettingGroup(
        title="training: how agents learn",
        names=(
            "network", "reward", "discount", "samples_per_transition", "learning_rate", "cooldown", "batch_size",
            "buffer_size", "sampling", "publish_every", "checkpoint_every", "keep_checkpoints", "device",
        ),
    ),
    SettingGroup(
        title="places and processes of this host",
        names=("run", "actors", "sequential", "log_level", "log_files", "trace", "tensorboard"),
    ),
    SettingGroup(
        title="the broker, and who may come in",
        names=(
            "transport", "broker", "bind", "base_port", "namespace", "replicas", "max_units_ahead",
            "lease_timeout_s", "keys", "insecure", "operator",
        ),
    ),
)  # fmt: skip
OTHERS = "others"
"""Title of the group of settings that are in no other."""


def settings_file(name: str) -> str:
    """Return the text of a settings file, called `name` in its own words, that sets nothing."""
    parts = [HEAD.format(name=name)]
    for group in groups():
        parts += ["\n", _rule(group.title), "".join(f"\n{_setting(setting)}" for setting in group.names)]
    return "".join([*parts, _AGENTS, *_agents()])


def groups() -> Iterator[SettingGroup]:
    """Yield all settings but `agents`, by purpose; those that a group doesn't name come last."""
    left = [name for name in Settings.__struct_fields__ if name != "agents"]
    for group in GROUPS:
        names = tuple(name for name in group.names if name in left)
        left = [name for name in left if name not in names]
        yield SettingGroup(title=group.title, names=names)
    if left:
        yield SettingGroup(title=OTHERS, names=tuple(left))


def values_of(name: str) -> str:
    """Return in words what values the setting called `name` can have; nothing where any text will do."""
    choices = choices_of(name)
    if choices:
        return " | ".join(choices)
    settings = inspect.type_info(Settings)
    assert isinstance(settings, inspect.StructType)
    (kind,) = (field.type for field in settings.fields if field.name == name)
    return _range_of(kind)


def _range_of(kind: Any) -> str:
    if isinstance(kind, inspect.Metadata):
        return _range_of(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next(filter(None, map(_range_of, kind.types)), "")
    if not isinstance(kind, inspect.IntType | inspect.FloatType):
        return "true | false" if isinstance(kind, inspect.BoolType) else ""
    low = _bound(kind.ge, kind.gt, "over")
    high = _bound(kind.le, kind.lt, "under")
    return f"{low} to {high}" if low and high else f"{low} or more" if kind.ge is not None else low


def _bound(inclusive: float | None, exclusive: float | None, word: str) -> str:
    if inclusive is not None:
        return _number(inclusive)
    return "" if exclusive is None else f"{word} {_number(exclusive)}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _rule(title: str) -> str:
    return f"# ---- {title} ".ljust(WIDTH + 2, "-") + "\n"


def _setting(name: str) -> str:
    """Return a setting's lines: what it means, what it can be, and its default."""
    default = getattr(Settings(), name)
    more = [values_of(name), "decides the weights" if name in IDENTITY else ""]
    note = "; ".join(filter(None, more))
    meaning = f"# {help_of(name)}{f' ({note})' if note else ''}\n"
    value = toml_value(msgspec.to_builtins(default)) if default is not None else ""
    return meaning + (f"#{name} = {value}\n" if default is not None else f"# not set by default: {name} = …\n")


def _agents() -> Iterator[str]:
    for agent in Settings().agents:
        colour = agent.name.capitalize()
        yield f"\n#[[agents]]\n#name = {toml_value(agent.name)}\n#side = {toml_value(agent.side.value)}\n"
        yield f'# where = "{colour}Elo > 2200 and PlyCount >= 20"\n'

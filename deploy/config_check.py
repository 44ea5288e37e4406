"""Mistakes in a settings file, all of them at once: what `rookery config check` says.

Beside what every command checks when it starts (names, types, ranges, contradictions) it looks at what only some
services look at: networks and queries. What has to be on a host is another matter, since one file serves them all.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from broker.sources import STDIN, check
from common.errors import OperatorError, SettingsError
from common.settings import EvaluationSource, Settings, convert, parse, unknown_settings

_STAND_IN = {"name": "stand-in", "side": "white"}
"""An agent with no mistake, for those whose turn it is not."""


def mistakes(path: Path) -> list[str]:
    """Return one line for each mistake in the settings file at `path`, in its order."""
    try:
        values = parse(path)
    except SettingsError as error:
        return [str(error)]
    places = {name: f"{path}: {name}" for name in values}
    known = {name: value for name, value in values.items() if name in Settings.__struct_fields__}
    found = [*unknown_settings(values, str(path)), *_single_mistakes(known, places)]
    if found:
        return found
    try:
        settings = convert(values, places)
    except SettingsError as error:
        return [str(error)]
    return [f"{path}: {line}" for line in _deeper_mistakes(settings)]


def absences(settings: Settings) -> list[str]:
    """Return one line for each thing that the settings name and this host has not; some host has to have it."""
    found = [line for name in settings.games if name != STDIN for line in _refusal(lambda: check(name))]  # noqa: B023
    if settings.evals is not EvaluationSource.PGN and shutil.which(settings.engine) is None:
        found.append(f"{settings.engine}: no such engine; actors need it: install it or give another `engine`")
    if settings.keys is not None and not Path(settings.keys).is_dir():
        found.append(
            f"{settings.keys}: no such directory of keys; `rookery keys init --keys {settings.keys}` makes it"
        )
    return found


def _single_mistakes(values: Mapping[str, Any], places: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with each setting by itself."""
    for name, value in values.items():
        for part in _parts(name, value):
            yield from _refusal(lambda: convert({name: part}, places))  # noqa: B023


def _parts(name: str, value: Any) -> Iterator[Any]:
    """Yield what is converted by itself: a setting, or each key of each agent, beside others without a mistake."""
    tables = name == "agents" and isinstance(value, list) and all(isinstance(agent, dict) for agent in value)
    if not tables:
        yield value
        return
    for number, agent in enumerate(value):
        others = [{**_STAND_IN, "name": f"stand-in-{other}"} for other in range(len(value))]
        for key in agent:
            yield [*others[:number], {**others[number], key: agent[key]}, *others[number + 1 :]]
        if not {"name", "side"} <= agent.keys():
            yield [
                *others[:number],
                {key: others[number][key] for key in _STAND_IN if key in agent},
                *others[number + 1 :],
            ]


def _deeper_mistakes(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with networks and queries, as far as the packages are here that know."""
    try:
        from actor.selection import validate
        from learner.registry import check_network
    except ModuleNotFoundError:
        return
    yield from _refusal(lambda: check_network(settings))
    for agent in settings.agents:
        yield from _refusal(lambda: validate(agent.where))  # noqa: B023


def _refusal(action: Callable[[], object]) -> Iterator[str]:
    try:
        action()
    except OperatorError as error:
        yield str(error)

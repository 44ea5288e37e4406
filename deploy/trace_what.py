"""What `rookery trace` is asked about: a game, a unit, or one transition of an agent."""

import re
from dataclasses import dataclass

from common.errors import SettingsError

FORMS = "game:N, unit:N, or AGENT:GAME:PLY for a transition"
_WHAT = re.compile(
    r"(?P<kind>game|unit):(?P<number>\d{1,15})|(?P<agent>[a-z0-9][a-z0-9_-]{0,62}):(?P<game>\d{1,15}):(?P<ply>\d{1,6})"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatUnit:
    """A unit."""

    unit: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatGame:
    """A game, by its number over all sources."""

    game: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatTransition:
    """The transition of an agent at a ply of a game."""

    agent: str
    game: int
    ply: int


What = WhatUnit | WhatGame | WhatTransition


def what_of(text: str) -> What:
    """Return what `text` means; raise SettingsError where it means nothing."""
    match = _WHAT.fullmatch(text)
    if match is None:
        raise SettingsError(f"{text!r} says nothing that can be traced: give {FORMS}")
    if match["agent"] is not None:
        return WhatTransition(agent=match["agent"], game=int(match["game"]), ply=int(match["ply"]))
    number = int(match["number"])
    return WhatUnit(unit=number) if match["kind"] == "unit" else WhatGame(game=number)

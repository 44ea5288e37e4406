"""What the games of a unit are called in the object store, where no message can carry them. Pure."""

import re

from common.words import Unit

_NAME = re.compile(r"unit-(0|[1-9][0-9]{0,15})")


def object_name(unit: int) -> str:
    """Return the object's name."""
    return f"unit-{unit}"


def unit_of(name: str) -> Unit | None:
    """Return whose games an object has; None for an object of something else."""
    found = _NAME.fullmatch(name)
    return Unit(int(found[1])) if found is not None else None

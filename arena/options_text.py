"""Options in one word of a command line: `elo0=0,elo1=10`."""

import difflib
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from common.errors import SettingsError

T = TypeVar("T", bound=msgspec.Struct)


def split_options(text: str, what: str) -> dict[str, str]:
    """Return the options in `text`, parted by commas; raise SettingsError, naming `what`, for what is none."""
    options: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not value:
            raise SettingsError(f"{what}: {part!r} is not NAME=VALUE")
        if name in options:
            raise SettingsError(f"{what}: {name} is given twice")
        options[name] = value
    return options


def read_options(text: str, kind: type[T], what: str) -> T:
    """Return the options in `text` as a `kind`, whose defaults stand for the rest.

    Raises SettingsError, naming `what`, for options that it doesn't have and values that it can't take.
    """
    options = split_options(text, what)
    known = {field.name for field in msgspec.structs.fields(kind)}
    for name in options:
        if name not in known:
            raise SettingsError(f"{what}: no option {name!r}{near(name, known)}")
    try:
        return msgspec.convert(options, kind, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        raise SettingsError(f"{what}: {place.rstrip('`')}: {reason}") from error


def near(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` if one of the known names is like `name`, else what there is."""
    known = sorted(known)
    like = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {like[0]}?" if like else f": there are {', '.join(known)}"

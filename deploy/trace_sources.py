"""Finding a game in the sources of a run again, by its number."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import chess.pgn

from broker.sources import Games, fingerprint
from common.errors import SourceError
from common.messages import RawGame
from deploy.run_directory import Origin
from deploy.trace_facts import SourceFacts

_TOLD_EVERY = 1000


def find_game(
    sources: list[str], origin: Origin | None, number: int, tell: Callable[[int], None]
) -> tuple[SourceFacts | None, str]:
    """Return where game `number` stands; or None and why that can't be told.

    Reads the files from their beginning; `tell` hears how many games were passed over.
    """
    note = _changed(sources, origin)
    if note:
        return None, note
    try:
        with Games(sources) as games:
            for raw in games:
                if raw.number == number:
                    return SourceFacts(file=raw.source, line=raw.line, headers=headers_of(raw)), ""
                if raw.number % _TOLD_EVERY == 0:
                    tell(raw.number)
    except SourceError as error:
        return None, str(error)
    return None, f"the sources hold no game {number}"


def headers_of(raw: RawGame) -> dict[str, str]:
    """Return the tags of a game as they stand, also of one that can't be used."""
    try:
        headers = chess.pgn.read_headers(StringIO(raw.text.decode("utf-8", "replace")))
    except ValueError:
        return {}
    given = raw.text.decode("utf-8", "replace")
    return {name: value for name, value in headers.items() if f"[{name}" in given} if headers is not None else {}


def _changed(sources: list[str], origin: Origin | None) -> str:
    """Return why the files can't be what the run was made from; nothing where they are that."""
    if not sources:
        return "the run's settings name no sources"
    try:
        found = [fingerprint(source) for source in sources]
    except SourceError as error:
        return str(error)
    if origin is None:
        return ""
    for source, here, there in zip(sources, found, origin.sources, strict=False):
        if (here.size_bytes, here.sha256) != (there.size_bytes, there.sha256):
            return f"{Path(source).name} is not what it was when the run was made"
    return ""

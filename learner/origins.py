"""Where each stored batch came from: which actor on which host made it, with which engine, and when it was stored.

A table of its own beside the units', which the store writes in the same transaction. For whoever asks where a
transition came from; nothing is trained by it. A store of before the table was there has none for its units, and
neither have units that were taken out of a damaged store.
"""

import sqlite3
from dataclasses import dataclass

SCHEMA = """
CREATE TABLE IF NOT EXISTS origins (
    unit INTEGER PRIMARY KEY, actor TEXT NOT NULL, host TEXT NOT NULL, engine TEXT NOT NULL
)
"""

_INSERT = "INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)"
_SELECT = """
SELECT units.stored_at, origins.actor, origins.host, origins.engine
FROM units LEFT JOIN origins USING (unit) WHERE unit = ?
"""
_SELECT_WITHOUT = "SELECT stored_at, NULL, NULL, NULL FROM units WHERE unit = ?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Who made a batch; empty where it is not known."""

    actor: str = ""
    """Name of the actor."""
    host: str = ""
    """Where it ran."""
    engine: str = ""
    """What its evaluations came from, with the limit of a search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a stored batch came from."""

    unit: int
    origin: Origin | None
    """None in a store of before origins were kept, and where the store was mended."""
    stored_ns: int
    """When it was stored, or, where the store was mended, mended: nanoseconds since 1970, UTC."""


def insert(connection: sqlite3.Connection, unit: int, origin: Origin) -> None:
    """Write down the origin of a unit, unless nothing of it is known; within the caller's transaction."""
    if origin != Origin():
        connection.execute(_INSERT, (unit, origin.actor, origin.host, origin.engine))


def select(connection: sqlite3.Connection, unit: int, *, kept: bool) -> Provenance | None:
    """Return where the batch of `unit` came from, None if it isn't stored; `kept` is whether there is the table."""
    row = connection.execute(_SELECT if kept else _SELECT_WITHOUT, (unit,)).fetchone()
    if row is None:
        return None
    stored_s, actor, host, engine = row
    origin = None if actor is None else Origin(actor=actor, host=host, engine=engine)
    return Provenance(unit=unit, origin=origin, stored_ns=round(stored_s * 1e9))

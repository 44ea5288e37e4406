"""Rejections: games that can't be used, each with the reason and where it stands."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

MAX_DETAIL = 500
"""Characters of a detail; what makes longer ones cuts them."""


class RejectionReason(StrEnum):
    """Why a game can't be used."""

    ILLEGAL_MOVE = "illegal-move"
    """A move is illegal where it stands, or is no move at all."""
    AMBIGUOUS_MOVE = "ambiguous-move"
    """A move could be made by several pieces."""
    NULL_MOVE = "null-move"
    """A side passes."""
    CUT_OFF = "cut-off"
    """The text ends within a comment, a variation, a tag or a move."""
    VARIANT = "variant"
    """The game is not standard chess."""
    NO_MOVES = "no-moves"
    """Nothing was played."""
    BAD_POSITION = "bad-position"
    """The game starts from a position that is no FEN or can't occur in chess."""
    TOO_LARGE = "too-large"
    """The game's text or its number of moves is beyond every real game's."""
    NO_EVALUATION = "no-evaluation"
    """Evaluations come from comments alone, and some position of the game has none."""
    ENGINE_DIED = "engine-died"
    """The engine died on the game again and again."""


class Rejection(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """One game that can't be used; on the wire a list of its fields in this order."""

    number: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """Game number, from 0 over all sources in order."""
    source: Annotated[str, Meta(max_length=4096)]
    """The source's name as given."""
    line: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """Line of the source at which the game begins, from 1."""
    reason: RejectionReason
    detail: Annotated[str, Meta(max_length=MAX_DETAIL)]
    """What exactly is wrong, for a person: one line."""

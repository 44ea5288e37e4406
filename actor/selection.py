"""Which games an agent learns from: its query, in pandas' language, over the games' tags.

Called by actor.transitions once a unit and agent, and at start-up to refuse a bad query before any work is
done. A query can compare, calculate and look into strings; it can't run code: every part of it must be on a
list of what is allowed. Without a query pandas is not even imported.
"""

import ast
import datetime
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from common.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = frozenset(
    {
        "WhiteElo", "BlackElo", "PlyCount", "Year", "WhiteRatingDiff", "BlackRatingDiff", "WhiteUSCF",
        "BlackUSCF", "WhiteFideId", "BlackFideId", "EventRounds", "EventCategory",
    }
)  # fmt: skip
"""Tags that are whole numbers (Int64), missing where they are not one; Year is that of Date or UTCDate."""

DATES = frozenset(
    {
        "Date", "UTCDate", "EventDate", "SourceDate", "EndDate",
    }
)  # fmt: skip
"""Tags that are dates (Timestamp), missing where year, month or day is unknown."""

TEXTS = frozenset(
    {
        "Event", "Site", "Round", "White", "Black", "Result", "ECO", "Opening", "Variation", "SubVariation",
        "NIC", "TimeControl", "Termination", "Variant", "WhiteTitle", "BlackTitle", "WhiteType",
        "BlackType", "WhiteNA", "BlackNA", "WhiteTeam", "BlackTeam", "WhiteTeamCountry", "BlackTeamCountry",
        "WhiteCountry", "BlackCountry", "WhiteClock", "BlackClock", "EventSponsor", "EventType",
        "EventCountry", "Section", "Stage", "Board", "Time", "UTCTime", "StartTime", "EndTime", "Timezone",
        "Annotator", "Mode", "SetUp", "FEN", "Source", "SourceTitle", "SourceQuality", "SourceVersion",
        "SourceVersionDate", "GameId", "GameURL", "Link", "ECOUrl", "CurrentPosition", "StudyName",
        "ChapterName", "BroadcastName", "BroadcastURL", "Tournament", "Remark",
    }
)  # fmt: skip
"""Tags that are text (string), missing where a game lacks them."""

COLUMNS = NUMBERS | DATES | TEXTS
"""Every name that a query can use."""

_OPERATORS = (
    ast.And, ast.Or, ast.Not, ast.Invert, ast.USub, ast.UAdd, ast.BitAnd, ast.BitOr,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
)  # fmt: skip
_STRUCTURE = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.List, ast.Tuple, ast.Load,
    ast.keyword,
)  # fmt: skip
_METHODS = frozenset({"isna", "notna", "isnull", "notnull", "isin", "between", "abs"})
_TEXT_METHODS = frozenset(
    {
        "contains", "startswith", "endswith", "match", "fullmatch", "lower", "upper", "strip", "len",
        "isdigit", "isalpha",
    }
)  # fmt: skip
_DATE_PARTS = frozenset(
    {
        "year", "month", "day", "dayofweek", "quarter",
    }
)  # fmt: skip
_DATE = re.compile(r"\s*(\d{4})[.\-/](\d{1,2})[.\-/](\d{1,2})\s*")
_NUMBER = re.compile(r"\s*[+-]?\d{1,15}\s*", re.ASCII)


class HasTags(Protocol):
    """What a query looks at in a game of n moves."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The game's tags."""

    def __len__(self) -> int: ...


def validate(where: str | None) -> None:
    """Check a query before any game is read; raise SettingsError, one line that quotes it, if it is bad."""
    if where is not None:
        _evaluate([_SampleGame(), _BareGame()], where)


def select(games: Sequence[HasTags], where: str | None) -> npt.NDArray[np.bool_]:
    """Return which of `games` the query selects, bool [games]; all for None.

    Whether a game is selected depends on its own tags alone. As pandas has it, a missing text or date differs
    from everything (`Termination != 'Abandoned'` holds), and what is said of a missing number is neither true
    nor false, which selects nothing. PlyCount is counted, whatever the tag says. Raises SettingsError, one
    line that quotes the query, for a bad one.
    """
    if where is None or not games:
        return np.ones(len(games), np.bool_)
    return _evaluate(games, where)


class _SampleGame:
    headers: Mapping[str, str] = {name: "1999.12.31" if name in DATES else "1" for name in COLUMNS}

    def __len__(self) -> int:
        return 1


class _BareGame(_SampleGame):
    headers: Mapping[str, str] = {}


def _evaluate(games: Sequence[HasTags], where: str) -> npt.NDArray[np.bool_]:
    names = _checked_names(where)
    import pandas as pd  # only here: it takes longer to import than everything else together

    frame = pd.DataFrame({name: _column(name, games) for name in names}, index=range(len(games)))
    try:
        found = frame.eval(where.strip(), engine="python", local_dict={}, global_dict={})
    except Exception as error:  # pandas raises whatever its operands do
        raise _refusal(where, " ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(found, pd.Series) or not pd.api.types.is_bool_dtype(found.dtype):
        raise _refusal(where, "it doesn't say yes or no for each game, as `WhiteElo > 2200` does")
    return found.fillna(False).to_numpy(np.bool_)


def _column(name: str, games: Sequence[HasTags]) -> "pd.Series[str]":
    import pandas as pd

    reads: Callable[[str], object] = _number if name in NUMBERS else _date if name in DATES else str
    dtype = "Int64" if name in NUMBERS else "datetime64[s]" if name in DATES else "string"
    if name == "PlyCount":
        values: list[object] = [len(game) for game in games]
    elif name == "Year":
        values = [_year(game.headers) for game in games]
    else:
        tags = (game.headers.get(name) for game in games)
        values = [None if tag is None else reads(tag) for tag in tags]
    return pd.Series(values, dtype=dtype)


def _number(tag: str) -> int | None:
    return int(tag) if _NUMBER.fullmatch(tag) else None


def _date(tag: str) -> datetime.datetime | None:
    match = _DATE.fullmatch(tag)
    try:
        return None if match is None else datetime.datetime(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def _year(tags: Mapping[str, str]) -> int | None:
    for name in ("Date", "UTCDate"):
        match = re.match(r"\s*(\d{4})(?!\d)", tags.get(name, ""), re.ASCII)
        if match:
            return int(match[1])
    return None


def _checked_names(where: str) -> list[str]:
    """Return the columns that the query names, sorted; raise SettingsError for what is not allowed."""
    for character, hint in (("@", "@ names no column"), ("`", "names stand without backticks")):
        if character in re.sub(r"'[^']*'|\"[^\"]*\"", "", where):
            raise _refusal(where, hint)
    try:
        tree = ast.parse(where.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _refusal(where, f"syntax error: {what}") from error
    if "\n" in where.strip():
        raise _refusal(where, "it must be one line; join what stands on several")
    names = set(_names_in(tree, where))
    if not names:
        raise _refusal(where, "it names no column; columns are tags, such as WhiteElo, Date or Result")
    return sorted(names)


def _names_in(node: ast.AST, where: str) -> Iterator[str]:
    if isinstance(node, ast.Name):
        if node.id not in COLUMNS:
            near = difflib.get_close_matches(node.id, sorted(COLUMNS), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "columns are tags, such as WhiteElo, Date or Result"
            raise _refusal(where, f"unknown column {node.id!r}; {hint}")
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield from _names_in(_column_behind(node, _DATE_PARTS, "dt", where), where)
    elif isinstance(node, ast.Call):
        yield from _names_in_call(node, where)
    elif isinstance(node, ast.Constant):
        if not isinstance(node.value, str | int | float):
            raise _refusal(where, f"{node.value!r} is not allowed")
    elif isinstance(node, (*_STRUCTURE, *_OPERATORS)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Mod):
            _refuse_text_in(node, where)
        for child in ast.iter_child_nodes(node):
            yield from _names_in(child, where)
    else:
        raise _refusal(where, f"{type(node).__name__} is not allowed")


def _names_in_call(node: ast.Call, where: str) -> Iterator[str]:
    method = node.func
    if not isinstance(method, ast.Attribute):
        raise _refusal(where, f"calling {ast.unparse(method)} is not allowed")
    plain = method.attr in _METHODS
    behind = method.value if plain else _column_behind(method, _TEXT_METHODS, "str", where)
    for child in (behind, *node.args, *node.keywords):
        yield from _names_in(child, where)


def _column_behind(node: ast.Attribute, allowed: frozenset[str], accessor: str, where: str) -> ast.expr:
    """Return X of `X.accessor.attribute`, if the attribute is allowed."""
    inner = node.value
    if node.attr not in allowed or not isinstance(inner, ast.Attribute) or inner.attr != accessor:
        raise _refusal(where, f".{node.attr} is not allowed")
    return inner.value


def _refuse_text_in(node: ast.AST, where: str) -> None:
    """Refuse what could make text or lists as long as a number says."""
    for part in ast.walk(node):
        if isinstance(part, ast.List | ast.Tuple) or (
            isinstance(part, ast.Constant) and isinstance(part.value, str)
        ):
            raise _refusal(where, "* and % are for numbers; compare text with ==, in or .str.startswith")


def _refusal(where: str, what: str) -> SettingsError:
    return SettingsError(f"agents: where = {where.strip()!r}: {what}")

import subprocess
import sys

import numpy as np
import pytest

from actor.selection import COLUMNS, select, validate
from common.errors import SettingsError


class TaggedGame:
    def __init__(self, plies: int = 40, **headers: str) -> None:
        self.headers = headers
        self.plies = plies

    def __len__(self) -> int:
        return self.plies


GAMES = [
    TaggedGame(30, WhiteElo="2300", BlackElo="2100", Date="1984.??.??", White="Carlsen, M", ECO="B20"),
    TaggedGame(10, WhiteElo="", Date="2001.02.03", ECO="C11", Result="1-0", PlyCount="99"),
    TaggedGame(50, White="x", UTCDate="2020.01.31", WhiteElo="?", Date="????.??.??", Termination="Abandoned"),
    TaggedGame(0),
]


@pytest.mark.parametrize(
    ("where", "selected"),
    [
        ("WhiteElo > 2200", [0]),
        ("WhiteElo > 2200 and PlyCount >= 20", [0]),
        ("not (WhiteElo > 2400)", [0]),
        ("WhiteElo.isna()", [1, 2, 3]),
        ("(WhiteElo + BlackElo) / 2 >= 2200", [0]),
        ("(WhiteElo - BlackElo).abs() < 300", [0]),
        ("PlyCount == 10", [1]),
        ("10 < PlyCount <= 50", [0, 2]),
        ("PlyCount > 20 & Year > 1900", [0, 2]),
        ("Year < 1990", [0]),
        ("Year in [2001, 2020]", [1, 2]),
        ("Date > '2000-01-01'", [1]),
        ("Date.isna()", [0, 2, 3]),
        ("Date.dt.month == 2", [1]),
        ("UTCDate >= '2020-01-31'", [2]),
        ("White.str.contains('carlsen', case=False)", [0]),
        ("ECO.str.startswith('B')", [0]),
        ("ECO in ['B20', 'C11']", [0, 1]),
        ("ECO >= 'C'", [1]),
        ("Result == '1-0' or Termination == 'Abandoned'", [1, 2]),
        ("Termination != 'Abandoned'", [0, 1, 3]),
        ("BlackTitle == 'GM'", []),
        ("BlackElo.between(2000, 2200)", [0]),
    ],
)
def test_queries_select_games_by_typed_tags(where, selected):
    validate(where)
    found = select(GAMES, where)
    assert found.dtype == np.bool_
    assert np.flatnonzero(found).tolist() == selected


@pytest.mark.parametrize(
    "where",
    ["WhiteElo > 2200", "Termination != 'Abandoned'", "Date < '2010-01-01'", "ECO >= 'C'", "not Year > 2000"],
)
def test_whether_a_game_is_selected_depends_on_no_other_game(where):
    assert select(GAMES, where).tolist() == [bool(select([game], where)[0]) for game in GAMES]


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ("WhiteElo >", "syntax error"),
        ("", "syntax error"),
        ("WhiteElo = 2200", "syntax error"),
        ("WiteElo > 2200", "unknown column 'WiteElo'; did you mean WhiteElo?"),
        ("foo > 1", "unknown column 'foo'"),
        ("WhiteElo", "yes or no"),
        ("True", "names no column"),
        ("1 == 1", "names no column"),
        ("White > 3", "Invalid comparison"),
        ("WhiteElo > 'x'", ""),
        ("Date > 'someday'", "someday"),
        ("White.str.contains('(')", ""),
    ],
)
def test_a_bad_query_is_refused_in_one_line_that_quotes_it(where, complaint):
    with pytest.raises(SettingsError) as refusal:
        validate(where)
    message = str(refusal.value)
    assert repr(where) in message
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "where",
    [
        "@print('x')",
        "@GAMES == White",
        "__import__('os').system('true') == 0",
        "White.__class__ == 1",
        "White.str.__class__.__mro__ == 1",
        "White.dt.__init__ == 1",
        "White.apply('x')",
        "White.map('x') == 1",
        "White.eval('1')",
        "White.to_csv('x')",
        "White.values == 1",
        "White.str.replace('a', 'b') == 'x'",
        "eval('1') == PlyCount",
        "Timestamp('2000') < Date",
        "open('x') == White",
        "[x for x in White]",
        "lambda: White",
        "f'{White}' == 'x'",
        "White[0] == 'x'",
        "(White := 'x')",
        "White if Black else White",
        "`White` == 'x'",
        "PlyCount ** 99 > 1",
        "9 ** 9 ** 9 > PlyCount",
        "'x' * 999999999 == White",
        "PlyCount > 1; White == 'x'",
        "PlyCount > 1\nWhite == 'x'",
        "PlyCount > b'x'",
        "{White: 1}",
        "None == White",
        "PlyCount > " + "(" * 300 + "1" + ")" * 300,
        "index == 0",
    ],
)
def test_a_query_can_run_no_code(where):
    with pytest.raises(SettingsError):
        validate(where)
    with pytest.raises(SettingsError):
        select(GAMES, where)


def test_without_a_query_all_games_are_selected_and_pandas_is_not_imported():
    assert select(GAMES, None).tolist() == [True] * 4
    validate(None)
    code = (
        "import sys, actor.transitions, actor.selection as s; s.validate(None); s.select([], None);"
        "sys.exit('pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_column_can_be_named_and_missing():
    for name in COLUMNS:
        validate(f"{name}.isna()")
    assert select([TaggedGame()], "Annotator == 'x'").tolist() == [False]


def test_no_games_are_none_selected():
    assert select([], "WhiteElo > 1").tolist() == []

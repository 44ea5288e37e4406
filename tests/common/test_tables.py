from pathlib import Path

import msgspec
import pandas as pd
import pytest

from common.errors import SettingsError
from common.tables import check_suffix, open_table

COLUMNS = {"number": "int64", "name": "str", "cp": "Int32", "worth": "float32", "over": "bool"}
SUFFIXES = (".parquet", ".csv", ".jsonl")
ROWS = [
    (1, "a/b", 5, 0.1, True),
    (2, None, None, 0.25, False),
    (2**53 + 1, "ü,\"x'\n", -20000, 1 / 3, True),
    (4, "", 0, 0.0, False),
]


def frame(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path).astype(COLUMNS)
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=COLUMNS, keep_default_na=True)
    records = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    return frame([tuple(record[name] for name in COLUMNS) for record in records])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
def test_every_format_keeps_values_and_nulls_whatever_the_parts(
    tmp_path: Path, suffix: str, rows_at_once: int
) -> None:
    path = tmp_path / f"table{suffix}"
    rows = ROWS if suffix != ".csv" else ROWS[:3]  # CSV can't tell an empty text from none
    with open_table(path, COLUMNS, rows_at_once) as table:
        table.write(frame(rows[:1]))
        table.write(frame([]))
        table.write(frame(rows[1:]))
        assert table.rows == len(rows)
    pd.testing.assert_frame_equal(read(path), frame(rows), check_exact=True)
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_without_rows_has_a_head_where_the_format_has_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    with open_table(path, COLUMNS):
        pass
    if suffix == ".jsonl":
        assert path.read_bytes() == b""
    else:
        assert list(read(path).columns) == list(COLUMNS)


def test_json_lines_hold_plain_numbers_and_slashes(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    with open_table(path, COLUMNS) as table:
        table.write(frame(ROWS[:2]))
    assert path.read_text().splitlines() == [
        '{"number":1,"name":"a/b","cp":5,"worth":0.10000000149011612,"over":true}',
        '{"number":2,"name":null,"cp":null,"worth":0.25,"over":false}',
    ]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_table_that_is_not_finished_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("old")

    def begin_and_fail() -> None:
        with open_table(path, COLUMNS, 1) as table:
            table.write(frame(ROWS))
            raise error

    with pytest.raises(error):
        begin_and_fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_suffix_and_a_place_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"table\.xlsx: the suffix must be one of \.parquet, \.csv, \.jsonl"):
        check_suffix(Path("table.xlsx"))
    with pytest.raises(SettingsError, match="can't be written: No such file"):
        open_table(tmp_path / "nowhere" / "table.csv", COLUMNS).__enter__()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_one_clear_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    (tmp_path / f".{path.name}.tmp").symlink_to("/dev/full")
    many = frame(ROWS * 20_000)
    with (
        pytest.raises(SettingsError, match="can't be written: No space left"),
        open_table(path, COLUMNS, 1) as table,
    ):
        table.write(many)
    assert not path.exists()

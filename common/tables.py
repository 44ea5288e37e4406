"""Tables: frames of rows, written part by part to a .parquet, .csv or .jsonl file, whole or not at all.

Called by `rookery export` and `rookery annotate`. Owns the formats. Holds at most `rows_at_once` rows and
one frame more.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import SettingsError
from common.whole_file import explained, whole_file

Columns = Mapping[str, str]
"""Names of a table's columns, in order, and their pandas dtypes."""


class Table:
    """A table that is being written; `open_table` makes it."""

    def __init__(self, writer: "_Writer", columns: Columns, rows_at_once: int) -> None:
        self._writer, self._columns, self._rows_at_once = writer, columns, rows_at_once
        self._held = [empty_frame(columns)]  # so that a table without rows has a head
        self.rows = 0
        """Rows taken so far."""

    def write(self, frame: pd.DataFrame) -> None:
        """Take the next rows, which have the table's columns; write when there are enough."""
        self._held.append(frame)
        self.rows += len(frame)
        if sum(map(len, self._held)) >= self._rows_at_once:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self._writer.write(pd.concat(self._held, ignore_index=True).astype(dict(self._columns)))
            self._held.clear()


@contextmanager
def open_table(path: Path, columns: Columns, rows_at_once: int = 32_768) -> Iterator[Table]:
    """Give a table to write to; when it is left without an error, the file `path` is it, else it is as before.

    The suffix of `path` names the format; parts are written from `rows_at_once` rows on. Raises SettingsError for
    another suffix and where the file can't be written.
    """
    make_writer = _writer_for(path)
    with whole_file(path) as file, closing(_Explained(make_writer(file, columns), path)) as writer:
        table = Table(writer, columns, rows_at_once)
        yield table
        table.flush()


def check_suffix(path: Path) -> None:
    """Raise SettingsError unless the suffix of `path` names a format."""
    _writer_for(path)


def empty_frame(columns: Columns) -> pd.DataFrame:
    """Return a frame with these columns and no rows."""
    return pd.DataFrame({name: [] for name in columns}).astype(dict(columns))


class _Writer(Protocol):
    """Writes the parts of one table, in order, into an open file."""

    def write(self, frame: pd.DataFrame) -> None:
        """Write the next rows; the first part may have none."""

    def close(self) -> None:
        """Write what belongs at the end."""


class _Explained:
    """A writer whose errors are one line that names the file."""

    def __init__(self, writer: _Writer, path: Path) -> None:
        self._writer, self._path = writer, path

    def write(self, frame: pd.DataFrame) -> None:
        with explained(self._path):
            self._writer.write(frame)

    def close(self) -> None:
        with explained(self._path):
            self._writer.close()


class _Csv:
    def __init__(self, file: BinaryIO, columns: Columns) -> None:
        del columns
        self._file, self._head = file, True

    def write(self, frame: pd.DataFrame) -> None:
        frame.to_csv(self._file, index=False, header=self._head)
        self._head = False

    def close(self) -> None:
        pass


class _JsonLines:
    def __init__(self, file: BinaryIO, columns: Columns) -> None:
        self._file, self._names = file, list(columns)

    def write(self, frame: pd.DataFrame) -> None:
        # Not frame.to_json, which rounds floats and writes every / of a FEN as \/.
        values = frame.astype(object).where(frame.notna(), None)
        records = [
            dict(zip(self._names, row, strict=True))
            for row in zip(*(values[name].tolist() for name in self._names), strict=True)
        ]
        self._file.write(msgspec.json.Encoder().encode_lines(records))

    def close(self) -> None:
        pass


class _Parquet:
    def __init__(self, file: BinaryIO, columns: Columns) -> None:
        self._schema = pa.schema([(name, _ARROW_TYPES.get(dtype, dtype)) for name, dtype in columns.items()])
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, frame: pd.DataFrame) -> None:
        self._writer.write_table(pa.Table.from_pandas(frame, schema=self._schema, preserve_index=False))

    def close(self) -> None:
        self._writer.close()


_ARROW_TYPES = {"str": "string", "float32": "float", "Int32": "int32"}  # where Arrow's name is another
_WRITERS: dict[str, Callable[[BinaryIO, Columns], _Writer]] = {
    ".parquet": _Parquet,
    ".csv": _Csv,
    ".jsonl": _JsonLines,
}


def _writer_for(path: Path) -> Callable[[BinaryIO, Columns], _Writer]:
    try:
        return _WRITERS[path.suffix]
    except KeyError:
        raise SettingsError(f"{path}: the suffix must be one of {', '.join(_WRITERS)}") from None

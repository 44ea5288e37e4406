"""Log lines for tests, and files of them."""

from collections.abc import Iterable
from pathlib import Path

from common.log_lines import LogLine, encode_line, line_of
from common.messages import LogRecord

NOON_NS = 1_700_000_000_000_000_000  # 2023-11-14 22:13:20 UTC


def line(number: int, at_s: float | None = None, source: str = "actor-0.5e55", **others) -> LogLine:
    """Return a line said `at_s` seconds after NOON_NS; by default as many as its number."""
    given = {"level": "INFO", "logger": "x", "event": "said"} | others
    time_ns = NOON_NS + round((number if at_s is None else at_s) * 1e9)
    return line_of(LogRecord(source=source, number=number, time_ns=time_ns, **given))


def written(path: Path, lines: Iterable[LogLine]) -> Path:
    """Write lines to `path`, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(encode_line(each) + b"\n" for each in lines))
    return path

"""A log line as text for people: on consoles, in plain log files, and from `rookery logs`."""

from common.log_lines import LogLine

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def text_of(line: LogLine) -> str:
    """Return `time LEVEL service: event key=value …`; what would break it or move a cursor is spelled out."""
    fields = "".join(f" {key}={value}" for key, value in line.fields.items())
    return without_controls(f"{clock_of(line)} {line.severity:<7} {line.service}: {line.event}{fields}")


def clock_of(line: LogLine) -> str:
    """Return the moment of a line to the millisecond, UTC."""
    return line.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_controls(text: str) -> str:
    """Return `text` with what could move a terminal's cursor spelled out."""
    return text.translate(_CONTROLS)

"""What each process did when: spans for a timeline, and samples of the games being worked on.

    with span("engine", unit=12): ...
    record_span("store", begin_ns, end_ns, unit=12, agent="white")

Each is a log record of the logger `trace` and goes where log records go, whatever level is logged; consoles never
show them. A log collector writes them to DIR/logs/trace.jsonl. Off, as the setting `trace` says or where no records
are shipped, they cost next to nothing. Spans: event `span`, fields `name`, `begin_ns` (nanoseconds since 1970,
UTC), `seconds`, and what else is given: mostly `unit` and `agent`.
"""

import logging
import time

from common.logs import FIELDS, TRACE, Field

_trace = logging.getLogger(TRACE)


def tracing() -> bool:
    """Return whether what is recorded goes anywhere."""
    return _trace.isEnabledFor(logging.DEBUG)


def record_event(event: str, **fields: Field) -> None:
    """Record `event` of now with its fields."""
    if _trace.isEnabledFor(logging.DEBUG):
        _trace.debug(event, extra={FIELDS: fields})


def record_span(name: str, begin_ns: int, end_ns: int, **fields: Field) -> None:
    """Record that something called `name` lasted from `begin_ns` to `end_ns`, nanoseconds since 1970."""
    if _trace.isEnabledFor(logging.DEBUG):
        seconds = max(0, end_ns - begin_ns) / 1e9
        _trace.debug("span", extra={FIELDS: {"name": name, "begin_ns": begin_ns, "seconds": seconds, **fields}})


def span(name: str, **fields: Field) -> "Span":
    """Return a context manager that records how long its block took, also one that ends with an error."""
    return Span(name, fields)


class Span:
    """A block that is timed; `span` makes it."""

    __slots__ = ("_begin_ns", "_begin_s", "_fields", "_name")

    def __init__(self, name: str, fields: dict[str, Field]) -> None:
        self._name, self._fields = name, fields

    def __enter__(self) -> "Span":
        self._begin_ns, self._begin_s = time.time_ns(), time.perf_counter_ns()
        return self

    def __exit__(self, *exception: object) -> None:
        lasted_ns = time.perf_counter_ns() - self._begin_s
        record_span(self._name, self._begin_ns, self._begin_ns + lasted_ns, **self._fields)

import logging
import time

import pytest

from common import wire
from common.logs import Logging, Spool, fields_of
from common.messages import LogRecord
from common.tracing import record_event, record_span, span, tracing


@pytest.fixture
def trace(caplog):
    caplog.set_level(logging.DEBUG, logger="trace")
    return caplog


def told(caplog) -> list[tuple[str, dict]]:
    return [(record.getMessage(), fields_of(record)) for record in caplog.records]


def test_a_span_says_what_lasted_from_when_and_how_long(trace):
    before_ns = time.time_ns()
    with span("engine", unit=12, agent="white"):
        pass
    ((event, fields),) = told(trace)
    assert event == "span"
    assert (fields["name"], fields["unit"], fields["agent"]) == ("engine", 12, "white")
    assert before_ns <= fields["begin_ns"] <= time.time_ns()
    assert 0.0 <= fields["seconds"] < 10.0


def test_a_span_that_ends_with_an_error_is_told_and_the_error_goes_on(trace):
    with pytest.raises(ValueError, match="oh"), span("train"):
        raise ValueError("oh")
    assert told(trace)[0][1]["name"] == "train"


def test_a_span_can_be_told_afterwards(trace):
    record_span("store", 1_000_000_000, 3_500_000_000, unit=1)
    record_span("odd", 5, 3)  # the clock was put back
    assert told(trace)[0] == ("span", {"name": "store", "begin_ns": 1_000_000_000, "seconds": 2.5, "unit": 1})
    assert told(trace)[1][1]["seconds"] == 0.0


def test_nothing_is_made_of_it_where_it_goes_nowhere(caplog):
    caplog.set_level(logging.INFO, logger="trace")
    assert not tracing()
    record_event("game", unit=1)
    with span("engine"):
        pass
    assert not caplog.records


def test_off_it_costs_next_to_nothing():
    begun_s = time.process_time()
    for _ in range(10_000):
        with span("engine", unit=1):
            pass
    assert time.process_time() - begun_s < 1.0  # 100 µs each, on whatever machine; here it takes 1


# Shipping


def shipped(tmp_path, transport, *, trace: bool, level: str) -> list[LogRecord]:
    path = tmp_path / "spool"
    with Logging(service="actor-0", session="1", level=level, transport=transport, spool=path, trace=trace):
        logging.getLogger("actor").info("started")
        with span("engine", unit=3):
            logging.getLogger("actor").debug("asked")
        logging.getLogger("actor").error("failed")
    assert not tracing()
    return [wire.decode(frame, LogRecord) for frame in Spool(path).take()]


def test_spans_are_shipped_at_any_level_and_numbered_with_the_others_but_not_shown(tmp_path, transport, capsys):
    records = shipped(tmp_path, transport, trace=True, level="error")
    assert [(record.number, record.logger, record.event) for record in records] == [
        (0, "trace", "span"),
        (1, "actor", "failed"),
    ]
    assert records[0].fields["name"] == "engine"
    assert records[0].host
    assert "span" not in capsys.readouterr().err


def test_spans_are_not_even_shown_on_a_console_that_shows_everything(tmp_path, transport, capsys):
    records = shipped(tmp_path, transport, trace=True, level="debug")
    assert [record.event for record in records] == ["started", "asked", "span", "failed"]
    shown = capsys.readouterr().err
    assert "asked" in shown
    assert "span" not in shown


def test_turned_off_no_span_is_shipped_at_any_level(tmp_path, transport):
    assert [record.event for record in shipped(tmp_path, transport, trace=False, level="debug")] == [
        "started", "asked", "failed"
    ]  # fmt: skip


def test_where_nothing_is_shipped_there_are_no_spans(tmp_path):
    with Logging(
        service="a", session="1", level="debug", transport=None, spool=tmp_path, console=False, trace=True
    ):
        assert not tracing()
